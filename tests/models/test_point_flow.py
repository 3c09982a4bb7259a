import cv2
import numpy as np

from models.point_flow import LucasKanade, to_gray
from models.registry import ModelChoice, make_model


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


def test_the_registry_makes_it() -> None:
    flow = make_model(ModelChoice(name="lucas_kanade", settings={"max_return_error": 1e-9}))
    assert (flow.info.name, flow.colour) == ("lucas_kanade", False)
    first = _texture(120, 160)
    moved = cv2.warpAffine(first, np.float32([[1, 0, 2.3], [0, 1, 1.1]]), (160, 120))
    _, trusted = flow(first, moved, np.array([[40, 40], [80, 60]], np.float32))
    assert not trusted.any()


def test_grey_frames_stay_as_they_are() -> None:
    gray = _texture(8, 9)
    assert to_gray(gray) is gray
    assert to_gray(np.full((4, 5, 3), (255, 0, 0), np.uint8)).tolist() == [[76] * 5] * 4
