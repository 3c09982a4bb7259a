import numpy as np
import pytest

from models.weighted_homography import fit_homography, map_points

TRUTH = np.array([[1.05, 0.03, 12.0], [-0.02, 0.97, -7.0], [2e-5, -4e-5, 1.0]])


def _points(count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).uniform((100, 50), (700, 400), (count, 2)).astype(np.float32)


def test_exact_points_give_the_homography_back() -> None:
    source = _points()
    found = fit_homography(source, map_points(source, TRUTH), np.ones(60), perspective=True, tolerance=1.0)
    np.testing.assert_allclose(map_points(source, found), map_points(source, TRUTH), atol=1e-2)
    np.testing.assert_allclose(found[2], TRUTH[2], atol=1e-6)


def test_without_perspective_the_fit_is_affine() -> None:
    source = _points()
    found = fit_homography(source, map_points(source, TRUTH), np.ones(60), perspective=False, tolerance=1.0)
    np.testing.assert_allclose(found[2], [0, 0, 1], atol=1e-12)


def test_outliers_lose_their_say() -> None:
    source = _points()
    target = map_points(source, TRUTH)
    target[:9] += (40, -30)
    found = fit_homography(source, target, np.ones(60), perspective=True, tolerance=1.0)
    np.testing.assert_allclose(map_points(source, found)[9:], target[9:], atol=0.3)


def test_heavy_points_decide_between_two_motions() -> None:
    source = _points()
    near = source[:, 0] < 400
    target = source + np.where(near[:, None], (10, 0), (4, 0)).astype(np.float32)
    weights = np.where(near, 1.0, 1e-3)
    found = fit_homography(source, target, weights, perspective=False, tolerance=1.0)
    np.testing.assert_allclose(map_points(source, found)[near], target[near], atol=0.2)


def test_mapping_no_points_gives_none() -> None:
    assert map_points(np.zeros((0, 2), np.float32), TRUTH).shape == (0, 2)


@pytest.mark.parametrize("point", [(0.0, 0.0), (320.0, 100.0)])
def test_mapping_divides_by_the_third_coordinate(point: tuple[float, float]) -> None:
    x, y, z = TRUTH @ (*point, 1.0)
    np.testing.assert_allclose(map_points(np.array([point], np.float32), TRUTH)[0], (x / z, y / z), rtol=1e-5)
