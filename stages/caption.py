"""Caption: the three local captions of every entity (VIVID-10M: noun phrase, + attribute, + action and detail)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.ids import track_id
from manifests.masks import Mask
from models.protocols import Captioner, EntityView, Image, NoCaptions
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage, groups
from stages.work import ClipWork, Track


class CaptionSettings(BaseModel, frozen=True, extra="forbid"):
    """Which captioner, and what it is shown."""

    captioner: ModelChoice = Field(default=ModelChoice(name="attributes"), description="the captioner")
    views: int = Field(default=4, ge=1, description="frames shown to it, evenly spaced from the first")
    long_side: int = Field(default=854, ge=64, description="frames are shrunk to this before, pixels")


class Caption(Stage[ClipWork]):
    """Captions each entity track; one the captioner has no words for is left out, with its sentence.

    Where the captioner itself is out of order the clip fails, so that `vivid retry` takes it again.
    """

    name = "caption"
    reads = ("frames", "tracks")
    writes = ("tracks",)
    Settings = CaptionSettings
    settings: CaptionSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.captioner: Captioner = make_model(self.settings.captioner, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for group in groups(records, self.captioner):
            self._caption(group)

    def _caption(self, records: Sequence[ClipWork]) -> None:
        entities = [(record, track) for record in records for track in record.of_role("entity")]
        views = [self._view(record, track) for record, track in entities]
        for (record, track), view, answer in zip(entities, views, self.captioner.caption(views), strict=True):
            if isinstance(answer, NoCaptions) and answer.passing:
                if not record.dropped:
                    record.reject(record.id, "clip", self.name, answer.reason, answer.message, state="failed")
                    record.dropped = True
            elif isinstance(answer, NoCaptions):
                record.reject(view.key, "track", self.name, answer.reason, answer.message, state="failed")
                record.tracks.remove(track)
            else:
                track.captions = answer
                track.stamp("captioner", self.captioner.info)

    def _view(self, record: ClipWork, track: Track) -> EntityView:
        frames, count = record.decoded(), record.clip.num_frames
        steps = np.unique(np.linspace(0, count - 1, min(self.settings.views, count)).round().astype(int))
        shown = [self._shrink(frames[i], track.masks.mask(int(i))) for i in steps]
        path = track.path if track.path is not None else np.full((count, 2), np.nan, np.float32)
        return EntityView(
            key=track_id(record.id, track.number),
            seed=self.context.seed,
            tag=track.tag,
            frames=tuple(image for image, _ in shown),
            masks=tuple(mask for _, mask in shown),
            path=path,
            seconds=count / record.clip.fps if record.clip.fps and record.clip.kind == "video" else 0.0,
        )

    def _shrink(self, image: Image, mask: Mask) -> tuple[Image, Mask]:
        height, width = mask.shape
        scale = self.settings.long_side / max(height, width)
        if scale >= 1:
            return image, mask
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(np.bool_)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), small
