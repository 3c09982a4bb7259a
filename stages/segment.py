"""Segment: one first-frame mask per detection; tracks begin here."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from manifests.ids import BACKGROUND_TRACK, track_id
from manifests.masks import Mask, MaskTrack
from models.boxes import extent
from models.proposals import overlap
from models.protocols import Box, Detection, Image, Segmenter
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage
from stages.work import ClipWork, Track


class SegmentSettings(BaseModel, frozen=True, extra="forbid"):
    """Which segmenter, and when two masks are the same thing."""

    segmenter: ModelChoice = Field(default=ModelChoice(name="grabcut"), description="the segmenter")
    max_overlap: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="a mask sharing more than this with a better one (intersection over the smaller) is a duplicate",
    )


class Segment(Stage[ClipWork]):
    """Masks of entities (numbered from 00) and of background regions (from 80)."""

    name = "segment"
    version = 2
    reads = ("frames", "entities", "regions", "found_by")
    writes = ("tracks",)
    Settings = SegmentSettings
    settings: SegmentSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.segmenter: Segmenter = make_model(self.settings.segmenter, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            image = record.decoded()[0]
            self._begin(record, image, record.entities, "entity", 0)
            self._begin(record, image, record.regions, "background", BACKGROUND_TRACK)

    def _begin(
        self, record: ClipWork, image: Image, detections: Sequence[Detection], role: str, first_number: int
    ) -> None:
        if not detections:
            return
        kept: list[Mask] = []
        for number, (detection, mask) in enumerate(
            zip(detections, self.segmenter.segment(image, detections), strict=True), first_number
        ):
            name = track_id(record.id, number)
            if not mask.any():
                record.reject(
                    name, "track", self.name, "empty_mask", f"the segmenter found no {detection.tag} in its box"
                )
                continue
            shared = max((overlap(mask, other) for other in kept), default=0.0)
            if shared > self.settings.max_overlap:
                record.reject(
                    name,
                    "track",
                    self.name,
                    "duplicate",
                    "its mask is another entity's",
                    value=round(shared, 4),
                    threshold=self.settings.max_overlap,
                )
                continue
            kept.append(mask)
            track = Track(number, role, detection.tag, _box(mask), detection.score, MaskTrack.from_masks([mask]))
            for job, info in record.found_by.items():
                track.stamp(job, info)
            track.stamp("segmenter", self.segmenter.info)
            record.tracks.append(track)


def _box(mask: Mask) -> Box:
    x0, y0, x1, y1 = extent(mask)
    return float(x0), float(y0), float(x1), float(y1)
