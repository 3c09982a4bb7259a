"""Points read from dense fields: between pixels, checked by the way back, and each field made once per clip."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from tiny_dataset import texture

from models.dense_points import DensePoints, DensePointsSettings, returning

HEIGHT, WIDTH = 40, 61


def constant(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.float32([x, y]), (HEIGHT, WIDTH, 2)).copy()


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8))


class Fields:
    """A dense flow of given fields there and back, that counts."""

    def __init__(self, there: np.ndarray, back: np.ndarray) -> None:
        self.fields = [there, back]
        self.calls = 0

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.fields[(self.calls - 1) % 2]


def follow(there: np.ndarray, back: np.ndarray, points: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = frames(2)
    return DensePoints(Fields(there, back), DensePointsSettings(max_shift=0))(first, second, np.float32(points))


def test_a_displacement_is_read_between_pixels() -> None:
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    there = np.stack([0.125 * columns, 0.25 * rows - 1], axis=2).astype(np.float32)
    points = np.float32([[8, 8], [10.5, 12], [20.25, 4.75], [0, 0], [WIDTH - 1, HEIGHT - 1], [30.5, HEIGHT - 1]])
    landed, _ = follow(there, -there, points.tolist())
    expected = points + points * [0.125, 0.25] - [0, 1]
    np.testing.assert_allclose(landed, expected, atol=2e-3)
    assert landed.dtype == np.float32


def test_points_that_come_back_are_trusted_and_others_are_not() -> None:
    back = constant(-3, -2)
    back[:, 30:] = (-3, 0)
    landed, trusted = follow(constant(3, 2), back, [[10, 10], [35, 10], [26.5, 10], [27.5, 10]])
    np.testing.assert_allclose(landed[0], [13, 12])
    assert trusted.tolist() == [True, False, False, False]


def test_the_tolerance_is_in_pixels() -> None:
    there, back = constant(3, 0), constant(-2.4, 0.8)
    assert not returning(there, back, 0.99).any()
    assert returning(there, back, 1.01)[:, : WIDTH - 3].all()


def test_points_that_leave_the_frame_or_lie_outside_are_not_trusted() -> None:
    landed, trusted = follow(constant(5, 0), constant(-5, 0), [[WIDTH - 4, 9], [-1, 9], [9, HEIGHT], [9, 9]])
    assert trusted.tolist() == [False, False, False, True]
    np.testing.assert_allclose(landed[0], [WIDTH + 1, 9])


def test_points_that_something_covers_are_dropped() -> None:
    # A 12×12 square runs 10 px to the right over a still background, and covers what is right of it.
    square, landing = (slice(14, 26), slice(10, 22)), (slice(14, 26), slice(20, 32))
    there, back = constant(0, 0), constant(0, 0)
    there[square], back[landing] = (10, 0), (-10, 0)
    points = {"covered": [26, 20], "on the square": [15, 20], "far": [50, 20], "uncovered": [5, 20]}
    landed, trusted = follow(there, back, list(points.values()))
    assert dict(zip(points, trusted.tolist(), strict=True)) == {
        "covered": False,
        "on the square": True,
        "far": True,
        "uncovered": True,
    }
    np.testing.assert_allclose(landed - list(points.values()), [[0, 0], [10, 0], [0, 0], [0, 0]])


def test_a_field_without_sense_is_finite_and_trusts_nothing() -> None:
    wild = constant(np.nan, np.inf)
    landed, trusted = follow(wild, wild, [[10, 10], [20.5, 20.5]])
    assert np.isfinite(landed).all()
    assert not trusted.any()


@pytest.mark.parametrize(("told", "found"), [(5.0, 5.4), (5.9, 5.4), (2.4, 2.4)])
def test_patches_place_points_within_the_pixel_and_no_farther(told: float, found: float) -> None:
    first = texture(0, 60, 90)
    second = cv2.warpAffine(first, np.float32([[1, 0, 5.4], [0, 1, 0]]), (90, 60), flags=cv2.INTER_CUBIC)
    field = np.broadcast_to(np.float32([told, 0]), (60, 90, 2)).copy()
    points = np.float32([[30, 30], [45.5, 20.25]])
    landed, trusted = DensePoints(Fields(field, -field), DensePointsSettings())(first, second, points)
    np.testing.assert_allclose(landed - points, [[found, 0]] * 2, atol=0.05)
    assert trusted.all()


def test_a_bare_place_stays_where_the_field_puts_it() -> None:
    bare = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    field = constant(2.25, 1)
    points = DensePoints(Fields(field, -field), DensePointsSettings())
    landed, _ = points(bare, bare.copy(), np.float32([[20, 20]]))
    np.testing.assert_array_equal(landed, [[22.25, 21]])


def walk(points: DensePoints, clip: list[np.ndarray], at: list[list[float]] | None = None) -> list[np.ndarray]:
    where = np.float32([[10, 10], [20.5, 8.25]] if at is None else at).reshape(-1, 2)
    return [points(first, second, where)[0] for first, second in pairwise(clip)]


@pytest.mark.parametrize(("cache_mb", "calls"), [(1, 8), (0, 24)])
def test_the_fields_of_a_clip_are_made_once(cache_mb: int, calls: int) -> None:
    dense = Fields(constant(1.2345678, 0.1), constant(-1.2345678, -0.1))
    points = DensePoints(dense, DensePointsSettings(cache_mb=cache_mb))
    walks = [walk(points, frames(5)) for _ in range(3)]
    assert dense.calls == calls
    for repeated in walks[1:]:
        np.testing.assert_array_equal(repeated, walks[0])


def test_another_clip_takes_the_place_of_the_one_before() -> None:
    dense = Fields(constant(1, 0), constant(-1, 0))
    points = DensePoints(dense, DensePointsSettings(cache_mb=1))
    for seed, calls in ((0, 8), (0, 8), (1, 16), (1, 16), (0, 24)):
        walk(points, frames(5, seed))
        assert dense.calls == calls


def test_the_earliest_fields_are_kept_where_not_all_fit() -> None:
    # One field takes 40 × 61 × 4 + 40 × 8 = 10080 bytes: 104 in a MiB.
    clip = [np.full((HEIGHT, WIDTH, 3), index, np.uint8) for index in range(121)]
    dense = Fields(constant(1, 0), constant(-1, 0))
    points = DensePoints(dense, DensePointsSettings(cache_mb=1))
    for walked in range(3):
        walk(points, clip)
        assert dense.calls == 2 * (120 + walked * 16)


def test_no_points_cost_nothing_and_do_not_end_the_clip() -> None:
    dense = Fields(constant(1, 0), constant(-1, 0))
    points = DensePoints(dense, DensePointsSettings())
    clip = frames(6)
    walk(points, clip[:3])
    (landed,) = walk(points, clip[2:4], [])
    assert landed.shape == (0, 2)
    walk(points, clip[3:])
    assert dense.calls == 8
    walk(points, clip)
    assert dense.calls == 10


def test_equal_bytes_of_another_shape_are_another_frame() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    upright = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    points = DensePoints(lambda first, second: np.zeros((*first.shape[:2], 2), np.float32), DensePointsSettings())
    walk(points, [black, black])
    ((landed,),) = walk(points, [upright, upright], [[HEIGHT - 1.0, WIDTH - 1.0]])
    np.testing.assert_array_equal(landed, [HEIGHT - 1, WIDTH - 1])
