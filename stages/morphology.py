"""Growing and hulling one binary mask, exactly: results are sets of pixels defined by integers, not by a rasteriser.

Everything works on the crop of a mask's tight box, so the cost follows the object's size and not the frame's. The oval
that masks grow by has four quarters, each a quarter of an ellipse with the half axes of its two sides; it is convex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    The cost hardly depends on the size of the oval: each pixel's distance to the nearest mask pixels of its row says
    how far up and down the column it is covered, and running extremes join these vertical segments.
    """
    height, width = mask.shape
    size = (growth.top + height + growth.bottom, growth.left + width + growth.right)
    rows = np.arange(size[0], dtype=np.int16)[:, None]
    lowest, highest = np.full(size, -1, dtype=np.int16), np.full(size, size[0], dtype=np.int16)
    down, up = ((_reaches(growth.right, along), _reaches(growth.left, along)) for along in (growth.bottom, growth.top))
    for start in range(0, height, _STRIP_ROWS):
        strip = mask[start : start + _STRIP_ROWS]
        here = slice(growth.top + start, growth.top + start + len(strip))
        to_left, to_right = _row_distances(strip, growth)
        lowest[here] = rows[here] - 1 + np.maximum(cv2.LUT(to_left, down[0]), cv2.LUT(to_right, down[1]))
        highest[here] = rows[here] + 1 - np.maximum(cv2.LUT(to_left, up[0]), cv2.LUT(to_right, up[1]))
    lowest = cv2.dilate(lowest, np.ones((growth.bottom + 1, 1), np.uint8), anchor=(0, growth.bottom))
    highest = cv2.erode(highest, np.ones((growth.top + 1, 1), np.uint8), anchor=(0, 0))
    return np.asarray((lowest >= rows) | (highest <= rows), dtype=np.bool_)


def _row_distances(strip: Mask, growth: Growth) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Each pixel's distance to the nearest mask pixel of its row on the left and on the right, itself included.

    `strip` is widened by the growth; what lies farther than the oval reaches is just far.
    """
    padded = np.pad(strip, ((0, 0), (growth.left, growth.right)))
    columns = np.arange(padded.shape[1], dtype=np.int16)
    # A mask pixel on the left reaches here with the oval's right half, and the other way round.
    on_left, on_right = np.where(padded, columns, _FAR_LEFT), np.where(padded, columns, -_FAR_LEFT)
    nearest_left = cv2.dilate(on_left, np.ones((1, growth.right + 1), np.uint8), anchor=(growth.right, 0))
    nearest_right = cv2.erode(on_right, np.ones((1, growth.left + 1), np.uint8), anchor=(0, 0))
    return (columns - nearest_left).view(np.uint16), (nearest_right - columns).view(np.uint16)


def _reaches(across: int, along: int) -> npt.NDArray[np.int16]:
    """By distance, of 16 bits: pixels covered down or up the column, this one counted; 0 beyond `across`."""
    table = np.zeros(2**16, dtype=np.int16)
    table[: across + 1] = _quarter_ellipse(across, along) + 1
    return table


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
