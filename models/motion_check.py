"""Whether a measured background motion is what the background really does there.

A homography fitted around a region says how the region moves if it lies in one plane and its surroundings have texture
to hold on to. In a bare sky, or across a near tree and a far wood, it says something and is wrong. So points inside
the region, which the fit saw only among others, are followed on their own and compared with it, and those that agree
have to lie all over the region: a mask half on the sand and half on a bare sky has all its corners on the sand.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.point_flow import Frame, Gray, LucasKanade, Points, to_gray
from models.protocols import Flow, Matrix
from models.weighted_homography import map_points

_CORNERS_PER_CELL = 3
"""Points of the whole frame's grid that are followed from each cell."""
_MARGIN = 32
"""Pixels around a cell that its corners are measured with: with 16, rounding in the sums of rows chose another one."""


class MotionCheckSettings(BaseModel, frozen=True, extra="forbid"):
    """What confirms a motion. Distances are pixels of the working copy unless they say otherwise."""

    working_side: int = Field(default=854, ge=64, description="long side of the copy points are followed in, px")
    points: int = Field(default=120, ge=8, description="points looked for inside the region; more cost time")
    point_distance: float = Field(
        default=0.07,
        gt=0,
        lt=1,
        description="least distance between them, share of the root of the region's area: the strongest corners alone "
        "lie together where the texture is",
    )
    point_quality: float = Field(
        default=0.01, gt=0, lt=1, description="weakest corner used, share of the strongest in the region"
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
    reach: float = Field(
        default=0.25,
        gt=0,
        description="how far around itself a point speaks for the region, share of the root of the region's area",
    )
    min_covered: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="least share of the region that points in agreement speak for; the rest is bare, or another depth",
    )
    frame_columns: int = Field(
        default=10, ge=1, description="columns (and about as many rows) of the grid that the whole frame is asked in"
    )
    frame_percentile: float = Field(
        default=85,
        ge=50,
        le=100,
        description="which of the whole frame's disagreements decides; the rest may be things that nobody found",
    )
    max_frame_disagreement: float = Field(
        default=0.006,
        gt=0,
        description="largest disagreement there, share of the frame's short side; parallax makes several times this",
    )


def confirmed(
    frames: Sequence[Frame],
    region: Mask,
    homographies: Sequence[Matrix],
    exclude: Sequence[Mask] | None = None,
    settings: MotionCheckSettings | None = None,
    point_flow: Flow | None = None,
) -> bool:
    """Whether points all over `region` (H, W) bool in frame 0 move as `homographies` (frame 0 → t) say.

    Frames are grey or RGB as the flow wants them. `exclude` holds one mask per frame of what is not background; points
    it covers are followed no further.
    """
    settings = settings or MotionCheckSettings()
    work = _Work(frames, exclude, settings, point_flow or LucasKanade())
    inside = np.asarray(cv2.resize(region.astype(np.uint8), work.size, interpolation=cv2.INTER_NEAREST), np.uint8)
    side = float(np.sqrt(np.count_nonzero(inside)))
    points = work.corners(inside, settings.points, settings.point_distance * side)
    followed, gaps = work.follow(points, homographies)
    if len(followed) < settings.min_points or float(followed.mean()) < settings.min_followed:
        return False
    limit = settings.max_disagreement * min(region.shape)
    if np.percentile(gaps[followed], settings.percentile) > limit:
        return False
    spoken_for = np.zeros_like(inside)
    for x, y in points[followed & (gaps <= limit)]:
        cv2.circle(spoken_for, (round(float(x)), round(float(y))), round(settings.reach * side), (1,), cv2.FILLED)
    return bool(np.count_nonzero(spoken_for & inside) >= settings.min_covered * np.count_nonzero(inside))


def where_it_holds(
    frames: Sequence[Frame],
    homographies: Sequence[Matrix],
    exclude: Sequence[Mask] | None = None,
    settings: MotionCheckSettings | None = None,
    point_flow: Flow | None = None,
) -> Mask | None:
    """Where in frame 0 a motion of the whole frame may be taken for that of a bare place, (H, W) bool; None: nowhere.

    There must be one plane, or a camera that only turns: points all over the frame move as `homographies` say. And the
    place must lie among them: of a sky above the last of them nothing is known.
    """
    settings = settings or MotionCheckSettings()
    work = _Work(frames, exclude, settings, point_flow or LucasKanade())
    points = work.spread_corners(np.uint8(1) - work.covered(0))
    followed, gaps = work.follow(points, homographies)
    if np.count_nonzero(followed) < settings.min_points:
        return None
    height, width = frames[0].shape[:2]
    limit = settings.max_frame_disagreement * min(height, width)
    if np.percentile(gaps[followed], settings.frame_percentile) > limit:
        return None
    hull = cv2.convexHull(work.full(points[followed & (gaps <= limit)]))
    among = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(among, np.rint(hull).astype(np.int32), (1,))
    return np.asarray(among > 0)


def agree(region: Mask, first: Matrix, second: Matrix, settings: MotionCheckSettings | None = None) -> bool:
    """Whether two homographies move the pixels of `region` alike, as far as `max_disagreement` allows."""
    settings = settings or MotionCheckSettings()
    rows, columns = np.nonzero(region)
    points = np.stack([columns, rows], axis=1).astype(np.float32)[:: max(1, len(rows) // 500)]
    gaps = np.linalg.norm(map_points(points, first) - map_points(points, second), axis=1)
    limit = settings.max_disagreement * min(region.shape)
    return bool(np.percentile(gaps, settings.percentile) <= limit)


class _Work:
    """Follows points through the working copies of the frames."""

    def __init__(
        self, frames: Sequence[Frame], exclude: Sequence[Mask] | None, settings: MotionCheckSettings, flow: Flow
    ) -> None:
        height, width = frames[0].shape[:2]
        self._frames, self._exclude, self._settings, self._flow = frames, exclude, settings, flow
        self.scale = min(1.0, settings.working_side / max(height, width))
        self.size = max(1, round(width * self.scale)), max(1, round(height * self.scale))

    def corners(self, allowed: npt.NDArray[np.uint8], number: int, distance: float) -> Points:
        """Corners of the first frame where `allowed` is 1, at least `distance` pixels apart."""
        return self._corners(to_gray(self._small(0)), allowed, number, distance)

    def _corners(self, gray: Gray, allowed: npt.NDArray[np.uint8], number: int, distance: float) -> Points:
        found = cv2.goodFeaturesToTrack(gray, number, self._settings.point_quality, max(1.0, distance), mask=allowed)
        return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)

    def spread_corners(self, allowed: npt.NDArray[np.uint8]) -> Points:
        """The strongest few of every cell of a grid over the frame."""
        width, height = self.size
        gray = to_gray(self._small(0))
        side = max(_CORNERS_PER_CELL, width // self._settings.frame_columns)
        found = []
        for top in range(0, height, side):
            for left in range(0, width, side):
                cell = np.zeros_like(allowed)
                cell[top : top + side, left : left + side] = allowed[top : top + side, left : left + side]
                y, x = max(0, top - _MARGIN), max(0, left - _MARGIN)
                part = np.s_[y : top + side + _MARGIN, x : left + side + _MARGIN]
                corners = self._corners(gray[part], cell[part], _CORNERS_PER_CELL, side / 4)
                found.append(np.asarray(corners + np.array([x, y]), np.float32))
        return np.concatenate(found)

    def follow(
        self, origin: Points, homographies: Sequence[Matrix]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Per point: whether it was followed to its end; its last distance from where it should be, full-size px."""
        now = origin.copy()
        lost, done = np.zeros((2, len(origin)), np.bool_)
        gaps = np.zeros(len(origin))
        previous = self._small(0)
        for index in range(1, len(self._frames)):
            active = np.flatnonzero(~(lost | done))
            if not len(active):
                break
            frame = self._small(index)
            there, trusted = self._flow(previous, frame, now[active])
            gone = _outside(there, self.size) | self._covers(index, there)
            done[active[gone]] = True
            lost[active[~gone & ~trusted]] = True
            kept = active[~gone & trusted]
            now[kept] = there[~gone & trusted]
            expected = map_points(self.full(origin[kept]), homographies[index])
            gaps[kept] = np.linalg.norm(expected - self.full(now[kept]), axis=1)
            previous = frame
        return ~lost, gaps

    def covered(self, index: int) -> npt.NDArray[np.uint8]:
        """1 on and close to what a frame's excluded mask covers, at working size."""
        if self._exclude is None:
            return np.zeros(self.size[::-1], np.uint8)
        side = 2 * self._settings.exclude_margin + 1
        small = cv2.resize(self._exclude[index].astype(np.uint8), self.size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(cv2.dilate(small, np.ones((side, side), np.uint8)), np.uint8)

    def _covers(self, index: int, points: Points) -> npt.NDArray[np.bool_]:
        near = self.covered(index)
        columns = np.clip(np.rint(points[:, 0]), 0, self.size[0] - 1).astype(np.int64)
        rows = np.clip(np.rint(points[:, 1]), 0, self.size[1] - 1).astype(np.int64)
        return np.asarray(near[rows, columns] > 0)

    def _small(self, index: int) -> Frame:
        return np.asarray(cv2.resize(self._frames[index], self.size, interpolation=cv2.INTER_AREA), np.uint8)

    def full(self, points: Points) -> Points:
        """Points of the working copy in the full frame (pixel centres at whole numbers in both)."""
        return np.asarray((points + 0.5) / self.scale - 0.5, np.float32)


def _outside(points: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    x, y = points[:, 0], points[:, 1]
    return np.asarray((x < 0) | (y < 0) | (x > size[0] - 1) | (y > size[1] - 1))
