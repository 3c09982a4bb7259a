"""Carries soft masks from one frame to the next, by dense flow and by each object's own affine motion.

Dense flow follows limbs, affine motion keeps the object together; where one fails the other often holds, so both are
blended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.point_flow import Gray, LucasKanade, LucasKanadeSettings, Points

Soft = npt.NDArray[np.float32]
"""A soft mask (height, width) float32 in [0, 1]."""
Affine = npt.NDArray[np.float64]
"""A 2×3 affine matrix acting on (x, y, 1)."""

_NOT_GIVEN: Any = None
"""An optional array that is left out; OpenCV's type stubs do not know that it may be."""


class MaskMotionSettings(BaseModel, frozen=True, extra="forbid"):
    """How masks are carried on. Distances are pixels of the masks."""

    flow_share: float = Field(
        default=0.6, ge=0, le=1, description="Share of dense flow in the result; the rest is affine."
    )
    corners: int = Field(
        default=200, ge=8, description="Corners followed per object; far fewer let one limb pull it away."
    )
    corner_quality: float = Field(
        default=0.01, gt=0, lt=1, description="Weakest corner as a share of the object's strongest."
    )
    corner_distance: float = Field(
        default=3.0, ge=1, description="Least distance between corners, so that they spread out."
    )
    min_corners: int = Field(
        default=6, ge=3, description="With fewer consistent corners than this dense flow stands alone."
    )
    tolerance: float = Field(
        default=1.5, gt=0, description="Largest distance of a corner that agrees with the affine motion."
    )
    tracking: LucasKanadeSettings = LucasKanadeSettings(window=15, max_return_error=1.0)


class MaskMotion:
    """Carries any number of masks; the dense flow and the corner tracking are shared between them."""

    def __init__(self, settings: MaskMotionSettings | None = None) -> None:
        self._settings = settings or MaskMotionSettings()
        self._dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._points = LucasKanade(self._settings.tracking)

    def carry(
        self, softs: Sequence[Soft], first: Gray, second: Gray, flow_first: Gray, flow_second: Gray
    ) -> list[Soft]:
        """`softs` of the first frame as they should lie in the second.

        `first` and `second` are grey frames of the masks' size; `flow_first` and `flow_second` the same frames at the
        size at which dense flow runs.
        """
        sources = self._sources(flow_first, flow_second, first.shape)
        affines = self._affines(softs, first, second)
        return [self._carry_one(soft, sources, affine) for soft, affine in zip(softs, affines, strict=True)]

    def _carry_one(self, soft: Soft, sources: npt.NDArray[np.float32], affine: Affine | None) -> Soft:
        remapped = cv2.remap(soft, sources, _NOT_GIVEN, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        flowed = np.asarray(remapped, np.float32)
        if affine is None:
            return flowed
        height, width = soft.shape
        share = np.float32(self._settings.flow_share)
        return share * flowed + (1 - share) * cv2.warpAffine(soft, affine, (width, height))

    def _sources(self, flow_first: Gray, flow_second: Gray, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """For every mask pixel of the second frame the position (x, y) in the first that it comes from."""
        height, width = size
        flow = self._dense.calc(flow_second, flow_first, _NOT_GIVEN)
        scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
        sources: npt.NDArray[np.float32] = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * scale
        sources[..., 0] += np.arange(width, dtype=np.float32)
        sources[..., 1] += np.arange(height, dtype=np.float32)[:, None]
        return sources

    def _affines(self, softs: Sequence[Soft], first: Gray, second: Gray) -> list[Affine | None]:
        """Each object's motion, None where too few corners agree on one."""
        corners = [self._corners(soft, first) for soft in softs]
        there, trusted = self._points(first, second, np.concatenate(corners))
        ends = np.cumsum([len(points) for points in corners])[:-1]
        return [
            self._affine(start[ok], end[ok])
            for start, end, ok in zip(corners, np.split(there, ends), np.split(trusted, ends), strict=True)
        ]

    def _corners(self, soft: Soft, gray: Gray) -> Points:
        settings = self._settings
        solid = (soft > 0.5).astype(np.uint8)
        found = cv2.goodFeaturesToTrack(
            gray, settings.corners, settings.corner_quality, settings.corner_distance, mask=solid
        )
        return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)

    def _affine(self, start: Points, end: Points) -> Affine | None:
        if len(start) < self._settings.min_corners:
            return None
        matrix, agreeing = cv2.estimateAffine2D(start, end, ransacReprojThreshold=self._settings.tolerance)
        if matrix is None or np.count_nonzero(agreeing) < self._settings.min_corners:
            return None
        return np.asarray(matrix, np.float64)
