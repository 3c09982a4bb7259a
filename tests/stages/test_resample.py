"""Resampling of masks: exact where it can be, and straight edges stay where they belong."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from small_work import block

from manifests.masks import iou
from stages.morphology import tight_box
from stages.resample import moved_box, scale_shift, warp

SIZE = (64, 96)
RAGGED = block(30, 20, 24, 18) & (np.random.default_rng(0).random(SIZE) < 0.8)


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (7, -5), (-40, 30), (60, 0), (500, 0)])
def test_whole_pixels_are_exact_and_cut_at_the_border(x: int, y: int) -> None:
    padded = np.pad(RAGGED, 600)
    expected = padded[600 - y : 664 - y, 600 - x : 696 - x]
    np.testing.assert_array_equal(scale_shift(RAGGED, 1, (x, y), SIZE), expected)
    np.testing.assert_array_equal(warp(RAGGED, shift(x, y)), expected)


@pytest.mark.parametrize("scale", [0.4, 0.75, 1.5, 3.0])
def test_a_rectangle_keeps_its_edges_under_scaling(scale: float) -> None:
    # Pixel edges lie at half coordinates: p → scale · p + shift takes edge e - 0.5 to scale · (e - 0.5) + shift.
    box = (30, 20, 54, 38)
    moved = scale_shift(block(30, 20, 24, 18), scale, (2.0, 3.0), (200, 300))
    found = tight_box(moved)
    assert found is not None
    for edge, (index, offset) in zip(found, ((0, 2.0), (1, 3.0), (2, 2.0), (3, 3.0)), strict=True):
        assert abs(edge - 0.5 - (scale * (box[index] - 0.5) + offset)) <= 0.51
    assert np.count_nonzero(moved) == pytest.approx(24 * 18 * scale**2, rel=0.12)
    np.testing.assert_array_equal(
        warp(block(30, 20, 24, 18, (200, 300)), np.diag([scale, scale, 1.0]) + shift(2, 3) - np.eye(3)), moved
    )


def test_without_a_target_the_canvas_begins_at_the_moved_box() -> None:
    placed = scale_shift(RAGGED, 1.3, (10, 4), (120, 200))
    canvas = scale_shift(RAGGED, 1.3, (10, 4), None)
    tight = tight_box(RAGGED)
    assert tight is not None
    x0, y0, x1, y1 = moved_box(tight, 1.3, (10, 4))
    assert canvas.shape == (y1 - y0, x1 - x0)
    np.testing.assert_array_equal(canvas, placed[y0:y1, x0:x1])
    assert np.count_nonzero(placed) == np.count_nonzero(canvas)


def test_what_is_cut_off_does_not_change_what_is_left() -> None:
    whole = scale_shift(RAGGED, 1.7, (0.3, 0.6), (160, 240))
    cut = scale_shift(RAGGED, 1.7, (0.3, 0.6), (50, 70))
    np.testing.assert_array_equal(cut, whole[:50, :70])
    assert 0 < np.count_nonzero(cut) < np.count_nonzero(whole)


def test_a_shrunk_disc_stays_a_disc() -> None:
    rows, columns = np.mgrid[:200, :300]
    disc = (columns - 150) ** 2 + (rows - 100) ** 2 <= 80**2
    rows, columns = rows[:50, :75], columns[:50, :75]
    small = (columns - 37.5) ** 2 + (rows - 25) ** 2 <= 20**2
    assert iou(scale_shift(disc, 0.25, (0, 0), (50, 75)), small) > 0.97
    turned = math.pi / 7
    rotation = np.array([[math.cos(turned), -math.sin(turned), 0], [math.sin(turned), math.cos(turned), 0], [0, 0, 1]])
    around = shift(150, 100) @ rotation @ shift(-150, -100)
    assert iou(warp(disc, around), disc) > 0.99


def test_empty_masks_stay_empty() -> None:
    nothing = np.zeros(SIZE, np.bool_)
    assert not scale_shift(nothing, 2, (0, 0), SIZE).any()
    assert scale_shift(nothing, 2, (0, 0), None).shape == (0, 0)
    assert not warp(nothing, shift(1, 1)).any()


def test_impossible_scales_and_matrices_are_refused() -> None:
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"positive number, not {scale}"):
            scale_shift(RAGGED, scale, (0, 0), SIZE)
    for matrix, words in (
        (np.eye(2), "finite 3×3"),
        (np.full((3, 3), np.nan), "finite 3×3"),
        (np.array([[1, 0, 0], [0, 1, 0], [-0.03, 0, 1.0]]), "to infinity"),
        (np.diag([1.0, 0.0, 1.0]), "flattens"),
    ):
        with pytest.raises(ValueError, match=words):
            warp(RAGGED, matrix)


def test_a_warped_mask_moves_and_is_cut_at_the_frame() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[10:20, 40:58] = True
    assert np.array_equal(warp(mask, np.eye(3)), mask)
    moved = warp(mask, np.array([[1.0, 0, 6], [0, 1, 3], [0, 0, 1]]))
    expected = np.zeros_like(mask)
    expected[13:23, 46:60] = True
    assert np.array_equal(moved, expected)
    assert not warp(mask, np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])).any()


def test_a_slanted_edge_stays_straight() -> None:
    mask = np.zeros((200, 200), np.bool_)
    mask[50:150, 50:150] = True
    turn = cv2.getRotationMatrix2D((99.5, 99.5), 7, 1.0)
    turned = warp(mask, np.vstack([turn, [0, 0, 1]]))
    heights = turned[:, 70:130].argmax(axis=0).astype(np.float64)
    columns = np.arange(70, 130)
    line = np.polynomial.Polynomial.fit(columns, heights, 1)
    assert np.abs(heights - line(columns)).max() < 0.8
