"""Boxes of masks and of each other."""

from __future__ import annotations

import numpy as np
import pytest

from models.boxes import area, extent, iou, shared_area


def test_the_extent_of_a_mask_is_tight() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[4, 7] = mask[9, 25] = True
    assert extent(mask) == (7, 4, 26, 10)
    assert extent(np.ones((2, 3), np.bool_)) == (0, 0, 3, 2)
    with pytest.raises(ValueError, match="an empty mask has no box"):
        extent(np.zeros((4, 4), np.bool_))


def test_iou() -> None:
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 10, 20, 20)) == 0
    assert iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0


def test_areas() -> None:
    assert area((1, 2, 4, 4)) == 6
    assert area((4, 4, 1, 2)) == 0
    assert shared_area((0, 0, 10, 10), (5, 0, 15, 10)) == 50
    assert shared_area((0, 0, 4, 4), (6, 6, 9, 9)) == 0
