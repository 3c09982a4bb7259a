"""Growing and hulling one binary mask, exactly: results are sets of pixels defined by integers, not by a rasteriser.

Everything works on the crop of a mask's tight box, so the cost follows the object's size and not the frame's. The oval
that masks grow by has four quarters, each a quarter of an ellipse with the half axes of its two sides; it is convex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask

PixelBox = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, end exclusive."""

_FAR_LEFT = np.int16(-(2**14))
"""A column so far outside that no oval reaches in from it (frames are below 16384 pixels wide)."""
_STRIP_ROWS = 32
"""Rows worked on at once, so that their temporary arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Growth:
    """Pixels to grow by on each of the four sides, ≥ 0: the half axes of the oval."""

    left: int
    top: int
    right: int
    bottom: int


def tight_box(mask: Mask) -> PixelBox | None:
    """The smallest box that holds a (H, W) bool mask, or None when the mask is empty."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def _quarter_ellipse(across: int, along: int) -> npt.NDArray[np.int32]:
    """The reach along one axis at distances 0, 1, …, `across` on the other axis."""
    reaches = [math.isqrt(along**2 * (across**2 - distance**2) // across**2) for distance in range(across)]
    # At its tip the quarter has no reach, unless it is flat: then it is a segment.
    return np.asarray([*reaches, 0 if across else along], dtype=np.int32)


def grow(mask: Mask, growth: Growth) -> Mask:
    """Dilate `mask` (h, w) bool by the oval of `growth`.

    Returns (top + h + bottom, left + w + right) bool: the input shifted by (left, top) and grown outwards by exactly
    the given pixels on each side of its box, corners rounded, holes and bays filled as far as the oval reaches.
    The cost does not depend on the size of the oval: each pixel's distance to the nearest mask pixels of its row says
    how far up and down the column it is covered, and running extremes join these vertical segments.
    """
    height, width = mask.shape
    padded_width = growth.left + width + growth.right
    lowest = np.empty((height, padded_width), dtype=np.int16)
    highest = np.empty((height, padded_width), dtype=np.int16)
    for start in range(0, height, _STRIP_ROWS):
        strip = slice(start, min(start + _STRIP_ROWS, height))
        padded = np.zeros((strip.stop - start, padded_width), dtype=np.bool_)
        padded[:, growth.left : growth.left + width] = mask[strip]
        covers = _covers(padded, growth)
        rows = np.arange(growth.top + start, growth.top + strip.stop, dtype=np.int32)[:, None]
        lowest[strip] = rows - 1 + (covers >> 16)
        highest[strip] = rows + 1 - (covers & 0xFFFF)
    return _join_covers(lowest, highest, growth)


def _covers(padded: Mask, growth: Growth) -> npt.NDArray[np.int32]:
    """How far the ovals of its row's mask pixels cover each pixel's column, as in `_vertical_covers`."""
    columns = np.arange(padded.shape[1], dtype=np.int16)
    nearest_left = np.maximum.accumulate(np.where(padded, columns, _FAR_LEFT), axis=1)
    nearest_right = np.minimum.accumulate(np.where(padded, columns, -_FAR_LEFT)[:, ::-1], axis=1)[:, ::-1]
    # A mask pixel on the left reaches here with the oval's right half, and the other way round.
    from_left = np.take(_vertical_covers(growth.right, growth), columns - nearest_left, mode="clip")
    from_right = np.take(_vertical_covers(growth.left, growth), nearest_right - columns, mode="clip")
    return np.maximum(from_left, from_right, out=from_left)


@lru_cache(maxsize=8)
def _vertical_covers(across: int, growth: Growth) -> npt.NDArray[np.int32]:
    """By distance 0 … `across` + 1: pixels covered down and up, this one counted, as one number down · 2¹⁶ + up.

    Both fall together with the distance relative to `across`, so the larger of two such numbers is the larger in both
    parts. The last entry, 0, says that the oval does not reach.
    """
    down, up = _quarter_ellipse(across, growth.bottom), _quarter_ellipse(across, growth.top)
    return np.append((down + 1 << 16) + up + 1, np.int32(0))


def _join_covers(lowest: npt.NDArray[np.int16], highest: npt.NDArray[np.int16], growth: Growth) -> Mask:
    """Union of the vertical segments from each pixel to its `lowest` and to its `highest` canvas row."""
    height, width = lowest.shape
    canvas = np.empty((growth.top + height + growth.bottom, width), dtype=np.bool_)
    reach = np.full(width, -1, dtype=np.int16)
    for row, covered in enumerate(canvas):
        if growth.top <= row < growth.top + height:
            np.maximum(reach, lowest[row - growth.top], out=reach)
        np.greater_equal(reach, row, out=covered)
    reach.fill(len(canvas))
    for row in range(growth.top + height - 1, -1, -1):
        if row >= growth.top:
            np.minimum(reach, highest[row - growth.top], out=reach)
        canvas[row] |= reach <= row
    return canvas


def convex_hull(mask: Mask, growth: Growth | None = None) -> Mask:
    """Every pixel whose centre lies in the convex hull of the pixel centres of `mask` (h, w) bool, grown if asked.

    With `growth` it is the hull of `grow(mask, growth)`, on that canvas, without growing: the hull of a sum is the sum
    of the hulls. So the result holds the (grown) mask, is convex in the digital sense, and is its own hull.
    An empty mask stays empty.
    """
    sides = growth or Growth(0, 0, 0, 0)
    height, width = mask.shape
    size = (sides.top + height + sides.bottom, sides.left + width + sides.right)
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(size, dtype=np.bool_)
    filled = mask[rows]
    corners = _hull_corners(filled.argmax(axis=1), width - 1 - filled[:, ::-1].argmax(axis=1), rows)
    if growth:
        x, y = _oval_corners(growth).T + np.array([[growth.left], [growth.top]])
        corners = np.column_stack([(corners[:, :1] + x).ravel(), (corners[:, 1:] + y).ravel()])
    return _fill_convex(_convex_polygon(corners), size)


def _convex_polygon(points: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.asarray(cv2.convexHull(points)[:, 0], dtype=np.int32)


def _hull_corners(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Corners (n, 2) x, y of the convex hull of row segments [left, right]."""
    ends = np.concatenate([np.column_stack((left, rows)), np.column_stack((right, rows))]).astype(np.int32)
    return _convex_polygon(ends)


def _oval_corners(growth: Growth) -> npt.NDArray[np.int32]:
    """Corners (n, 2) x, y of the convex hull of the oval around (0, 0)."""
    rows = np.arange(-growth.top, growth.bottom + 1)

    def reach(across: int) -> npt.NDArray[np.int64]:
        up, down = _quarter_ellipse(growth.top, across), _quarter_ellipse(growth.bottom, across)
        return np.concatenate([up[:0:-1], down]).astype(np.int64)

    return _hull_corners(-reach(growth.left), reach(growth.right), rows)


def _fill_convex(corners: npt.NDArray[np.int32], size: tuple[int, int]) -> Mask:
    """Pixels of a (H, W) bool canvas whose centres lie in the convex polygon, its border included."""
    rows, columns = np.arange(size[0]), np.arange(size[1])
    start, end = corners.astype(np.float64), np.roll(corners, -1, axis=0).astype(np.float64)
    (x0, y0), (x1, y1) = start.T[:, :, None], end.T[:, :, None]
    passes = (rows >= np.minimum(y0, y1)) & (rows <= np.maximum(y0, y1))
    slope = (x1 - x0) / np.where(y0 == y1, 1, y1 - y0)
    # Where an edge lies along a row, its neighbours bring the other end; a lone segment comes as two opposite edges.
    crossing = x0 + slope * (rows - y0)
    left = np.where(passes, crossing, np.inf).min(axis=0)
    right = np.where(passes, crossing, -np.inf).max(axis=0)
    # The margin absorbs rounding where an edge meets a pixel centre: other crossings are at least 1/height away.
    inside: Mask = (columns >= (left - 1e-6)[:, None]) & (columns <= (right + 1e-6)[:, None])
    return inside
