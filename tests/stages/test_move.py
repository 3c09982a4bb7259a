"""The two propagations of a pasted mask."""

from __future__ import annotations

import numpy as np
import pytest

from manifests.masks import Mask, MaskTrack, iou
from stages.morphology import tight_box
from stages.move import donor_frames, move_with_background, move_with_donor, visible_fraction
from stages.paste import Placement, apply_placement


def block(x: int, y: int, width: int = 20, height: int = 14, frame: tuple[int, int] = (90, 120)) -> Mask:
    mask = np.zeros(frame, np.bool_)
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    return mask


def walking(num_frames: int) -> MaskTrack:
    return MaskTrack.from_masks(block(10 + 3 * t, 20 + t, 20 + t, 14) for t in range(num_frames))


def test_frames_are_the_nearest_in_time() -> None:
    assert donor_frames(10, 30, 30, 6) == [0, 1, 2, 3, 4, 5]
    assert donor_frames(10, 30, 15, 4) == [0, 2, 4, 6]
    assert donor_frames(10, 15, 30, 6) == [0, 1, 1, 2, 2, 3]
    assert donor_frames(200, 24, 30000 / 1001, 100) == [round(t * 24 * 1001 / 30000) for t in range(100)]
    for rate in (29.97, 23.976, 1 / 3):
        assert donor_frames(500, rate, rate, 500) == list(range(500))


def test_a_short_donor_is_played_back_and_forth() -> None:
    assert donor_frames(4, 30, 30, 12) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]
    assert donor_frames(4, 60, 30, 6) == [0, 2, 2, 0, 2, 2]
    assert donor_frames(1, 30, 30, 4) == [0, 0, 0, 0]
    frames = np.array(donor_frames(7, 12.5, 30, 300))
    assert np.abs(np.diff(frames)).max() == 1


def test_unusable_lengths_and_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="donor of 0 frames"):
        donor_frames(0, 30, 30, 4)
    with pytest.raises(ValueError, match="target's frame rate must be a positive number, not 0"):
        donor_frames(4, 30, 0, 4)


def test_trajectory_copies_equal_the_donor_masks_under_the_placement() -> None:
    donor, placement = walking(9), Placement(dx=15, dy=-12, scale=1.4, inside=1)
    moved = move_with_donor(donor, 30, placement, (160, 150), 25, 20)
    assert moved.size == (160, 150)
    assert len(moved) == 20
    for t, source in enumerate(donor_frames(9, 30, 25, 20)):
        np.testing.assert_array_equal(moved.mask(t), apply_placement(donor.mask(source), placement, (160, 150)))


def test_trajectory_keeps_proportions_on_a_frame_of_another_shape() -> None:
    # Half a pixel more puts the outlines of a mask of twice the size between pixel centres.
    moved = move_with_donor(walking(8), 30, Placement(0.5, 0.5, 2, 1), (400, 130), 30, 8)
    assert tight_box(moved.mask(0)) == (20, 40, 20 + 2 * 20, 40 + 2 * 14)
    assert tight_box(moved.mask(7)) == (62, 54, 62 + 2 * 27, 54 + 2 * 14)


def test_trajectory_out_of_the_frame_ends_empty() -> None:
    moved = move_with_donor(walking(30), 30, Placement(40, 0, 1, 1), (90, 100), 30, 30)
    seen = visible_fraction(moved)
    assert seen[0] == 1
    assert seen[-1] == 0
    np.testing.assert_array_equal(moved.mask(0), block(50, 20, frame=(90, 100)))


def test_background_motion_by_whole_pixels_is_exact_and_cut_at_the_border() -> None:
    first = block(70, 30) & (np.random.default_rng(0).random((90, 120)) < 0.7)
    shifts = [(0, 0), (5, -3), (40, 0), (-80, 10), (200, 0), (0, 0)]
    moved = move_with_background(first, [np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]]) for x, y in shifts])
    padded = np.pad(first, 200)
    for t, (x, y) in enumerate(shifts):
        np.testing.assert_array_equal(moved.mask(t), padded[200 - y : 290 - y, 200 - x : 320 - x])
    seen = visible_fraction(moved)
    assert seen[1] == seen[5] == 1
    assert 0.3 < seen[2] < 0.7
    assert seen[4] == 0


def test_background_motion_matches_the_shape_drawn_in_place() -> None:
    """A disc under rotation, zoom and perspective against the same disc drawn through the inverse matrix."""
    rows, columns = np.mgrid[:300, :400].astype(np.float64)
    first = (columns - 150) ** 2 + (rows - 140) ** 2 <= 60**2
    homographies = []
    for t in range(5):
        angle, zoom = 0.05 * t, 1 + 0.08 * t * (-1) ** t
        rotation = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        homographies.append(
            np.block([[rotation, np.array([[4.3 * t], [2.6 * t]])], [np.array([[2e-4, -1e-4]]) * t, 1]])
        )
    moved = move_with_background(first, homographies)
    for t, homography in enumerate(homographies):
        x, y, w = np.einsum("ij,jhw->ihw", np.linalg.inv(homography), np.stack([columns, rows, np.ones_like(rows)]))
        expected = (x / w - 150) ** 2 + (y / w - 140) ** 2 <= 60**2
        assert iou(moved.mask(t), expected) > 0.985


def test_a_matrix_that_is_no_motion_names_its_frame() -> None:
    first, identity = block(70, 30), np.eye(3)
    horizon = np.array([[1, 0, 0], [0, 1, 0], [-0.0125, 0, 1]])
    flat = np.diag([0.0, 1.0, 1.0])
    for matrix, message in (
        (horizon, "frame 1: .*to infinity"),
        (np.full((3, 3), np.nan), "frame 1: a homography must be a finite 3×3 matrix"),
        (flat, "frame 1: .*flattens"),
    ):
        with pytest.raises(ValueError, match=message):
            move_with_background(first, [identity, matrix])


def test_a_still_image_has_one_frame() -> None:
    donor, placement = walking(9), Placement(4, 2, 1, 1)
    still = move_with_donor(donor, 30, placement, (90, 120), 1, 1)
    assert len(still) == 1
    first = still.mask(0)
    np.testing.assert_array_equal(first, block(14, 22))
    assert move_with_background(first, [np.eye(3)]) == still


def test_an_empty_first_mask_has_no_visible_fraction() -> None:
    with pytest.raises(ValueError, match="first mask is empty"):
        visible_fraction(MaskTrack.empty((8, 8), 3))
