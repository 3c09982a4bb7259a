"""A dense flow that counts its fields, behind the same seam as a network's."""

from __future__ import annotations

import cv2
import numpy as np

from models.dense_points import DensePoints, DensePointsSettings
from models.point_flow import Flags, Points, to_gray
from models.protocols import Image, ModelInfo


class FakeFlow:
    """OpenCV's dense flow, seen in colour."""

    Settings = DensePointsSettings
    info = ModelInfo("fake_flow", "4")
    colour = True

    def __init__(self, settings: DensePointsSettings) -> None:
        self.fields = 0
        self._dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._points = DensePoints(self._field, settings)

    def __call__(self, first: Image, second: Image, points: Points) -> tuple[Points, Flags]:
        return self._points(first, second, points)

    def _field(self, first: Image, second: Image) -> np.ndarray:
        self.fields += 1
        assert first.ndim == second.ndim == 3
        return self._dense.calc(to_gray(first), to_gray(second), None)
