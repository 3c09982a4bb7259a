"""Clips in which there is nothing to see or nothing happens: black, blank, frozen, slide shows.

All is judged on the clip's thumbnails. A spot of these is the mean of a block of the frame (20 × 20 pixels at 720p):
grain and compression noise all but vanish in it, while a thing of a few pixels that creeps along still shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from stages.clip_builder import FoundClip

Thumbnails = npt.NDArray[np.uint8]


class DullSettings(BaseModel, frozen=True, extra="forbid"):
    """When a clip is too dull to learn from."""

    black_luma: float = Field(
        default=24,
        ge=0,
        le=255,
        description="brightness (0..255) that no spot of a black frame exceeds; a spot is 1/64 of the frame's longer "
        "side, so a night scene with one lamp is not black",
    )
    blank_contrast: float = Field(
        default=16,
        ge=0,
        le=255,
        description="difference between the brightest and the darkest spot of a frame up to which it is one plain "
        "area; a bird in an empty sky is more",
    )
    empty_share: float = Field(
        default=0.9, gt=0, le=1, description="share of black, or of blank, frames from which the clip is dropped"
    )
    still_change: float = Field(
        default=10,
        ge=0,
        le=255,
        description="largest change of any spot's brightness between two frames of the same still picture; grain and "
        "strong compression reach 10, an 8-pixel thing that creeps along 20",
    )
    frozen_share: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="share of the frames showing one still picture from which the clip is frozen; below 1, because a "
        "stray frame of the next scene may stand at its end",
    )
    slide_seconds: float = Field(
        default=1.0, gt=0, description="seconds that a picture must stand still to be a slide; film has brief stops too"
    )
    slide_change: float = Field(
        default=6,
        ge=0,
        le=255,
        description="mean change of brightness from slide to slide; below it, it is one picture in which little moves",
    )
    slide_share: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="share of the frames in slides from which the clip is a slide show; the rest are cross-fades",
    )


@dataclass(frozen=True)
class Dull:
    """Why a clip is dropped: `value` is a share of its frames that reaches the `threshold`."""

    reason: Literal["black", "blank", "frozen", "slide_show"]
    value: float
    threshold: float

    @property
    def message(self) -> str:
        """One sentence for a person."""
        sentence = {
            "black": "of the frames are black",
            "blank": "of the frames are one plain area",
            "frozen": "of the frames show the same still picture",
            "slide_show": "of the frames are slides that stand still",
        }[self.reason]
        return f"{self.value:.0%} {sentence}, at least {self.threshold:.0%}."


@dataclass(frozen=True)
class _Stretch:
    """Frames in a row that look like the first of them."""

    first: npt.NDArray[np.int16]
    num_frames: int


def find_dull(clip: FoundClip, settings: DullSettings) -> Dull | None:
    """Why the clip is too dull, or None. An image can only be black or blank."""
    brightest = clip.thumbnails.max(axis=(1, 2)).astype(np.int16)
    contrast = brightest - clip.thumbnails.min(axis=(1, 2))
    black = float(np.mean(brightest <= settings.black_luma))
    if black >= settings.empty_share:
        return Dull("black", black, settings.empty_share)
    blank = float(np.mean(contrast <= settings.blank_contrast))
    if blank >= settings.empty_share:
        return Dull("blank", blank, settings.empty_share)
    if clip.fps is None:
        return None
    stretches = _still_stretches(clip.thumbnails, settings.still_change)
    frozen = _longest_still(stretches, settings.still_change) / clip.num_frames
    if frozen >= settings.frozen_share:
        return Dull("frozen", frozen, settings.frozen_share)
    slides = _slides(stretches, settings.slide_seconds * float(clip.fps), settings.slide_change) / clip.num_frames
    if slides >= settings.slide_share:
        return Dull("slide_show", slides, settings.slide_share)
    return None


def _still_stretches(thumbnails: Thumbnails, still_change: float) -> list[_Stretch]:
    """The clip cut wherever a frame differs from the first since the last cut: so slow movement adds up."""
    stretches: list[_Stretch] = []
    start = 0
    frames = thumbnails.astype(np.int16)
    for number in range(1, len(frames) + 1):
        if number == len(frames) or _largest_change(frames[start], frames[number]) > still_change:
            stretches.append(_Stretch(frames[start], number - start))
            start = number
    return stretches


def _largest_change(one: npt.NDArray[np.int16], other: npt.NDArray[np.int16]) -> int:
    return int(np.abs(one - other).max())


def _longest_still(stretches: list[_Stretch], still_change: float) -> int:
    """Number of frames that look like the first of the longest stretch, also after an interruption."""
    longest = max(stretches, key=lambda stretch: stretch.num_frames)
    return sum(
        stretch.num_frames for stretch in stretches if _largest_change(stretch.first, longest.first) <= still_change
    )


def _slides(stretches: list[_Stretch], min_frames: float, slide_change: float) -> int:
    """Number of frames in slides, if at least two of them follow each other; else 0."""
    slides = [stretch for stretch in stretches if stretch.num_frames >= min_frames]
    changes = [float(np.abs(slide.first - before.first).mean()) for before, slide in pairwise(slides)]
    if not changes or max(changes) < slide_change:
        return 0
    return sum(slide.num_frames for slide in slides)
