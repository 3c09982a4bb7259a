from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from models.local_homography import (
    HomographySettings,
    background_homographies,
    global_homographies,
)
from models.point_flow import LucasKanade, to_gray
from models.weighted_homography import map_points

HEIGHT, WIDTH = 240, 360


def _texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(random.random((height, width), np.float32), (0, 0), s) * s for s in (1.5, 4, 10)]
    return cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _path(frames: int) -> list[np.ndarray]:
    """A camera that pans, zooms, turns a little and shakes: frame-0 pixels to frame t."""
    matrices = []
    for t in range(frames):
        u = t / max(1, frames - 1)
        angle, zoom = 0.03 * u, 1 + 0.05 * u
        x, y = 18 * u + 1.2 * np.sin(1.9 * t), -10 * u + 0.8 * np.sin(1.3 * t)
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[:2, 2] = np.array([WIDTH, HEIGHT]) / 2 @ (np.eye(2) - turn).T + (x, y)
        matrix[2, :2] = (4e-5 * u, 2e-5 * u)
        matrices.append(matrix)
    start = np.linalg.inv(matrices[0])
    return [matrix @ start for matrix in matrices]


def _film(texture: np.ndarray, path: list[np.ndarray]) -> list[np.ndarray]:
    """What a camera sees that starts 40 pixels inside of a still picture."""
    inset = np.array([[1, 0, -40], [0, 1, -40], [0, 0, 1]])
    random = np.random.default_rng(1)
    frames = []
    for matrix in path:
        frame = cv2.warpPerspective(
            texture, matrix @ inset, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        frames.append(np.clip(frame + random.normal(0, 2, frame.shape), 0, 255).astype(np.uint8))
    return frames


def _region() -> np.ndarray:
    region = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(region, (190, 120), (35, 25), 0, 0, 360, 1, -1)
    return region.astype(np.bool_)


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance (px) over the region between where it is put and where it belongs."""
    points = np.argwhere(_region())[::20, ::-1].astype(np.float32)
    return float(np.linalg.norm(map_points(points, found) - map_points(points, truth), axis=1).mean())


@pytest.fixture(scope="module")
def scene() -> tuple[list[np.ndarray], list[np.ndarray]]:
    path = _path(40)
    return _film(_texture(HEIGHT + 80, WIDTH + 80), path), path


def test_a_region_is_carried_with_the_camera(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, path = scene
    found = background_homographies(frames, _region())
    assert len(found) == len(frames)
    np.testing.assert_allclose(found[0], np.eye(3), atol=1e-9)
    assert max(_error(f, t) for f, t in zip(found, path, strict=True)) < 0.5
    assert _error(np.eye(3), path[-1]) > 10


def test_the_working_copy_may_be_smaller(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, path = scene
    found = background_homographies(frames, _region(), settings=HomographySettings(working_side=180))
    assert _error(found[-1], path[-1]) < 1


def test_an_excluded_object_does_not_pull(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, path = scene
    patch = _texture(90, 90, seed=7)
    crossing, masks = [], []
    for t, frame in enumerate(frames):
        left = 60 + 4 * t
        covered = frame.copy()
        covered[70:160, left : left + 90] = patch[:, : WIDTH - left]
        mask = np.zeros(frame.shape, np.bool_)
        mask[70:160, left : left + 90] = True
        crossing.append(covered)
        masks.append(mask)
    found = background_homographies(crossing, _region(), masks)
    assert max(_error(f, t) for f, t in zip(found, path, strict=True)) < 1


def test_the_whole_frame_gives_the_camera(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, path = scene
    found = global_homographies(frames)
    corners = np.array([[20, 20], [340, 20], [340, 220], [20, 220]], np.float32)
    np.testing.assert_allclose(map_points(corners, found[-1]), map_points(corners, path[-1]), atol=0.6)
    empty = background_homographies(frames, np.zeros((HEIGHT, WIDTH), np.bool_))
    assert np.array_equal(empty[-1], found[-1])


def test_near_points_win_over_a_background_at_another_depth(
    scene: tuple[list[np.ndarray], list[np.ndarray]],
) -> None:
    frames, path = scene
    # The lower part of the picture stands still; the region lies in the moving part.
    still = [np.concatenate([frame[:165], frames[0][165:]]) for frame in frames]
    local, camera = background_homographies(still, _region()), global_homographies(still)
    assert _error(local[-1], path[-1]) < 1.5
    assert _error(local[-1], path[-1]) <= _error(camera[-1], path[-1])


def test_results_repeat_exactly(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, _ = scene
    first, second = (background_homographies(frames[:12], _region()) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_last_motion_goes_on_when_points_vanish_and_then_rests() -> None:
    texture = _texture(HEIGHT + 80, WIDTH + 80)
    path = [np.array([[1, 0, 2.0 * t], [0, 1, 0], [0, 0, 1]]) for t in range(6)]
    frames = _film(texture, path) + [np.full((HEIGHT, WIDTH), 128, np.uint8)] * 12
    found = background_homographies(frames, _region(), settings=HomographySettings(max_coast=3))
    shifts = [matrix[0, 2] for matrix in found]
    assert shifts[5] == pytest.approx(10, abs=0.2)
    assert shifts[8] == pytest.approx(16, abs=0.6)
    assert shifts[9:] == [shifts[8]] * 9


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (9, 300)])
def test_flat_frames_stand_still(size: tuple[int, int]) -> None:
    frames = [np.full(size, 77, np.uint8)] * 4
    for region in (np.zeros(size, np.bool_), np.ones(size, np.bool_)):
        for matrix in background_homographies(frames, region):
            np.testing.assert_allclose(matrix, np.eye(3), atol=1e-9)


def test_everything_excluded_stands_still(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, _ = scene
    everything = [np.ones((HEIGHT, WIDTH), np.bool_)] * 5
    for matrix in background_homographies(frames[:5], _region(), everything):
        np.testing.assert_allclose(matrix, np.eye(3), atol=1e-9)


def test_unrelated_frames_never_raise() -> None:
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (64, 96), dtype=np.uint8) for _ in range(10)]
    region = np.zeros((64, 96), np.bool_)
    region[20:22, 30] = True
    assert all(np.isfinite(matrix).all() for matrix in background_homographies(frames, region))


def test_no_frames_and_one_frame() -> None:
    assert global_homographies([]) == []
    (only,) = background_homographies([_texture(60, 60)], np.ones((60, 60), np.bool_))
    np.testing.assert_allclose(only, np.eye(3), atol=1e-9)


def test_wrong_sizes_are_refused() -> None:
    frames = [np.zeros((20, 30), np.uint8)] * 2
    with pytest.raises(ValueError, match="region"):
        background_homographies(frames, np.zeros((20, 31), np.bool_))
    with pytest.raises(ValueError, match="region"):
        background_homographies([np.zeros((20, 30, 3), np.uint8)], np.zeros((20, 31), np.bool_))
    with pytest.raises(ValueError, match="1 masks"):
        global_homographies(frames, [np.zeros((20, 30), np.bool_)])
    with pytest.raises(ValueError, match="frame 1"):
        global_homographies([frames[0], np.zeros((20, 31), np.uint8)])


def test_another_point_flow_can_take_over() -> None:
    def shift(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return points + np.float32([1, 0]), np.ones(len(points), np.bool_)

    frames = [_texture(HEIGHT, WIDTH)] * 4
    found = background_homographies(frames, _region(), point_flow=shift)
    np.testing.assert_allclose(found[-1], [[1, 0, 3], [0, 1, 0], [0, 0, 1]], atol=1e-3)


class ColourFlow(LucasKanade):
    """Lucas–Kanade for those who bring RGB frames; remembers what it was given."""

    colour = True

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, first: np.ndarray, second: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.shapes |= {first.shape, second.shape}
        return super().__call__(to_gray(first), to_gray(second), points)


def test_a_flow_may_see_colour(scene: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    frames, path = scene
    coloured = [np.stack([frame // 2, frame, 255 - frame], axis=2) for frame in frames]
    flow = ColourFlow()
    found = background_homographies(coloured, _region(), point_flow=flow)
    assert flow.shapes == {(HEIGHT, WIDTH, 3)}
    expected = background_homographies([to_gray(frame) for frame in coloured], _region())
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    smaller = background_homographies(
        coloured, _region(), settings=HomographySettings(working_side=180), point_flow=flow
    )
    assert flow.shapes == {(HEIGHT, WIDTH, 3), (120, 180, 3)}
    assert _error(smaller[-1], path[-1]) < 1


def test_a_static_camera_stays_put_on_a_real_clip(shared_data: Path) -> None:
    with av.open(str(shared_data / "clips" / "01_dog.mp4")) as clip:
        frames = [frame.to_ndarray(format="gray") for _, frame in zip(range(10), clip.decode(video=0), strict=False)]
    region = np.zeros(frames[0].shape, np.bool_)
    region[450:600, 850:1050] = True
    found = background_homographies(frames, region)
    corners = np.array([[850, 450], [1050, 600]], np.float32)
    np.testing.assert_allclose(map_points(corners, found[-1]), corners, atol=1)
