import numpy as np
import pytest

from models.guided_filter import GuidedFilter, enlarge_fit


def _two_colours(height: int, width: int, edge: int) -> np.ndarray:
    """Red up to column `edge`, blue after it, as (3, H, W) in [0, 1]."""
    guide = np.zeros((3, height, width), np.float32)
    guide[0, :, :edge] = 0.8
    guide[2, :, edge:] = 0.8
    return guide


def _filtered(guide: np.ndarray, soft: np.ndarray, epsilon: float = 1e-4) -> np.ndarray:
    snapper = GuidedFilter(guide, radius=4, epsilon=epsilon)
    return snapper.apply(snapper.fit(soft))


def test_a_displaced_edge_moves_towards_the_edge_of_the_picture() -> None:
    guide = _two_colours(40, 60, 30)
    soft = np.zeros((40, 60), np.float32)
    soft[:, :31] = 1
    smoothed = _filtered(guide, soft)
    assert smoothed[20, 29] > 0.95
    assert smoothed[20, 30] < 0.4


def test_a_flat_guide_only_averages() -> None:
    guide = np.full((3, 30, 30), 0.4, np.float32)
    soft = np.zeros((30, 30), np.float32)
    soft[:, :15] = 1
    smoothed = _filtered(guide, soft, epsilon=1e-2)
    assert np.all(np.diff(smoothed[15]) <= 1e-4)
    assert 0.4 < smoothed[15, 14:16].mean() < 0.6


def test_the_fit_equals_a_linear_regression_in_one_window() -> None:
    random = np.random.default_rng(3)
    guide = random.random((3, 9, 9), np.float32)
    truth = 0.2 + 0.3 * guide[0] - 0.1 * guide[1] + 0.4 * guide[2]
    smoothed = _filtered(guide, truth.astype(np.float32), epsilon=1e-7)
    np.testing.assert_allclose(smoothed, truth, atol=1e-3)


def test_a_window_is_fitted_like_the_crop_it_shows() -> None:
    random = np.random.default_rng(4)
    guide = random.random((3, 40, 40), np.float32)
    soft = random.random((20, 24), np.float32)
    window = (slice(10, 30), slice(8, 32))
    snapper = GuidedFilter(guide, 2, 1e-3)
    inside = snapper.apply(snapper.fit(soft, window), window)[6:-6, 6:-6]
    crop = GuidedFilter(guide[:, 10:30, 8:32], 2, 1e-3)
    np.testing.assert_allclose(inside, crop.apply(crop.fit(soft))[6:-6, 6:-6], atol=1e-4)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, height, width\)"):
        GuidedFilter(np.zeros((10, 10, 3), np.float32), 2, 1e-3)
    with pytest.raises(ValueError, match="does not fit"):
        GuidedFilter(np.zeros((3, 10, 10), np.float32), 2, 1e-3).fit(np.zeros((9, 10), np.float32))


def test_enlarging_finds_the_edge_at_full_resolution() -> None:
    # Edge at column 31 of 80: between two pixels of the copy that is three times smaller.
    image = np.zeros((60, 81, 3), np.uint8)
    image[:, :31, 0] = 200
    image[:, 31:, 2] = 200
    small = image.reshape(20, 3, 27, 3, 3).mean(axis=(1, 3)).transpose(2, 0, 1).astype(np.float32) / 255
    soft = np.zeros((20, 27), np.float32)
    soft[:, :10] = 1
    soft[:, 10] = 1 / 3
    fit = GuidedFilter(small, 3, 1e-4).fit(soft)
    large = enlarge_fit(fit, soft, image, origin=(0.0, 0.0), scale=(3.0, 3.0))
    assert large.shape == (60, 81)
    assert np.array_equal(large[30] > 0.5, np.arange(81) < 31)


def test_enlarging_a_crop_equals_cropping_the_enlarged() -> None:
    random = np.random.default_rng(5)
    image = random.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    soft = random.random((20, 30), np.float32)
    fit = random.random((4, 20, 30), np.float32)
    whole = enlarge_fit(fit, soft, image, (0.0, 0.0), (3.0, 3.0))
    part = enlarge_fit(fit[:, 5:15, 10:20], soft[5:15, 10:20], image[16:40, 31:55], (1.0, 1.0), (3.0, 3.0))
    np.testing.assert_allclose(part[2:-2, 2:-2], whole[18:38, 33:53], atol=2e-2)
