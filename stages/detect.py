"""Detect: boxes for the tags on the first frame, entities and background regions apart."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from models.protocols import Detector
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage, groups
from stages.work import ClipWork


class DetectSettings(BaseModel, frozen=True, extra="forbid"):
    """Which detector, and how much of what it finds is taken on."""

    detector: ModelChoice = Field(default=ModelChoice(name="motion_discovery"), description="the detector")
    lookahead: int = Field(default=12, ge=1, description="first frames shown to it; motion needs more than one")
    max_entities: int = Field(default=3, ge=1, le=80, description="entities per clip; every one costs a propagation")
    max_regions: int = Field(default=1, ge=1, le=10, description="background regions per clip, the largest first")
    min_score: float = Field(default=0.0, ge=0, le=1, description="detections below are left out")


class Detect(Stage[ClipWork]):
    """Asks the detector for each kind of tag. Entities beyond the limits leave no trace: they were never candidates."""

    name = "detect"
    reads = ("frames", "entity_tags", "background_tags")
    writes = ("entities", "regions", "found_by")
    Settings = DetectSettings
    settings: DetectSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.detector: Detector = make_model(self.settings.detector, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for group in groups(records, self.detector):
            self._detect(group)

    def _detect(self, records: Sequence[ClipWork]) -> None:
        clips = [record.decoded()[: self.settings.lookahead] for record in records]
        entities = self.detector.detect(clips, [[tag.name for tag in record.entity_tags] for record in records])
        regions = self.detector.detect(clips, [[tag.name for tag in record.background_tags] for record in records])
        for record, things, places in zip(records, entities, regions, strict=True):
            record.entities = [d for d in things if d.score >= self.settings.min_score][: self.settings.max_entities]
            record.found_by["detector"] = self.detector.info
            record.regions = [d for d in places if d.score >= self.settings.min_score][: self.settings.max_regions]
            if not record.entities:
                record.reject(
                    f"{record.id} entity", "track", self.name, "no_entity", "nothing stands out from the background"
                )
