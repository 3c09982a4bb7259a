"""Unmasked pixels are the original to the bit; the seam is blended inside the mask."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")
from train.restoration import restore_unmasked

SQUARE = np.zeros((1, 40, 40), np.bool_)
SQUARE[0, 10:30, 10:30] = True


def flat(value, frames=1):
    return np.full((frames, 40, 40, 3), value, np.uint8)


@pytest.mark.parametrize("feather", [0, 1, 4, 30])
def test_outside_is_the_original_and_inside_is_not(feather):
    random = np.random.default_rng(0)
    original, edited = (random.integers(0, 256, (3, 40, 40, 3), np.uint8) for _ in range(2))
    mask = random.random((3, 40, 40)) < 0.5
    mask[2] = False
    restored = restore_unmasked(original, edited, mask, feather)
    assert np.array_equal(restored[~mask], original[~mask])
    assert not np.array_equal(restored[mask], original[mask])


def test_hard_seam_without_a_feather():
    restored = restore_unmasked(flat(0), flat(200), SQUARE)
    assert np.array_equal(restored[0, ..., 0], np.where(SQUARE[0], 200, 0))


def test_feather_rises_from_the_edge_inwards():
    restored = restore_unmasked(flat(0), flat(250), SQUARE, 4)
    # Depth 1, 2, … pixels inside the edge count 1/5, 2/5, …
    assert restored[0, 20, 8:16, 0].tolist() == [0, 0, 50, 100, 150, 200, 250, 250]


def test_border_of_the_frame_is_no_seam():
    mask = np.zeros((1, 40, 40), np.bool_)
    mask[0, :, :20] = True
    restored = restore_unmasked(flat(0), flat(250), mask, 4)
    assert restored[0, 0, :, 0].tolist() == [250] * 16 + [200, 150, 100, 50] + [0] * 20
    assert np.array_equal(restore_unmasked(flat(0), flat(250), np.ones_like(mask), 4), flat(250))


def test_an_edit_that_changes_nothing_changes_nothing():
    original = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3), np.uint8)
    assert np.array_equal(restore_unmasked(original, original.copy(), SQUARE, 4), original)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        restore_unmasked(flat(0, 2), flat(0), SQUARE)
    with pytest.raises(ValueError, match="does not fit"):
        restore_unmasked(flat(0), flat(0), SQUARE[:, :20])
    with pytest.raises(ValueError, match="-1 pixels"):
        restore_unmasked(flat(0), flat(0), SQUARE, -1)
