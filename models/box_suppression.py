"""Non-maximum suppression of boxes, in NumPy: results and their order do not depend on a device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
"""(count, 4): x0, y0, x1, y1 in pixels, end exclusive."""
Scores = npt.NDArray[np.float32]


def suppress(
    boxes: Boxes, scores: Scores, limit: float, names: npt.NDArray[np.str_] | None = None
) -> npt.NDArray[np.int64]:
    """Indices of the boxes that no better box overlaps with an IoU above `limit`, best first.

    With `names`, one per box, only boxes of the same name suppress each other. Of equal scores the first wins. A limit
    of 1 keeps all.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while waiting.size:
        best, rest = waiting[0], waiting[1:]
        kept.append(best)
        clashes = _iou(boxes[best], boxes[rest]) > limit
        if names is not None:
            clashes &= names[rest] == names[best]
        waiting = rest[~clashes]
    return np.asarray(kept, np.int64)


def _iou(box: npt.NDArray[np.float32], others: Boxes) -> npt.NDArray[np.float64]:
    """IoU of a box with each of the others; 0 where neither has an area."""
    one, many = box.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float64)
