"""Mask pasting (VIVID-10M, deletion): a place for another clip's mask inside the background of the keyframe.

A placement is p → scale · p + (dx, dy), from the donor's pixel indices to the target's (first pixel's centre at 0, 0).
`scale` is target pixels per donor pixel and already holds the difference of the two frame sizes; the settings bound the
scale that is left once both frames have the same short side. Shapes are never distorted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, model_validator

from manifests.ids import draw_choice, draw_fraction, draw_uniform
from manifests.masks import Mask
from stages.morphology import tight_box
from stages.resample import moved_box, scale_shift


class PasteSettings(BaseModel, frozen=True, extra="forbid"):
    """Where and how large a donor's mask may be pasted, and how hard to look for a place."""

    min_inside: float = Field(
        default=0.97,
        gt=0,
        le=1,
        description="Smallest share of the pasted mask inside the background region. Lower values cover entities, and "
        "the model would learn to invent them; 1 refuses places for a few stray pixels of a rough region.",
    )
    min_area: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Smallest pasted area as a fraction of the target frame; smaller masks teach little.",
    )
    max_area: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Largest pasted area as a fraction of the target frame; larger ones leave too little background "
        "to continue from.",
    )
    min_scale: float = Field(
        default=0.5,
        gt=0,
        description="Smallest scale after frames are normalised to the same short side; below it thin parts vanish.",
    )
    max_scale: float = Field(
        default=2.0,
        gt=0,
        description="Largest scale after normalisation; above it the outline turns coarse and the motion jumps.",
    )
    trials: int = Field(
        default=10,
        ge=1,
        description="Scales tried before giving up; the last one is the smallest allowed, so that a region which holds "
        "any placement rarely gets none.",
    )
    checks: int = Field(
        default=8, ge=1, description="Places checked at full resolution per scale, of those found at search resolution."
    )
    search_side: int = Field(
        default=160,
        ge=16,
        description="Long side in pixels of the reduced frame on which all places are found at once. Smaller is faster "
        "and misses narrow regions.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> PasteSettings:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area} is above max_area {self.max_area}")
        if self.min_scale > self.max_scale:
            raise ValueError(f"min_scale {self.min_scale} is above max_scale {self.max_scale}")
        return self


@dataclass(frozen=True)
class Placement:
    """Donor pixel p lies at scale · p + (dx, dy) in the target; `inside` is the pasted mask's share in the background.

    `dx` and `dy` are whole pixels, so that at scale 1 a pasted mask is an exact copy.
    """

    dx: float
    dy: float
    scale: float
    inside: float


def apply_placement(mask: Mask, placement: Placement, target_size: tuple[int, int]) -> Mask:
    """Any of the donor's masks (h, w) bool as it lies on the target frame (height, width); what leaves it is cut."""
    return scale_shift(mask, placement.scale, (placement.dx, placement.dy), target_size)


def place(donor_first: Mask, background: Mask, seed: int, key: str, settings: PasteSettings) -> Placement | None:
    """A random placement of a donor's first mask inside a background region, or None when none is found.

    `donor_first` is (h, w) bool in the donor's frame, `background` (H, W) bool in the target's. The whole pasted mask
    lies in the frame, and at least `min_inside` of it in the region. The scale is uniform in its logarithm among those
    the settings allow, the place uniform among all that fit at that scale; both are drawn from (`seed`, `key`).
    """
    interval = _scale_interval(donor_first, background, settings)
    if interval is None:
        return None
    low, high = interval
    region = _Region(background, settings.search_side)
    for trial in range(settings.trials):
        last = trial == settings.trials - 1 and trial > 0
        scale = low if last else low * (high / low) ** draw_fraction(seed, key, f"paste/{trial}/scale")
        stencil = _Stencil.cut(donor_first, scale)
        if not settings.min_area <= stencil.area / background.size <= settings.max_area:
            continue
        for x, y in region.places(stencil.mask, seed, f"{key}/paste/{trial}", settings):
            inside = region.share(stencil.mask, x, y) / stencil.area
            if inside >= settings.min_inside:
                return Placement(float(x - stencil.x), float(y - stencil.y), scale, inside)
    return None


def _scale_interval(donor: Mask, background: Mask, settings: PasteSettings) -> tuple[float, float] | None:
    """The scales (target pixels per donor pixel) that satisfy the bounds on area, magnification and frame."""
    box = tight_box(donor)
    if box is None or not background.any():
        return None
    # Half a percent of slack keeps the rounded areas at both ends within their bounds.
    frames_ratio = background.size / int(np.count_nonzero(donor))
    by_area = math.sqrt(settings.min_area * 1.005 * frames_ratio), math.sqrt(settings.max_area / 1.005 * frames_ratio)
    same_short_side = min(background.shape) / min(donor.shape)
    fits = min(background.shape[1] / (box[2] - box[0]), background.shape[0] / (box[3] - box[1]))
    low = max(by_area[0], settings.min_scale * same_short_side)
    high = min(by_area[1], settings.max_scale * same_short_side, fits)
    return (low, high) if low <= high else None


@dataclass(frozen=True)
class _Stencil:
    """The scaled donor mask cut to its tight box, whose corner lies at (x, y) when nothing is shifted."""

    mask: Mask
    x: int
    y: int
    area: int

    @classmethod
    def cut(cls, donor: Mask, scale: float) -> _Stencil:
        box = tight_box(donor)
        scaled = scale_shift(donor, scale, (0.0, 0.0), None)
        tight = tight_box(scaled)
        if box is None or tight is None:
            return cls(scaled, 0, 0, 0)
        left, top, _, _ = moved_box(box, scale, (0.0, 0.0))
        mask = scaled[tight[1] : tight[3], tight[0] : tight[2]]
        return cls(mask, left + tight[0], top + tight[1], int(np.count_nonzero(mask)))


class _Region:
    """A background region that can say where a stencil fits."""

    def __init__(self, background: Mask, search_side: int) -> None:
        self._full = background
        height, width = background.shape
        factor = min(1.0, search_side / max(height, width))
        small = max(1, round(width * factor)), max(1, round(height * factor))
        self._small = cv2.resize(background.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        self._step = width / small[0], height / small[1]

    def share(self, stencil: Mask, x: int, y: int) -> int:
        """Pixels of the stencil that lie in the region with its corner at (x, y)."""
        height, width = stencil.shape
        return int(np.count_nonzero(self._full[y : y + height, x : x + width] & stencil))

    def places(self, stencil: Mask, seed: int, key: str, settings: PasteSettings) -> Iterator[tuple[int, int]]:
        """Corners (x, y) in full pixels, drawn uniformly among all places of the reduced frame that fit."""
        fits = self._fits(stencil, settings.min_inside)
        if not len(fits):
            return
        for check in range(settings.checks):
            row, column = fits[draw_choice(seed, key, f"{check}/place", len(fits))]
            # The exact place within the reduced pixel, so that corners are not multiples of the reduction.
            x = round((column + draw_uniform(seed, key, f"{check}/x", -0.5, 0.5)) * self._step[0])
            y = round((row + draw_uniform(seed, key, f"{check}/y", -0.5, 0.5)) * self._step[1])
            yield (
                min(max(x, 0), self._full.shape[1] - stencil.shape[1]),
                min(max(y, 0), self._full.shape[0] - stencil.shape[0]),
            )

    def _fits(self, stencil: Mask, min_inside: float) -> npt.NDArray[np.int64]:
        """(row, column) of every corner in the reduced frame where enough of the stencil lies in the region."""
        if stencil.shape[0] > self._full.shape[0] or stencil.shape[1] > self._full.shape[1]:
            return np.zeros((0, 2), dtype=np.int64)
        width, height = (
            max(1, round(stencil.shape[axis] / step)) for axis, step in zip((1, 0), self._step, strict=True)
        )
        small = min(width, self._small.shape[1]), min(height, self._small.shape[0])
        template = cv2.resize(stencil.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        covered = cv2.matchTemplate(self._small, template, cv2.TM_CCORR)
        return np.argwhere(covered >= min_inside * template.sum()).astype(np.int64)
