"""Binary masks under scalings and homographies, with clean edges.

A mask is sampled as a picture (low-passed, bilinear) and cut at one half, so that edges stay where
they are instead of growing or fraying. Coordinates are pixel indices: the centre of the first pixel is (0, 0).
Whole-pixel shifts are exact.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask
from models.protocols import Matrix
from stages.morphology import PixelBox, tight_box

_HALF = 127
"""Largest sampled value (0–255) that counts as outside."""


def _clip(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    height, width = size
    return max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)


def _soft_crop(mask: Mask, box: PixelBox, scale: float) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The mask's crop to `box` as 0–255 with a margin of zeros, and the margin's corner (x, y) in the mask's frame.

    `scale` is in target pixels per mask pixel. Below 1 the crop is blurred to what the target can hold, above 1 just so
    much that its pixels do not show as stairs, and not at all at 1.
    """
    sigma = 0.5 * math.sqrt(1 / scale**2 - 1 if scale < 1 else 1 - 1 / scale**2)
    margin = 1 + math.ceil(3 * sigma)
    x0, y0, x1, y1 = box
    crop = np.pad(mask[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255), margin)
    if sigma > 0:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), dtype=np.uint8)
    return crop, x0 - margin, y0 - margin


def scale_shift(mask: Mask, scale: float, shift: tuple[float, float], target: tuple[int, int] | None) -> Mask:
    """`mask` (h, w) bool moved by p → scale · p + shift onto a `target` (height, width) frame, cut at its border.

    With `target` None the canvas is as large as the moved mask and starts at `moved_box`. Raises ValueError for a scale
    that is not positive.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"a scale must be a positive number, not {scale}")
    box = tight_box(mask)
    if box is None:
        return np.zeros(target or (0, 0), dtype=np.bool_)
    moved = moved_box(box, scale, shift)
    x0, y0, x1, y1 = _clip(moved, target) if target else moved
    if x0 >= x1 or y0 >= y1:
        return np.zeros(target or (0, 0), dtype=np.bool_)
    crop, left, top = _soft_crop(mask, box, scale)
    # Explicit sampling positions, the same numbers whatever is cut off: a matrix would be rounded with its offset.
    across = ((np.arange(x0, x1) - shift[0]) / scale - left).astype(np.float32)
    down = ((np.arange(y0, y1) - shift[1]) / scale - top).astype(np.float32)
    columns, rows = np.meshgrid(across, down)
    sampled: Mask = cv2.remap(crop, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > _HALF
    if target is None:
        return sampled
    result = np.zeros(target, dtype=np.bool_)
    result[y0:y1, x0:x1] = sampled
    return result


def moved_box(box: PixelBox, scale: float, shift: tuple[float, float]) -> PixelBox:
    """Whole pixels that the pixels of `box` can cover after p → scale · p + shift."""
    x0, y0, x1, y1 = ((edge - 0.5) * scale for edge in box)
    dx, dy = shift
    return math.floor(x0 + dx), math.floor(y0 + dy), math.ceil(x1 + dx) + 1, math.ceil(y1 + dy) + 1


def warp(mask: Mask, homography: Matrix) -> Mask:
    """`mask` (H, W) bool under a 3×3 homography of its pixel coordinates; same size, what leaves the frame is cut.

    Raises ValueError when the matrix is not a finite 3×3 or sends part of the mask to infinity.
    """
    if homography.shape != (3, 3) or not np.isfinite(homography).all():
        raise ValueError(f"a homography must be a finite 3×3 matrix, not {homography.tolist()}")
    result = np.zeros(mask.shape, dtype=np.bool_)
    box = tight_box(mask)
    if box is None:
        return result
    moved, scale = _projected_box(box, homography)
    x0, y0, x1, y1 = _clip(moved, (mask.shape[0], mask.shape[1]))
    if x0 >= x1 or y0 >= y1:
        return result
    crop, left, top = _soft_crop(mask, box, scale)
    to_window = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]]) @ homography
    matrix = to_window @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    result[y0:y1, x0:x1] = cv2.warpPerspective(crop, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR) > _HALF
    return result


def _projected_box(box: PixelBox, homography: Matrix) -> tuple[PixelBox, float]:
    """Whole pixels that hold the projection of `box`, and the mean scale of lengths."""
    x0, y0, x1, y1 = (edge - 0.5 for edge in box)
    corners = np.array([[x0, y0, 1], [x1, y0, 1], [x1, y1, 1], [x0, y1, 1]]) @ homography.T
    if corners[:, 2].min() <= 0:
        raise ValueError(f"homography {homography.tolist()} sends part of the mask to infinity")
    points = (corners[:, :2] / corners[:, 2:]).astype(np.float32)
    (left, top), (right, bottom) = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)) + 1
    area_ratio = float(cv2.contourArea(points)) / ((x1 - x0) * (y1 - y0))
    if area_ratio <= 0:
        raise ValueError(f"homography {homography.tolist()} flattens the mask to nothing")
    return (int(left), int(top), int(right), int(bottom)), math.sqrt(area_ratio)
