"""Boxes x0, y0, x1, y1 in pixels, end exclusive: around a mask, how large, and how much two of them share."""

from __future__ import annotations

import numpy as np

from manifests.masks import Mask
from models.protocols import Box


def extent(mask: Mask) -> tuple[int, int, int, int]:
    """The tight box around a mask (H, W) bool. Raises ValueError when the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def area(box: Box) -> float:
    """Area of a box in square pixels."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def shared_area(first: Box, second: Box) -> float:
    """Area of what two boxes have in common, in square pixels."""
    return area(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 where both are empty."""
    shared = shared_area(first, second)
    union = area(first) + area(second) - shared
    return shared / union if union > 0 else 0.0
