"""Ingest: one source read once, cut into normalised clips (VIVID-10M, data source: ≥ 5 s, ≥ 720p)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pydantic import BaseModel, Field

from manifests.ids import clip_id, draw_fraction
from manifests.records import FoundRow
from stages.dull import Dull, DullSettings, find_dull
from stages.fetch import SourceChanged, SourceMissing, SourceUnreadable, open_local
from stages.media import MediaError
from stages.normalise import DroppedClip, FoundClip, NormaliseSettings, image_from_clip, normalise
from stages.probe import probe
from stages.stage import Stage
from stages.work import SourceWork, SpilledClip

FETCH_REASONS = {SourceChanged: "changed", SourceMissing: "missing", SourceUnreadable: "unreadable"}


class IngestSettings(BaseModel, frozen=True, extra="forbid"):
    """What becomes of a source."""

    normalise: NormaliseSettings = Field(default=NormaliseSettings(), description="cutting and encoding")
    image_fraction: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of video clips that go to the image subset as their first frame; images teach the editor "
        "most of what it knows (paper: image:video 10:1)",
    )
    dull: DullSettings = Field(default=DullSettings(), description="black, blank, frozen and slide-show clips")


class Ingest(Stage[SourceWork]):
    """Fetches, probes and normalises. A damaged source keeps the clips before the damage and says where it broke."""

    name = "ingest"
    version = 3
    reads = ("source",)
    writes = ("probe", "clips")
    Settings = IngestSettings
    settings: IngestSettings

    def run(self, records: Sequence[SourceWork]) -> None:
        for record in records:
            try:
                self._read(record)
            except (MediaError, SourceChanged, SourceMissing, SourceUnreadable) as error:
                reason = error.reason if isinstance(error, MediaError) else FETCH_REASONS[type(error)]
                record.reject(record.id, "source", self.name, reason, str(error), state="failed")
                record.state = "kept" if record.clips else "failed"
            else:
                if not record.clips:
                    self._filter(record)

    def _filter(self, record: SourceWork) -> None:
        """Say of the source itself why nothing came of it: the ids of its dropped pieces lead nobody back to it."""
        first, pieces = record.rejects[0], len(record.rejects)
        lead = "No clip came of it" if pieces == 1 else f"No clip came of any of its {pieces} pieces; the first"
        record.reject(
            record.id,
            "source",
            self.name,
            first.reason,
            f"{lead}: {first.message}",
            value=first.value,
            threshold=first.threshold,
        )
        record.state = "filtered"

    def _read(self, record: SourceWork) -> None:
        with open_local(record.source, self.context.roots, self.context.scratch) as path:
            record.probe = probe(path, self.settings.normalise.media)
            interval = (record.source.start_us or 0, record.source.end_us)
            for piece in normalise(path, record.probe, self.settings.normalise, interval):
                if isinstance(piece, DroppedClip):
                    self._drop(record, self._name(record, piece, record.probe.kind), piece)
                else:
                    self._take(record, piece)

    def _take(self, record: SourceWork, found: FoundClip) -> None:
        name = self._name(record, found, found.kind)
        dull = find_dull(found, self.settings.dull)
        if dull is None and found.kind == "video" and self._goes_to_images(name):
            found = image_from_clip(found)
            name = self._name(record, found, found.kind)
            # A video may fade in from black; its first frame alone is then no image.
            dull = find_dull(found, self.settings.dull)
        if dull is None:
            record.clips.append(self._spill(record, name, found))
        else:
            self._drop(record, name, dull)

    def _goes_to_images(self, name: str) -> bool:
        return draw_fraction(self.context.seed, name, "image_subset") < self.settings.image_fraction

    def _name(self, record: SourceWork, piece: FoundClip | DroppedClip, kind: str) -> str:
        source = record.source
        return clip_id(source.root, source.path, piece.start_us, piece.end_us, kind, "source")

    def _drop(self, record: SourceWork, name: str, why: DroppedClip | Dull) -> None:
        record.reject(name, "clip", self.name, why.reason, why.message, value=why.value, threshold=why.threshold)

    def _spill(self, record: SourceWork, name: str, found: FoundClip) -> SpilledClip:
        source = record.source
        file = self.context.scratch / uuid.uuid4().hex
        file.write_bytes(found.data)
        row = FoundRow(
            clip_id=name,
            source_id=source.source_id,
            group=source.group or source.source_id,
            start_us=found.start_us,
            end_us=found.end_us,
            kind=found.kind,
            origin="source",
            width=found.width,
            height=found.height,
            fps=float(found.fps) if found.fps is not None else None,
            num_frames=found.num_frames,
            caption=source.caption,
            licence=source.licence,
            keyframe_hash=found.keyframe_hash,
            mean_luma=round(found.mean_luma, 3),
            frame_difference=round(found.motion, 4),
            member=f"{name}.mp4" if found.kind == "video" else f"{name}.jpg",
            offset=0,
            size=len(found.data),
        )
        return SpilledClip(row, file)
