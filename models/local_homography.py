"""How the background around a region moves: one homography per frame, from frame 0 on.

A region pasted onto the background has to move with the camera (the paper's deletion data, propagation "background").
Warping it by chained dense flow drifts by several pixels within two seconds; a homography fitted to points of the
background does not. Points are followed from frame to frame for as long as they can be, each remembers where it lay in
frame 0, and every fit starts at frame 0 again, so that the errors of single steps do not add up. Points near the region
count most: with parallax only they move as it does. A few far ones hold the perspective where the surroundings are
bare.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.point_flow import Flags, Frame, Gray, LucasKanade, Points, to_gray
from models.protocols import Flow, Matrix
from models.weighted_homography import fit_homography, map_points


class HomographySettings(BaseModel, frozen=True, extra="forbid"):
    """How background motion is measured. Distances are pixels of the working copy unless they say otherwise."""

    working_side: int = Field(
        default=854, ge=64, description="Long side of the copy points are followed in (px); more is slower, not better."
    )
    reach: float = Field(
        default=1.8, ge=1, description="Radius of the surroundings in radii of the region; wide ones suffer parallax."
    )
    focus: float = Field(
        default=0.8, gt=0, description="Distance (radii of the region) over which a point's weight falls to 0.6."
    )
    far_weight: float = Field(
        default=0.01, ge=0, le=1, description="Weight of the farthest points; 0 lets perspective follow the noise."
    )
    max_points: int = Field(
        default=220, ge=12, description="Points around the region; more cost time and gain nothing."
    )
    point_distance: int = Field(default=6, ge=1, description="Least distance between these points: they spread out.")
    far_points: int = Field(default=80, ge=0, description="Points anywhere in the frame, for bare surroundings.")
    far_distance: int = Field(default=25, ge=1, description="Least distance between the far points.")
    point_quality: float = Field(
        default=0.005, gt=0, lt=1, description="Weakest corner used, as a share of the strongest; noise is below."
    )
    exclude_margin: int = Field(
        default=7, ge=0, description="Growth of the excluded masks: an object's edge carries the object's motion."
    )
    border: int = Field(default=4, ge=0, description="Points closer than this to the frame's border are dropped.")
    tolerance: float = Field(
        default=2.0, gt=0, description="Disagreement with the common motion at which a point is dropped for good."
    )
    min_homography_points: int = Field(
        default=12, ge=4, description="With fewer points the motion is affine: perspective would follow the noise."
    )
    min_affine_points: int = Field(default=5, ge=3, description="With fewer points the last motion goes on.")
    renew_share: float = Field(
        default=0.4, ge=0, le=1, description="Points are added when less than this share is left; 1 drifts faster."
    )
    max_scale_step: float = Field(
        default=1.5, gt=1, description="Largest change of the region's size in one frame; beyond, the fit has failed."
    )
    max_coast: int = Field(
        default=5, ge=0, description="Frames that the last motion goes on without points; then the background rests."
    )


def background_homographies(
    frames: Sequence[Frame],
    region: Mask,
    exclude: Sequence[Mask] | None = None,
    settings: HomographySettings | None = None,
    point_flow: Flow | None = None,
) -> list[Matrix]:
    """For every frame the homography that takes frame-0 pixels of the background in and around `region` there.

    `region` is a mask of frame 0; `exclude` holds one mask per frame of what is not background. Frames are read once,
    in order; they are grey or RGB as the flow wants them. Where nothing can be followed the last motion goes on for a
    while, then the background rests; an empty region gives the motion of the whole frame. Raises ValueError when sizes
    or lengths differ.
    """
    if len(frames) and region.shape != frames[0].shape[:2]:
        raise ValueError(f"a region of {region.shape} does not fit frames of {frames[0].shape[:2]}")
    return _measure(frames, _outline(region), exclude, settings or HomographySettings(), point_flow or LucasKanade())


def global_homographies(
    frames: Sequence[Frame],
    exclude: Sequence[Mask] | None = None,
    settings: HomographySettings | None = None,
    point_flow: Flow | None = None,
) -> list[Matrix]:
    """For every frame the homography that takes frame-0 pixels of the whole background there: the camera's motion.

    Otherwise like `background_homographies`.
    """
    return _measure(frames, None, exclude, settings or HomographySettings(), point_flow or LucasKanade())


def _outline(region: Mask) -> Points | None:
    """Corners (n, 2) of the region's convex hull, grown by half a pixel to enclose some area; None when it is empty."""
    rows, columns = np.nonzero(region)
    if not rows.size:
        return None
    corners = [(columns + x, rows + y) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]
    points = np.concatenate([np.stack(corner, axis=1) for corner in corners]).astype(np.float32)
    return np.asarray(cv2.convexHull(points)[:, 0], np.float32)


def _measure(
    frames: Sequence[Frame],
    outline: Points | None,
    exclude: Sequence[Mask] | None,
    settings: HomographySettings,
    point_flow: Flow,
) -> list[Matrix]:
    """The homographies at full size, measured in the working copy; without an outline those of the whole frame."""
    if exclude is not None and len(exclude) != len(frames):
        raise ValueError(f"{len(exclude)} masks of what to exclude for {len(frames)} frames")
    meter: _MotionMeter | None = None
    size, to_work = (0, 0), np.eye(3)
    homographies: list[Matrix] = []
    for index in range(len(frames)):
        frame = frames[index]
        if meter is None:
            size, to_work = _working_size(frame, settings.working_side)
            around = None if outline is None else map_points(outline, to_work)
            meter = _MotionMeter(around, size, settings, point_flow)
            shape = frame.shape
        if frame.shape != shape:
            raise ValueError(f"frame {index} is of {frame.shape}, the frames before it of {shape}")
        small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        meter.advance(small, _background(None if exclude is None else exclude[index], size, settings.exclude_margin))
        full = np.linalg.inv(to_work) @ meter.homography @ to_work
        homographies.append(full / full[2, 2])
    return homographies


def _working_size(frame: Frame, side: int) -> tuple[tuple[int, int], Matrix]:
    """(width, height) of the working copy, and the matrix that takes full-size pixels there (centres at +0.5)."""
    height, width = frame.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    x, y = size[0] / width, size[1] / height
    return size, np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]])


def _background(exclude: Mask | None, size: tuple[int, int], margin: int) -> Mask:
    """Where points of the background may lie, at (width, height)."""
    if exclude is None:
        return np.ones((size[1], size[0]), np.bool_)
    small = cv2.resize(exclude.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    brush = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return np.asarray(cv2.dilate(small, brush) == 0)


class _MotionMeter:
    """Follows points of the background through the working copies of the frames, given one after the other."""

    def __init__(
        self, outline: Points | None, size: tuple[int, int], settings: HomographySettings, point_flow: Flow
    ) -> None:
        """`outline` encloses the region in frame 0; None stands for the whole frame of `size` (width, height)."""
        width, height = size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        self._local = outline is not None
        self._outline: Points = corners if outline is None else outline
        self._settings = settings
        self._point_flow = point_flow
        self._previous: Frame | None = None
        self._origin, self._now = _no_points(), _no_points()
        self._enough = 0.0
        self._step: Matrix = np.eye(3)
        self._coasted = 0
        self.homography: Matrix = np.eye(3)

    def advance(self, frame: Frame, background: Mask) -> None:
        """Take the next frame; `homography` then leads from frame 0 to it. `background`: where points may lie."""
        if self._previous is not None:
            self._follow(self._previous, frame, background)
            self._update(fit=self._fit())
        if len(self._now) <= self._enough:
            self._add_points(to_gray(frame), background)
        self._previous = frame

    def _follow(self, previous: Frame, frame: Frame, background: Mask) -> None:
        there, trusted = self._point_flow(previous, frame, self._now)
        kept = trusted & _lies_in(there, background, self._settings.border)
        origin, before, after = self._origin[kept], self._now[kept], there[kept]
        together = self._moving_together(before, after)
        self._origin, self._now = origin[together], after[together]

    def _moving_together(self, before: Points, after: Points) -> Flags:
        """Which points share one motion in this step; over one step even parallax is small."""
        settings = self._settings
        if len(before) >= settings.min_homography_points:
            matrix, agreeing = cv2.findHomography(before, after, cv2.USAC_MAGSAC, settings.tolerance)
        elif len(before) >= settings.min_affine_points:
            matrix, agreeing = cv2.estimateAffine2D(before, after, ransacReprojThreshold=settings.tolerance)
        else:
            return np.zeros(len(before), np.bool_)
        return np.zeros(len(before), np.bool_) if matrix is None else np.asarray(agreeing[:, 0] > 0)

    def _fit(self) -> Matrix | None:
        """The homography from frame 0 to the present points, None where there are too few or it makes no sense."""
        settings = self._settings
        if len(self._now) < settings.min_affine_points:
            return None
        centre, radius = _circle(self._outline)
        weights = np.ones(len(self._origin))
        if self._local:
            distance = np.linalg.norm(self._origin - centre, axis=1) / radius
            weights = np.exp(-0.5 * (distance / settings.focus) ** 2) + settings.far_weight
        matrix = fit_homography(
            self._origin,
            self._now,
            weights,
            perspective=len(self._now) >= settings.min_homography_points,
            tolerance=settings.tolerance,
        )
        return matrix if self._plausible(matrix) else None

    def _plausible(self, matrix: Matrix) -> bool:
        """Whether the region neither flips over nor changes its size more than a camera can make it in one frame."""
        before, after = map_points(self._outline, self.homography), map_points(self._outline, matrix)
        if not np.isfinite(after).all():
            return False
        area_before, area_after = (cv2.contourArea(points, oriented=True) for points in (before, after))
        if area_before < 0:
            area_before, area_after = -area_before, -area_after
        limit = self._settings.max_scale_step**2
        return bool(area_before / limit < area_after < area_before * limit)

    def _update(self, fit: Matrix | None) -> None:
        """Take a fit as the new homography; without one let the last step go on, and begin with new points."""
        if fit is not None:
            self._step = fit @ np.linalg.inv(self.homography)
            self._coasted = 0
            self.homography = fit
            return
        self._origin, self._now = _no_points(), _no_points()
        if self._coasted < self._settings.max_coast:
            self._coasted += 1
            moved = self._step @ self.homography
            moved /= moved[2, 2]
            if self._plausible(moved):
                self.homography = moved

    def _add_points(self, gray: Gray, background: Mask) -> None:
        """Fill up with corners of the background, first around the region where it is now, then anywhere."""
        settings = self._settings
        free = background.astype(np.uint8)
        for x, y in self._now:
            cv2.circle(free, (round(float(x)), round(float(y))), settings.point_distance, (0,), cv2.FILLED)
        near = free.copy()
        if self._local:
            centre, radius = _circle(map_points(self._outline, self.homography))
            near *= _disc(near.shape, centre, radius * settings.reach)
        wanted = settings.max_points + settings.far_points - len(self._now)
        found = np.concatenate(
            [
                self._corners(gray, near, settings.max_points, settings.point_distance),
                self._corners(gray, free, settings.far_points, settings.far_distance),
            ]
        )[:wanted]
        to_origin = np.asarray(np.linalg.inv(self.homography), np.float64)
        self._origin = np.concatenate([self._origin, map_points(found, to_origin)])
        self._now = np.concatenate([self._now, found])
        self._enough = settings.renew_share * len(self._now)

    def _corners(self, gray: Gray, allowed: npt.NDArray[np.uint8], number: int, distance: int) -> Points:
        if not number:
            return _no_points()
        found = cv2.goodFeaturesToTrack(gray, number, self._settings.point_quality, distance, mask=allowed)
        return _no_points() if found is None else np.asarray(found[:, 0], np.float32)


def _no_points() -> Points:
    return np.zeros((0, 2), np.float32)


def _circle(outline: Points) -> tuple[Points, float]:
    """Centre and radius (at least 1 px) of a circle around the outline."""
    centre = outline.mean(axis=0)
    return np.asarray(centre, np.float32), max(1.0, float(np.linalg.norm(outline - centre, axis=1).max()))


def _disc(shape: tuple[int, ...], centre: Points, radius: float) -> npt.NDArray[np.uint8]:
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - centre[1]
    columns = np.arange(shape[1], dtype=np.float32) - centre[0]
    return np.asarray(rows * rows + columns * columns <= radius * radius, np.uint8)


def _lies_in(points: Points, allowed: Mask, border: int) -> Flags:
    """Which points lie inside of the frame, away from its border, where `allowed` is True."""
    height, width = allowed.shape
    x, y = points[:, 0], points[:, 1]
    inside = (x >= border) & (y >= border) & (x < width - border) & (y < height - border)
    columns = np.where(inside, x, 0).astype(np.int64)
    rows = np.where(inside, y, 0).astype(np.int64)
    return np.asarray(inside & allowed[rows, columns])
