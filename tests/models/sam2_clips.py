"""Clips and comparisons for the tests of SAM 2.1."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask

SIZE = (90, 160)


def moving_discs(count: int) -> tuple[list[npt.NDArray[np.uint8]], list[Mask]]:
    """Frames of two discs on their way over a pattern, and their first masks."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    ground = np.stack([rows * 2, columns, (rows + columns) // 4 * 37 % 256], axis=-1).astype(np.uint8)
    frames, first = [], [np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)]
    for time in range(count):
        frame = ground.copy()
        for number, colour in enumerate([(230, 40, 40), (40, 60, 240)]):
            centre = (30 + 2 * time + 60 * number, 30 + time // 2 + 30 * number)
            cv2.circle(frame, centre, 16 - 4 * number, colour, -1)
            if time == 0:
                cv2.circle(first[number], centre, 16 - 4 * number, 1, -1)
        frames.append(frame)
    return frames, [mask > 0 for mask in first]


def disagreement(ours: Sequence[Sequence[Mask]], theirs: Sequence[Sequence[Mask]]) -> float:
    """The largest share of pixels in which two masks of the same frame and object differ."""
    return max(
        float((one != other).mean())
        for mine, yours in zip(ours, theirs, strict=True)
        for one, other in zip(mine, yours, strict=True)
    )
