"""Whether a measured background motion is what the background really does there.

A homography fitted around a region says how the region moves if it lies in one plane and its surroundings have texture
to hold on to. In a bare sky, or across a near tree and a far wood, it says something and is wrong. So points inside
the region, which the fit saw only among others, are followed on their own and compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.point_flow import Frame, LucasKanade, Points, to_gray
from models.protocols import Flow, Matrix
from models.weighted_homography import map_points


class MotionCheckSettings(BaseModel, frozen=True, extra="forbid"):
    """What confirms a motion. Distances are pixels of the working copy unless they say otherwise."""

    working_side: int = Field(default=854, ge=64, description="long side of the copy points are followed in, px")
    points: int = Field(default=60, ge=8, description="points looked for inside the region; more cost time")
    point_distance: int = Field(default=6, ge=1, description="least distance between them, px")
    point_quality: float = Field(
        default=0.02, gt=0, lt=1, description="weakest corner used, share of the strongest in the region"
    )
    exclude_margin: int = Field(
        default=7, ge=0, description="growth of the excluded masks, px: an object's edge carries the object's motion"
    )
    min_points: int = Field(default=10, ge=3, description="fewer points confirm nothing")
    min_followed: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="least share of the points that is followed until it leaves the frame or the clip ends; where more "
        "are lost there is nothing to hold on to, or a nearer thing covers the place",
    )
    percentile: float = Field(
        default=75, ge=50, le=100, description="which of the points' disagreements decides; the rest may slip"
    )
    max_disagreement: float = Field(
        default=0.002,
        gt=0,
        description="largest disagreement, share of the frame's short side (1.4 px at 720p); more lets masks slide",
    )


def confirmed(
    frames: Sequence[Frame],
    region: Mask,
    homographies: Sequence[Matrix],
    exclude: Sequence[Mask] | None = None,
    settings: MotionCheckSettings | None = None,
    point_flow: Flow | None = None,
) -> bool:
    """Whether points of `region` (H, W) bool in frame 0 move as `homographies` (frame 0 → t) say.

    Frames are grey or RGB as the flow wants them. `exclude` holds one mask per frame of what is not background; points
    it covers are followed no further.
    """
    settings = settings or MotionCheckSettings()
    followed, gaps = _follow(frames, region, homographies, exclude, settings, point_flow or LucasKanade())
    if len(followed) < settings.min_points or float(followed.mean()) < settings.min_followed:
        return False
    limit = settings.max_disagreement * min(region.shape)
    return bool(np.percentile(gaps[followed], settings.percentile) <= limit)


def agree(region: Mask, first: Matrix, second: Matrix, settings: MotionCheckSettings | None = None) -> bool:
    """Whether two homographies move the pixels of `region` alike, as far as `max_disagreement` allows."""
    settings = settings or MotionCheckSettings()
    rows, columns = np.nonzero(region)
    points = np.stack([columns, rows], axis=1).astype(np.float32)[:: max(1, len(rows) // 500)]
    gaps = np.linalg.norm(map_points(points, first) - map_points(points, second), axis=1)
    limit = settings.max_disagreement * min(region.shape)
    return bool(np.percentile(gaps, settings.percentile) <= limit)


def _follow(
    frames: Sequence[Frame],
    region: Mask,
    homographies: Sequence[Matrix],
    exclude: Sequence[Mask] | None,
    settings: MotionCheckSettings,
    point_flow: Flow,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Per point: whether it was followed to its end, and its last distance (full-size px) from where it should be."""
    height, width = region.shape
    scale = min(1.0, settings.working_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    inside = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    previous = _small(frames[0], size)
    corners = cv2.goodFeaturesToTrack(
        to_gray(previous), settings.points, settings.point_quality, settings.point_distance, mask=inside
    )
    origin = np.zeros((0, 2), np.float32) if corners is None else np.asarray(corners[:, 0], np.float32)
    now = origin.copy()
    lost, done = np.zeros((2, len(origin)), np.bool_)
    gaps = np.zeros(len(origin))
    for index in range(1, len(frames)):
        active = np.flatnonzero(~(lost | done))
        if not len(active):
            break
        frame = _small(frames[index], size)
        there, trusted = point_flow(previous, frame, now[active])
        gone = _outside(there, size) | _covered(there, None if exclude is None else exclude[index], size, settings)
        done[active[gone]] = True
        lost[active[~gone & ~trusted]] = True
        kept = active[~gone & trusted]
        now[kept] = there[~gone & trusted]
        expected = map_points(_full(origin[kept], scale), homographies[index])
        gaps[kept] = np.linalg.norm(expected - _full(now[kept], scale), axis=1)
        previous = frame
    return ~lost, gaps


def _small(frame: Frame, size: tuple[int, int]) -> Frame:
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _full(points: Points, scale: float) -> Points:
    """Points of the working copy in the full frame (pixel centres at whole numbers in both)."""
    return np.asarray((points + 0.5) / scale - 0.5, np.float32)


def _outside(points: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    x, y = points[:, 0], points[:, 1]
    return np.asarray((x < 0) | (y < 0) | (x > size[0] - 1) | (y > size[1] - 1))


def _covered(
    points: Points, exclude: Mask | None, size: tuple[int, int], settings: MotionCheckSettings
) -> npt.NDArray[np.bool_]:
    """Which points lie on or close to an excluded mask."""
    if exclude is None:
        return np.zeros(len(points), np.bool_)
    side = 2 * settings.exclude_margin + 1
    small = cv2.resize(exclude.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    near = cv2.dilate(small, np.ones((side, side), np.uint8)) > 0
    columns = np.clip(np.rint(points[:, 0]), 0, size[0] - 1).astype(np.int64)
    rows = np.clip(np.rint(points[:, 1]), 0, size[1] - 1).astype(np.int64)
    return np.asarray(near[rows, columns])
