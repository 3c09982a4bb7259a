"""How the background moves at a place of a clip, where that is beyond doubt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from manifests.masks import Mask
from models.local_homography import HomographySettings, background_homographies, global_homographies
from models.motion_check import MotionCheckSettings, agree, confirmed, where_it_holds
from models.point_flow import Frame
from models.protocols import Flow, Matrix


class BackgroundMotion:
    """The background of one clip, asked at several places; what concerns the whole frame is measured once.

    Args:
        frames: grey or RGB, as the flow wants them.
        exclude: one mask per frame of what is not background; None: nothing.
        flow: what follows points.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        exclude: Sequence[Mask] | None,
        flow: Flow,
        settings: HomographySettings,
        check: MotionCheckSettings,
    ) -> None:
        self._frames, self._exclude, self._flow = frames, exclude, flow
        self._settings, self._check = settings, check

    def at(self, region: Mask) -> list[Matrix] | None:
        """For every frame the homography of the background at `region`, (H, W) bool of frame 0; None when in doubt.

        It is confirmed by the region's own texture; of a bare region by the texture around it, where the whole frame
        moves as one.
        """
        local = background_homographies(self._frames, region, self._exclude, self._settings, self._flow)
        if confirmed(self._frames, region, local, self._exclude, self._check, self._flow):
            return local
        motion, holds = self._camera
        if holds is None or np.count_nonzero(region & holds) < self._check.min_covered * np.count_nonzero(region):
            return None
        alike = all(agree(region, here, whole, self._check) for here, whole in zip(local, motion, strict=True))
        return local if alike else None

    @cached_property
    def _camera(self) -> tuple[list[Matrix], Mask | None]:
        """The motion of the whole frame, and where it holds for bare places."""
        motion = global_homographies(self._frames, self._exclude, self._settings, self._flow)
        return motion, where_it_holds(self._frames, motion, self._exclude, self._check, self._flow)
