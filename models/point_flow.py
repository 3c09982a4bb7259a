"""Where single points of one frame go in the next: the replaceable step under every motion estimate.

`LucasKanade` needs no weights. A dense-flow network does the same job (`models.protocols.Flow`) by reading its
displacement at the points.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.protocols import ModelInfo

Gray = npt.NDArray[np.uint8]
"""A grey frame (height, width) uint8."""
Frame = npt.NDArray[np.uint8]
"""A grey frame (height, width) or an RGB one (height, width, 3), as the flow in use wants them."""
Points = npt.NDArray[np.float32]
"""Positions (n, 2) as x, y in pixels."""
Flags = npt.NDArray[np.bool_]
"""One truth value per point (n,)."""


class LucasKanadeSettings(BaseModel, frozen=True, extra="forbid"):
    """Pyramidal Lucas–Kanade with a check of the way back."""

    window: int = Field(
        default=17, ge=3, description="Side of the patch compared (px): small ones slip, large ones mix motions."
    )
    levels: int = Field(
        default=3, ge=0, le=8, description="Halvings of the frame; each doubles the largest motion found."
    )
    max_return_error: float = Field(
        default=0.5,
        gt=0,
        description="Largest distance (px) between a point and its way there and back: drops covered points.",
    )


class LucasKanade:
    """The weight-free flow; it sees grey frames."""

    Settings = LucasKanadeSettings
    info = ModelInfo("lucas_kanade", "1")
    colour = False

    def __init__(self, settings: LucasKanadeSettings | None = None) -> None:
        self._settings = settings or LucasKanadeSettings()

    def __call__(self, first: Gray, second: Gray, points: Points) -> tuple[Points, Flags]:
        """See `Flow`. A point whose way back ends elsewhere is not trusted."""
        start = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
        if not len(start):
            return start.reshape(0, 2), np.zeros(0, np.bool_)
        there, found = self._follow(first, second, start)
        back, found_back = self._follow(second, first, there)
        error = np.linalg.norm((back - start)[:, 0], axis=1)
        return there[:, 0], found & found_back & (error < self._settings.max_return_error)

    def _follow(self, first: Gray, second: Gray, points: Points) -> tuple[Points, Flags]:
        side = self._settings.window
        there, found, _ = cv2.calcOpticalFlowPyrLK(
            first, second, points, np.empty_like(points), winSize=(side, side), maxLevel=self._settings.levels
        )
        return np.asarray(there, np.float32), np.asarray(found[:, 0] > 0)


def to_gray(frame: Frame) -> Gray:
    """A frame in grey."""
    return frame if frame.ndim == 2 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
