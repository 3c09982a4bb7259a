"""RAFT on real weights and real frames, on frames of any size, and as the flow under background motion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from tiny_dataset import texture
from tiny_models.raft import save_tiny_raft

from models.local_homography import background_homographies
from models.placement import DeviceChoice, Dtype, Placement
from models.point_flow import LucasKanade, to_gray
from models.raft import RaftFlow, RaftSettings
from models.raft_checkpoint import load_raft
from models.registry import ModelChoice, ModelResources, make_model
from models.weighted_homography import map_points
from models.weights import Weights, WeightsError

SMALL = "raft-small.pth"


def raft(path: Path, dtype: Dtype = "float32", **settings: object) -> RaftFlow:
    weights = Weights("raft-under-test", "r1", {path.name: path})
    return RaftFlow(RaftSettings.model_validate(settings), weights, Placement("cpu", dtype))


@pytest.fixture(scope="module")
def small_weights(shared_data: Path) -> Path:
    path = shared_data / "weights" / SMALL
    if not path.is_file():
        pytest.skip("the weights of RAFT-small are not beside this checkout (../shared/data/weights)")
    return path


@pytest.fixture(scope="module")
def small(small_weights: Path) -> RaftFlow:
    return raft(small_weights)


@pytest.fixture(scope="module")
def random_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "raft-large"
    save_tiny_raft(folder)
    return folder


def davis_frame(shared_data: Path, clip: str, number: int, scale: float = 1.0) -> np.ndarray:
    (path,) = (shared_data / "davis" / "JPEGImages").rglob(f"{clip}/{number:05d}.jpg")
    frame = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else frame


def warped_back(second: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(second, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float32) - second).mean())


@pytest.mark.parametrize("scale", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("clip", ["blackswan", "car-shadow", "dog"])
def test_real_weights_explain_real_motion(small: RaftFlow, shared_data: Path, clip: str, scale: float) -> None:
    first, second = (davis_frame(shared_data, clip, number, scale) for number in (10, 12))
    flow = small.flow(first, second)
    assert flow.shape == (*first.shape[:2], 2)
    assert flow.dtype == np.float32
    before, after = difference(first, second), difference(first, warped_back(second, flow))
    print(f"{clip} ×{scale}: L1 {before:.2f} -> {after:.2f}")
    assert after < before / 2


def test_frames_that_fit_are_seen_as_they_are(small: RaftFlow, small_weights: Path) -> None:
    wide = texture(1, 128, 180)
    first, second = wide[:, :168].copy(), wide[:, 4:172].copy()
    network = load_raft(small_weights)
    pair = [torch.tensor(frame).permute(2, 0, 1)[None].float() / 127.5 - 1 for frame in (first, second)]
    with torch.inference_mode():
        expected = network(*pair, num_flow_updates=12)[-1][0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(small.flow(first, second), expected)
    np.testing.assert_allclose(np.median(expected, axis=(0, 1)), [-4, 0], atol=0.3)


@pytest.mark.parametrize("size", [(131, 173), (64, 96), (8, 200), (1, 1)])
def test_other_sizes_are_filled_up_with_their_border(small: RaftFlow, size: tuple[int, int]) -> None:
    height, width = size
    scene = texture(2, height, width + 2)
    first, second = scene[:, :width].copy(), scene[:, 2:].copy()
    flow = small.flow(first, second)
    assert flow.shape == (height, width, 2)
    tall, long = max(128, -(-height // 8) * 8), max(128, -(-width // 8) * 8)
    top, left = (tall - height) // 2, (long - width) // 2
    around = ((top, tall - height - top), (left, long - width - left), (0, 0))
    full = small.flow(*(np.pad(frame, around, mode="edge") for frame in (first, second)))
    np.testing.assert_array_equal(flow, full[top : top + height, left : left + width])


def test_points_that_something_covers_are_dropped(small: RaftFlow) -> None:
    first = texture(3, 160, 224)
    second = first.copy()
    square = texture(4, 48, 48)[::-1] // 2 + (100, 0, 20)
    first[60:108, 40:88] = square
    second[60:108, 56:104] = square
    points = np.float32([[94, 80], [96, 90], [60, 84], [150, 40], [180, 120]])
    landed, trusted = small(first, second, points)
    assert trusted.tolist() == [False, False, True, True, True]
    np.testing.assert_allclose((landed - points)[2:], [[16, 0], [0, 0], [0, 0]], atol=0.2)


def test_half_precision_stays_close(small: RaftFlow, small_weights: Path) -> None:
    scene = texture(5, 128, 190)
    first, second = scene[:, :160].copy(), scene[:, 6:166].copy()
    exact, rounded = small.flow(first, second), raft(small_weights, "bfloat16").flow(first, second)
    error = np.linalg.norm(exact - rounded, axis=2)
    assert 0 < np.median(error) < 0.1
    assert rounded.dtype == np.float32


def test_more_updates_refine(small_weights: Path, small: RaftFlow, shared_data: Path) -> None:
    first, second = (davis_frame(shared_data, "car-shadow", number, 0.4) for number in (10, 12))
    errors = [
        difference(first, warped_back(second, flow.flow(first, second)))
        for flow in (raft(small_weights, updates=1), small)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_frames_of_two_sizes_are_refused(small: RaftFlow) -> None:
    with pytest.raises(ValueError, match=r"\(64, 96\).*\(64, 97\)"):
        small.flow(texture(0, 64, 96), texture(0, 64, 97))


def test_the_registry_makes_it_from_a_folder_of_weights(random_large: Path) -> None:
    resources = ModelResources(random_large.parent, {"default": DeviceChoice(device="cpu")})
    flow = make_model(ModelChoice(name="raft", settings={"updates": 2, "max_shift": 0}), resources)
    assert flow.info.name == "raft-large"
    assert flow.colour
    frames = texture(6, 64, 96), texture(7, 64, 96)
    field = flow.flow(*frames)
    assert field.std() > 0.01
    points = np.float32([[20, 20], [40.5, 30]])
    landed, trusted = flow(*frames, points)
    np.testing.assert_allclose((landed - points)[0], field[20, 20], atol=2e-3)
    assert trusted.shape == (2,)


def test_a_damaged_checkpoint_is_one_sentence(random_large: Path, tmp_path: Path) -> None:
    (whole,) = random_large.glob("*.pth")
    damaged = tmp_path / whole.name
    damaged.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read") as raised:
        raft(damaged)
    assert "\n" not in str(raised.value)


def camera_path(frames: int, width: int, height: int) -> list[np.ndarray]:
    """A camera that pans, zooms, turns a little and shakes: frame-0 pixels to frame t."""
    matrices = []
    for t in range(frames):
        angle, zoom = 0.004 * t, 1 + 0.006 * t
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        shake = np.array([3.0 * t + 0.8 * np.sin(1.9 * t), -1.5 * t])
        matrix[:2, 2] = np.array([width, height]) / 2 @ (np.eye(2) - turn).T + shake
        matrix[2, :2] = (4e-6 * t, 2e-6 * t)
        matrices.append(matrix)
    return matrices


@pytest.mark.slow
def test_a_region_is_carried_with_the_camera(small: RaftFlow, shared_data: Path) -> None:
    scene = davis_frame(shared_data, "dog", 0)
    width, height = 448, 256
    inset = np.array([[0.7, 0, -60], [0, 0.7, -40], [0, 0, 1]])
    path = camera_path(12, width, height)
    frames = [cv2.warpPerspective(scene, matrix @ inset, (width, height), flags=cv2.INTER_AREA) for matrix in path]
    region = np.zeros((height, width), np.bool_)
    region[100:160, 180:270] = True
    points = np.argwhere(region)[::40, ::-1].astype(np.float32)

    def worst(found: list[np.ndarray]) -> float:
        gaps = [map_points(points, h) - map_points(points, t) for h, t in zip(found, path, strict=True)]
        return max(float(np.linalg.norm(gap, axis=1).mean()) for gap in gaps)

    by_raft = worst(background_homographies(frames, region, point_flow=small))
    by_points = worst(background_homographies([to_gray(frame) for frame in frames], region, point_flow=LucasKanade()))
    print(f"worst of 12 frames: RAFT-small {by_raft:.2f} px, Lucas–Kanade {by_points:.2f} px")
    assert by_raft < 1
    assert np.linalg.norm(map_points(points, path[-1]) - points, axis=1).mean() > 20
