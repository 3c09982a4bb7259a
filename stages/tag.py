"""Tag: words for the entities and the background regions of the first frame (VIVID-10M, entity selection)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from models.protocols import Tagger
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage, groups
from stages.work import ClipWork


class TagSettings(BaseModel, frozen=True, extra="forbid"):
    """Which tagger, and how far it may look."""

    tagger: ModelChoice = Field(default=ModelChoice(name="motion_discovery"), description="the tagger")
    lookahead: int = Field(default=12, ge=1, description="first frames shown to it; motion needs more than one")


class Tagging(Stage[ClipWork]):
    """Asks the tagger about the first frames."""

    name = "tag"
    reads = ("frames",)
    writes = ("entity_tags", "background_tags", "other_tags", "found_by")
    Settings = TagSettings
    settings: TagSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.tagger: Tagger = make_model(self.settings.tagger, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for group in groups(records, self.tagger):
            clips = [record.decoded()[: self.settings.lookahead] for record in group]
            for record, tags in zip(group, self.tagger.tag(clips), strict=True):
                record.entity_tags, record.background_tags = tags.entities, tags.background
                record.other_tags = tags.others
                record.found_by["tagger"] = self.tagger.info
