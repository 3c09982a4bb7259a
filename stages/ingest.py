"""Ingest: one source read once, cut into normalised clips (VIVID-10M, data source: ≥ 5 s, ≥ 720p)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pydantic import BaseModel, Field

from manifests.ids import clip_id, draw_fraction
from manifests.records import FoundRow
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


class Ingest(Stage[SourceWork]):
    """Fetches, probes and normalises. A damaged source keeps the clips before the damage and says where it broke."""

    name = "ingest"
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
                record.state = "kept" if record.clips else "filtered"

    def _read(self, record: SourceWork) -> None:
        with open_local(record.source, self.context.roots, self.context.scratch) as path:
            record.probe = probe(path, self.settings.normalise.media)
            interval = (record.source.start_us or 0, record.source.end_us)
            for piece in normalise(path, record.probe, self.settings.normalise, interval):
                if isinstance(piece, DroppedClip):
                    self._drop(record, piece)
                else:
                    record.clips.append(self._spill(record, piece))

    def _drop(self, record: SourceWork, piece: DroppedClip) -> None:
        source, kind = record.source, record.probe.kind if record.probe else "video"
        name = clip_id(source.root, source.path, piece.start_us, piece.end_us, kind, "source")
        record.reject(
            name,
            "clip",
            self.name,
            piece.reason,
            piece.message,
            value=piece.value,
            threshold=piece.threshold,
        )

    def _spill(self, record: SourceWork, found: FoundClip) -> SpilledClip:
        source = record.source
        name = clip_id(source.root, source.path, found.start_us, found.end_us, found.kind, "source")
        if (
            found.kind == "video"
            and draw_fraction(self.context.seed, name, "image_subset") < self.settings.image_fraction
        ):
            found = image_from_clip(found)
            name = clip_id(source.root, source.path, found.start_us, found.end_us, found.kind, "source")
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
