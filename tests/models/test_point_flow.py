import cv2
import numpy as np

from models.point_flow import LucasKanade


def _texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def test_points_follow_a_shift() -> None:
    first = _texture(120, 160)
    second = np.roll(first, (3, 5), axis=(0, 1))
    points = np.array([[40, 40], [80, 60], [100, 90]], np.float32)
    there, trusted = LucasKanade()(first, second, points)
    assert trusted.all()
    np.testing.assert_allclose(there - points, [[5, 3]] * 3, atol=0.1)


def test_a_covered_point_is_not_trusted() -> None:
    first = _texture(120, 160)
    second = first.copy()
    second[30:60, 30:60] = 255 - _texture(30, 30)[::-1]
    points = np.array([[45, 45], [120, 90]], np.float32)
    _, trusted = LucasKanade()(first, second, points)
    assert trusted.tolist() == [False, True]


def test_no_points_stay_none() -> None:
    first = _texture(32, 32)
    there, trusted = LucasKanade()(first, first, np.zeros((0, 2), np.float32))
    assert there.shape == (0, 2)
    assert trusted.shape == (0,)
