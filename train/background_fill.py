"""Removing without a learnt model: fill what the mask hides from the frames that show it, else from its surroundings.

The baselines of the evaluation. The temporal one carries pixels along the camera's motion (a homography between frames
from point flow, as the dataset's background masks are moved), nearest moments first; what no frame shows is inpainted.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.local_homography import global_homographies

Video = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]

INPAINT_RADIUS = 3.0
"""Pixels around a point that OpenCV's inpainting looks at."""
MARGIN = 3
"""Pixels by which masks are grown: an object's soft edge is not background."""


def inpaint_frames(video: Video, masks: Masks) -> Video:
    """Each frame by itself: OpenCV's inpainting (Telea 2004)."""
    return np.stack([_inpaint(frame, mask) for frame, mask in zip(video, masks, strict=True)])


def fill_from_other_frames(video: Video, masks: Masks) -> Video:
    """What other frames show of the background, carried along the camera's motion; the rest inpainted."""
    if len(video) == 1:
        return inpaint_frames(video, masks)
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    hidden = np.stack([cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in masks])
    # The camera is found without a look into the holes: in an evaluation they hold the answer.
    blind = [_inpaint(frame, mask) for frame, mask in zip(video, hidden, strict=True)]
    grays = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in blind]
    camera = global_homographies(grays, list(hidden))
    result = video.copy()
    for index, mask in enumerate(masks):
        result[index][mask] = _fill(index, video, hidden, camera)[mask]
    return result


def _fill(index: int, video: Video, hidden: Masks, camera: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.uint8]:
    result: npt.NDArray[np.uint8] = video[index].copy()
    missing = hidden[index].copy()
    height, width = missing.shape
    for other in sorted(range(len(video)), key=lambda number: (abs(number - index), number)):
        if not missing.any():
            return result
        if other == index:
            continue
        there = camera[index] @ np.linalg.inv(camera[other])
        seen = cv2.warpPerspective((~hidden[other]).astype(np.uint8), there, (width, height), flags=cv2.INTER_NEAREST)
        usable = missing & (seen > 0)
        if usable.any():
            warped = cv2.warpPerspective(video[other], there, (width, height), flags=cv2.INTER_LINEAR)
            result[usable] = warped[usable]
            missing &= ~usable
    return _inpaint(result, missing)


def _inpaint(frame: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    if not mask.any():
        return frame
    return np.asarray(cv2.inpaint(frame, mask.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA), np.uint8)
