"""How the background around a region moves: one homography per frame, from frame 0 on.

A region pasted onto the background has to move with the camera. Warping it by chained dense flow drifts by several
pixels within two seconds; a homography fitted to points of the background around the region does not. Points are
followed from frame to frame for as long as they can be, and the fit is always from the frame they were first seen in
(the key frame), so that errors of single steps do not add up. When too few are left, new ones are picked and the current
frame becomes the key frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.point_flow import Flags, Gray, LucasKanade, PointFlow, Points
from models.protocols import Matrix


class HomographySettings(BaseModel, frozen=True, extra="forbid"):
    """How background motion is measured. Distances are pixels of the working copy."""

    working_side: int = Field(
        default=854, ge=64, description="Long side of the copy points are followed in (px); larger is slower, not better."
    )
    reach: float = Field(
        default=2.2, ge=1, description="Radius around the region's centre, in radii of the region, that points come from."
    )
    max_points: int = Field(default=300, ge=12, description="Points followed; beyond a few hundred nothing improves.")
    point_distance: float = Field(default=6.0, ge=1, description="Least distance between points, so that they spread.")
    point_quality: float = Field(
        default=0.005, gt=0, lt=1, description="Weakest corner used, as a share of the strongest one."
    )
    exclude_margin: int = Field(
        default=7, ge=0, description="Growth of the excluded masks: object edges carry the object's motion."
    )
    border: int = Field(default=4, ge=0, description="Points closer than this to the frame's border are dropped.")
    tolerance: float = Field(default=1.0, gt=0, description="Noise of a point that still agrees with the homography.")
    min_homography_points: int = Field(
        default=12, ge=4, description="With fewer points an affine motion is fitted: perspective would follow the noise."
    )
    min_affine_points: int = Field(default=5, ge=3, description="With fewer points the last motion goes on.")
    renew_share: float = Field(
        default=0.4, ge=0, le=1, description="New points are picked when less than this share of the first is left."
    )
    max_scale_step: float = Field(
        default=1.5, gt=1, description="Largest growth or shrinkage in one frame; anything beyond is a failed fit."
    )
    max_coast: int = Field(
        default=5, ge=0, description="Frames that the last motion goes on without points; then the background rests."
    )


def background_homographies(
    grays: Sequence[Gray],
    region: Mask,
    exclude: Sequence[Mask] | None = None,
    settings: HomographySettings | None = None,
    point_flow: PointFlow | None = None,
) -> list[Matrix]:
    """For every frame the homography that takes frame-0 pixels of the background in and around `region` there.

    `region` is a mask of frame 0; `exclude` holds one foreground mask per frame, which is not background. Frames are
    read once, in order. Where nothing can be followed the last motion goes on for a while, then the background rests;
    an empty region gives the motion of the whole frame. Raises ValueError when sizes or lengths differ.
    """
    return _measure(grays, region, exclude, settings or HomographySettings(), point_flow or LucasKanade())


def global_homographies(
    grays: Sequence[Gray],
    exclude: Sequence[Mask] | None = None,
    settings: HomographySettings | None = None,
    point_flow: PointFlow | None = None,
) -> list[Matrix]:
    """For every frame the homography that takes frame-0 pixels of the whole background there: the camera's motion."""
    return _measure(grays, None, exclude, settings or HomographySettings(), point_flow or LucasKanade())


def map_points(points: Points, homography: Matrix) -> Points:
    """Points (n, 2) taken through a homography."""
    mapped = cv2.perspectiveTransform(np.asarray(points, np.float64).reshape(-1, 1, 2), homography)
    return np.asarray(mapped[:, 0], np.float32)


def warp_mask(mask: Mask, homography: Matrix) -> Mask:
    """The mask moved by a homography, cut where it leaves the frame."""
    height, width = mask.shape
    soft = mask.astype(np.uint8) * np.uint8(255)
    # Warping grey levels and taking the middle keeps straight edges straight; nearest neighbours would jag them.
    moved = cv2.warpPerspective(soft, homography, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(moved > 127)


@dataclass
class _Tracked:
    """Points of a key frame, where they are now, and the homography from frame 0 to the key frame."""

    key: Points
    now: Points
    to_key: Matrix
    picked: int


SIG=1.0
ITS=3
class _MotionMeter:
    """Follows the background from frame to frame, in the coordinates of the working copy."""

    def __init__(self, outline: Points, whole: bool, settings: HomographySettings, point_flow: PointFlow) -> None:
        """`outline` are points of frame 0 around the region; with `whole` points come from everywhere."""
        self._outline = outline
        self._whole = whole
        self._settings = settings
        self._point_flow = point_flow
        self._last_step: Matrix = np.eye(3)
        self._coasted = 0
        self._tracked: _Tracked | None = None
        self.homography: Matrix = np.eye(3)

    def start(self, gray: Gray, background: Mask) -> None:
        self._tracked = _Tracked(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.eye(3), 0)
        self.renew(gray, background)

    def renew(self, gray, background):
        tr = self._tracked
        free = background.astype(np.uint8)
        for x, y in tr.now: cv2.circle(free, (int(x), int(y)), int(self._settings.point_distance), 0, -1)
        new = self._pick(gray, free > 0)[: self._settings.max_points - len(tr.now)]
        if len(new):
            tr.key = np.concatenate([tr.key, map_points(new, np.linalg.inv(self.homography))])
            tr.now = np.concatenate([tr.now, new])
        tr.picked = len(tr.now)

    def advance(self, previous: Gray, gray: Gray, background: Mask) -> None:
        """Measure the motion to the next frame; `background` is True where points of it may lie."""
        tracked = self._tracked
        if tracked is None:
            raise ValueError("the motion of a clip starts at its first frame")
        there, ok = self._point_flow(previous, gray, tracked.now)
        ok = ok & self._inside(there, background)
        cons = self._consistent(tracked.now[ok], there[ok])
        tracked.key, tracked.now = tracked.key[ok][cons], there[ok][cons]
        candidate = self._fit(tracked)
        if candidate is not None and self._plausible(candidate):
            self._last_step = candidate @ np.linalg.inv(self.homography)
            self._coasted = 0
            self.homography = candidate
        elif self._coasted < self._settings.max_coast:
            self._coasted += 1
            self.homography = _normalised(self._last_step @ self.homography)
        if candidate is None or len(tracked.now) < self._settings.renew_share * tracked.picked:
            self.renew(gray, background)

    def _inside(self, points: Points, background: Mask) -> Flags:
        height, width = background.shape
        border = self._settings.border
        x, y = points[:, 0], points[:, 1]
        within = (x >= border) & (y >= border) & (x < width - border) & (y < height - border)
        columns = np.clip(np.nan_to_num(x), 0, width - 1).astype(np.int64)
        rows = np.clip(np.nan_to_num(y), 0, height - 1).astype(np.int64)
        return np.asarray(within & background[rows, columns])

    def _pick(self, gray: Gray, background: Mask) -> Points:
        """Corners of the background around the region where it is now; farther out if there are few."""
        if self._whole:
            return self._corners(gray, background)
        outline = map_points(self._outline, self.homography)
        centre = outline.mean(axis=0)
        radius = float(np.linalg.norm(outline - centre, axis=1).max()) * self._settings.reach
        points: Points = np.zeros((0, 2), np.float32)
        for reach in (radius, 2 * radius, 4 * radius):
            points = self._corners(gray, background & _disc(background.shape, centre, reach))
            if len(points) >= 2 * self._settings.min_homography_points:
                break
        return points

    def _corners(self, gray: Gray, allowed: Mask) -> Points:
        settings = self._settings
        found = cv2.goodFeaturesToTrack(
            gray, settings.max_points, settings.point_quality, settings.point_distance, mask=allowed.astype(np.uint8)
        )
        return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)

    def _consistent(self, before, after):
        """Which points move together from one frame to the next"""
        s = self._settings
        if len(before) >= s.min_homography_points:
            m, ok = cv2.findHomography(before, after, cv2.USAC_MAGSAC, s.tolerance)
        elif len(before) >= s.min_affine_points:
            m, ok = cv2.estimateAffine2D(before, after, ransacReprojThreshold=s.tolerance)
        else: return np.zeros(len(before), bool)
        return np.zeros(len(before), bool) if m is None else ok[:, 0] > 0

    def _fit(self, tracked):
        s = self._settings
        key, now = tracked.key.astype(np.float64), tracked.now.astype(np.float64)
        if len(key) < s.min_affine_points: return None
        o = map_points(self._outline, tracked.to_key); c = o.mean(0); r = np.linalg.norm(o - c, axis=1).max()
        d = np.linalg.norm(key - c, axis=1) / r
        w = np.ones(len(key)) if self._whole else np.exp(-d * d / (2 * SIG * SIG)) + 1e-3
        hom = len(key) >= s.min_homography_points and self._surrounded(tracked.key, tracked.to_key)
        k = (key - c) / r; n = (now - now.mean(0)) / r
        T0 = np.array([[1 / r, 0, -c[0] / r], [0, 1 / r, -c[1] / r], [0, 0, 1]]); T1 = np.array([[1 / r, 0, -now.mean(0)[0] / r], [0, 1 / r, -now.mean(0)[1] / r], [0, 0, 1]])
        z = np.zeros(len(k)); one = np.ones(len(k))
        A1 = np.stack([k[:, 0], k[:, 1], one, z, z, z, -k[:, 0] * n[:, 0], -k[:, 1] * n[:, 0]], 1)
        A2 = np.stack([z, z, z, k[:, 0], k[:, 1], one, -k[:, 0] * n[:, 1], -k[:, 1] * n[:, 1]], 1)
        if not hom: A1, A2 = A1[:, :6], A2[:, :6]
        ww = w.copy(); den = one
        for it in range(ITS):
            q = np.sqrt(ww) / np.abs(den)
            A = np.concatenate([A1 * q[:, None], A2 * q[:, None]]); bb = np.concatenate([n[:, 0] * q, n[:, 1] * q])
            x = np.linalg.lstsq(A, bb, rcond=None)[0]
            if len(x) == 6: x = np.concatenate([x, [0, 0]])
            den = k @ x[6:] + 1
            e = np.hypot(A1 @ x[:A1.shape[1]] - n[:, 0], A2 @ x[:A1.shape[1]] - n[:, 1]) / np.abs(den) * r
            sc = max(s.tolerance, 2.5 * np.sort(e)[len(e) // 2])
            ww = w * np.minimum(1, sc / np.maximum(e, 1e-9))
        H = np.append(x, 1).reshape(3, 3)
        return _normalised(np.linalg.inv(T1) @ H @ T0 @ tracked.to_key)

    def _surrounded(self, points, to_key):
        if self._whole: return True
        centre = map_points(self._outline, to_key).mean(axis=0)
        hull = cv2.convexHull(points)
        return cv2.pointPolygonTest(hull, (float(centre[0]), float(centre[1])), False) >= 0

    def _plausible(self, candidate: Matrix) -> bool:
        """Whether the region neither flips nor changes its size more than a camera can in one frame."""
        before, after = (map_points(self._outline, matrix) for matrix in (self.homography, candidate))
        if not np.isfinite(after).all(): return False
        areas = [float(cv2.contourArea(points, oriented=True)) for points in (before, after)]
        if areas[0] == 0: return True
        ratio = areas[1] / areas[0]
        limit = self._settings.max_scale_step ** 2
        return 1 / limit < ratio < limit


def _normalised(matrix: Matrix) -> Matrix:
    return matrix / matrix[2, 2]


def _disc(size, centre, radius):
    disc = np.zeros(size, np.uint8)
    c = np.clip(np.nan_to_num(centre), -1e4, 1e4)
    cv2.circle(disc, (int(c[0]), int(c[1])), int(min(radius, 1e5)), 1, -1)
    return disc > 0


def _measure(grays, region, exclude, settings, point_flow):
    if not len(grays): return []
    first = grays[0]
    height, width = first.shape
    f = min(1., settings.working_side / max(height, width))
    size = (max(1, round(width * f)), max(1, round(height * f)))
    sc = np.diag([size[0] / width, size[1] / height, 1.0])
    shrink = lambda g: g if size == (width, height) else cv2.resize(g, size, interpolation=cv2.INTER_AREA)
    def bg(i):
        if exclude is None: return np.ones((size[1], size[0]), bool)
        m = cv2.resize(exclude[i].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        k = 2 * settings.exclude_margin + 1
        return cv2.dilate(m, np.ones((k, k), np.uint8)) == 0
    whole = region is None or not region.any()
    if whole: outline = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    else:
        pts = np.stack(np.nonzero(region)[::-1], 1).astype(np.float32)
        outline = cv2.convexHull(pts)[:, 0]
        if cv2.contourArea(outline) < 4: 
            (x0, y0), (x1, y1) = pts.min(0)-1, pts.max(0)+1
            outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    meter = _MotionMeter(map_points(outline, sc), whole, settings, point_flow)
    prev = shrink(first)
    meter.start(prev, bg(0))
    out = [np.eye(3)]; inv = np.linalg.inv(sc)
    for i in range(1, len(grays)):
        cur = shrink(grays[i])
        meter.advance(prev, cur, bg(i))
        out.append(_normalised(inv @ meter.homography @ sc)); prev = cur
    return out
