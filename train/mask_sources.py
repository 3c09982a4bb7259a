"""Where the masks of an edit come from: a mask video, or a mask or box on the first frame that is followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manifests.masks import Mask
from models.protocols import Box, Detection, Image, Segmenter, Tracker

LEAST_SIDE = 16
"""Pixels: trackers look at surroundings, and OpenCV's flow refuses less than 12."""


def follow(tracker: Tracker, frames: Sequence[Image], first: Mask) -> npt.NDArray[np.bool_]:
    """Masks (frames, height, width) of what `first` marks in the first frame. Raises ValueError when it is lost."""
    height, width = first.shape
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"in a video of {width}×{height} nothing can be followed; give a mask video, or --still")
    masks = np.stack([step[0] for step in tracker.track(frames, [first])])
    if len(masks) > 1 and not masks[1:].any():
        raise ValueError(
            "what the mask marks in the first frame cannot be followed; give a mask video, or --still for a mask that "
            "stays where it is"
        )
    return masks


def stay(count: int, first: Mask) -> npt.NDArray[np.bool_]:
    """The same mask for `count` frames."""
    return np.repeat(first[None], count, axis=0)


def mask_in_box(segmenter: Segmenter, image: Image, box: Box) -> Mask:
    """The mask of the thing in a box of the first frame; the box itself where the segmenter finds nothing."""
    (mask,) = segmenter.segment(image, [Detection(box, "object", 1.0)])
    return mask if mask.any() else filled_box(image, box)


def filled_box(image: Image, box: Box) -> Mask:
    """The box as a mask of the image's size; `box` in whole pixels, as `parse_box` gives it."""
    x0, y0, x1, y1 = (int(value) for value in box)
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def parse_box(text: str, image: Image) -> Box:
    """``x0,y0,x1,y1`` in whole pixels, end exclusive, inside the image. Raises ValueError with one sentence."""
    height, width = image.shape[:2]
    try:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"a box is x0,y0,x1,y1 in whole pixels, not '{text}'") from error
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"the box {text} does not lie inside the video, which is {width}×{height}, or has no area")
    return x0, y0, x1, y1
