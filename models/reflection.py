"""Cuts mirror images in water (or on a polished floor) off masks: they move with their thing but are no part of it.

A mirror image is the thing upside down below a level line, paler: mixed with the colour of what it falls on. Both have
to hold, for many things are alike above and below their middle, and many are paler at their feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.protocols import Image

Array = npt.NDArray[np.float32]


class ReflectionSettings(BaseModel, frozen=True, extra="forbid"):
    """What passes for a mirror image. Lengths are pixels of a work copy of about 427 px."""

    blur: float = Field(default=1.5, gt=0, description="blur before halves are compared, px: ripples distort the lower")
    min_depth: int = Field(
        default=8, ge=2, description="rows needed on both sides of the line; fewer are alike by chance"
    )
    least_share: float = Field(
        default=0.2, gt=0, lt=0.5, description="depth of a mirror image, share of the mask's height; less does no harm"
    )
    min_covered: float = Field(
        default=0.7, gt=0, le=1, description="share of the lower part that must lie below the thing"
    )
    min_correlation: float = Field(
        default=0.55,
        gt=0,
        le=1,
        description="correlation of the lower part with the upper one upside down; a swan's two halves have 0.58",
    )
    max_contrast: float = Field(
        default=0.55,
        gt=0,
        le=1,
        description="contrast of the lower part with the surroundings, share of the upper one's; a fox's pale legs in "
        "grass have 0.68, a car's lower half 0.65, mirror images 0.37 to 0.51",
    )
    ring: int = Field(default=8, ge=1, description="width of these surroundings, px")


@dataclass(frozen=True)
class _Line:
    """A level line with the mask's mirror image below it, and how well the halves agree."""

    row: int
    correlation: float


def without_reflection(image: Image, mask: Mask, settings: ReflectionSettings) -> Mask:
    """`mask` (H, W) bool without the mirror image of its own upper part; the same mask when it holds none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) < 2 * settings.min_depth:
        return mask
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), settings.blur), cv2.COLOR_RGB2LAB), np.float32)
    line = _best_line(lab, mask, int(rows[0]), int(rows[-1]) + 1, settings)
    if line is None or line.correlation < settings.min_correlation:
        return mask
    upper = mask.copy()
    upper[line.row :] = False
    return upper if _is_paler(lab, mask & ~upper, upper, settings) else mask


def _best_line(lab: Array, mask: Mask, top: int, bottom: int, settings: ReflectionSettings) -> _Line | None:
    best: _Line | None = None
    depth = max(settings.min_depth, round(settings.least_share * (bottom - top)))
    for row in range(top + depth, bottom - depth + 1):
        reach = min(row - top, bottom - row)
        upper, lower = mask[row - reach : row][::-1], mask[row : row + reach]
        both = upper & lower
        if np.count_nonzero(both) < settings.min_covered * np.count_nonzero(mask[row:]):
            continue
        correlation = _correlation(lab[row - reach : row][::-1][both], lab[row : row + reach][both])
        if best is None or correlation > best.correlation:
            best = _Line(row, correlation)
    return best


def _correlation(first: Array, second: Array) -> float:
    """Correlation of two sets of colours (n, 3), all channels together."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    energy = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / energy if energy > 0 else 0.0


def _is_paler(lab: Array, lower: Mask, upper: Mask, settings: ReflectionSettings) -> bool:
    """Whether the lower part stands out from what is around it clearly less than the upper part does."""
    return _contrast(lab, lower, upper, settings) <= settings.max_contrast * _contrast(lab, upper, lower, settings)


def _contrast(lab: Array, part: Mask, other: Mask, settings: ReflectionSettings) -> float:
    """Mean colour distance of a part from the median of its surroundings."""
    side = 2 * settings.ring + 1
    around = (cv2.dilate(part.astype(np.uint8), np.ones((side, side), np.uint8)) > 0) & ~part & ~other
    if not around.any():
        return 0.0
    return float(np.linalg.norm(lab[part] - np.median(lab[around], axis=0), axis=1).mean())
