"""Score: how well each entity's caption fits the picture of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from manifests.ids import track_id
from models.protocols import Image, Scorer
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage, groups
from stages.work import ClipWork, Track

GREY = 128
"""What is not shown to the scorer; close to the mean that CLIP subtracts."""


class ScoreSettings(BaseModel, frozen=True, extra="forbid"):
    """Which scorer, what it compares, and what is left out."""

    scorer: ModelChoice = Field(default=ModelChoice(name="clip"), description="the scorer")
    caption: Literal["short", "medium", "long"] = Field(
        default="medium",
        description="the caption it reads: short says no more than the detector's tag, long has sentences about motion "
        "that one picture cannot show and more words than CLIP reads",
    )
    view: Literal["first", "largest"] = Field(
        default="first",
        description="the frame it sees: the first with a mask (the one the entity was found in, with the surest mask) "
        "or the one with the largest mask (most detail, but also where a mask that ran over would be looked at)",
    )
    surroundings: Literal["grey", "kept"] = Field(
        default="grey",
        description="grey: only the entity is seen, else a neighbour could earn the score; kept: a natural picture, "
        "as CLIP was trained on",
    )
    margin: float = Field(
        default=0.1, ge=0, le=2, description="added on each side of the mask's box, share of its longer side"
    )
    min_score: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="tracks below are left out; 0 keeps all: set it from the scores of your own clips, `caption_score`",
    )


class Score(Stage[ClipWork]):
    """Stores each entity's caption score; tracks below the threshold are left out with both numbers."""

    name = "score"
    reads = ("frames", "tracks")
    writes = ("tracks",)
    Settings = ScoreSettings
    settings: ScoreSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.scorer: Scorer = make_model(self.settings.scorer, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for group in groups(records, self.scorer):
            self._score(group)

    def _score(self, records: Sequence[ClipWork]) -> None:
        entities = [
            (record, track) for record in records for track in record.of_role("entity") if track.masks.areas().any()
        ]
        pictures = [self._picture(record, track) for record, track in entities]
        captions = [self._caption(record, track) for record, track in entities]
        scores = self.scorer.score(pictures, captions) if entities else []
        for (record, track), score in zip(entities, scores, strict=True):
            track.caption_score = round(score, 4)
            track.stamp("scorer", self.scorer.info)
            if track.caption_score < self.settings.min_score:
                self._leave_out(record, track, track.caption_score)

    def _leave_out(self, record: ClipWork, track: Track, score: float) -> None:
        sentence = f"its {self.settings.caption} caption fits its picture with a score of {score:g}"
        record.reject(
            track_id(record.id, track.number),
            "track",
            self.name,
            "min_score",
            sentence,
            value=score,
            threshold=self.settings.min_score,
        )
        record.tracks.remove(track)

    def _caption(self, record: ClipWork, track: Track) -> str:
        if track.captions is None:
            name = track_id(record.id, track.number)
            raise ValueError(f"the track {name} has no captions to score; the stage score comes after caption")
        return str(getattr(track.captions, self.settings.caption))

    def _picture(self, record: ClipWork, track: Track) -> Image:
        areas = track.masks.areas()
        frame = int(areas.argmax() if self.settings.view == "largest" else np.flatnonzero(areas)[0])
        image, one = record.decoded()[frame], track.masks.take([frame])
        x0, y0, x1, y1 = (int(value) for value in one.boxes()[0])
        if self.settings.surroundings == "grey":
            image = np.where(one.mask(0)[..., None], image, np.uint8(GREY))
        return square_window(image, (x0, y0, x1, y1), self.settings.margin)


def square_window(image: Image, box: tuple[int, int, int, int], margin: float) -> Image:
    """The square (side, side, 3) around a box, grey beyond the frame.

    The side is the box's longer side and `margin` times it at both ends. Square, because CLIP's preprocessing keeps the
    centre square of a picture: of a long thing's box it would see the middle.
    """
    x0, y0, x1, y1 = box
    side = max(1, math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    window = np.full((side, side, 3), GREY, np.uint8)
    shown = image[max(top, 0) : top + side, max(left, 0) : left + side]
    row, column = max(-top, 0), max(-left, 0)
    window[row : row + shown.shape[0], column : column + shown.shape[1]] = shown
    return window
