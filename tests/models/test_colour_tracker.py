from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.masks import iou
from models.colour_tracker import ColourTracker, ColourTrackerSettings
from models.pixel_mlp import PixelMlpSettings
from models.tracked_object import TrackedObjectSettings

QUICK = ColourTrackerSettings(appearance=TrackedObjectSettings(classifier=PixelMlpSettings(steps=120, batch=256)))


def _noise(height: int, width: int, colour: tuple[int, int, int], seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(random.normal(0, 1, (height, width, 3)).astype(np.float32), (0, 0), 1.5)
    return np.clip(np.array(colour) + 70 * rough, 0, 255).astype(np.uint8)


class _Film(Sequence[np.ndarray]):
    """Textured discs that move over textured ground; remembers which frames were read."""

    def __init__(self, size: tuple[int, int], frames: int, radius: int = 22, speed: float = 3.0) -> None:
        self.size, self.frames, self.radius, self.speed = size, frames, radius, speed
        self.ground = _noise(*size, (70, 110, 70), 0)
        self.skins = [_noise(*size, (190, 90, 50), 1), _noise(*size, (60, 70, 190), 2)]
        self.read: list[int] = []

    def mask(self, frame: int, which: int) -> np.ndarray:
        height, width = self.size
        x = (0.25 + 0.4 * which) * width + self.speed * frame * (1 - 2 * which)
        y = (0.4 + 0.25 * which) * height
        mask = np.zeros(self.size, np.uint8)
        cv2.circle(mask, (round(x), round(y)), self.radius, 1, -1)
        return mask.astype(np.bool_)

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> np.ndarray:
        self.read.append(index)
        image = self.ground.copy()
        for which, skin in enumerate(self.skins):
            moved = np.roll(skin, round(self.speed * index * (1 - 2 * which)), axis=1)
            image[self.mask(index, which)] = moved[self.mask(index, which)]
        return image


def _track(film: Sequence[np.ndarray], masks: list[np.ndarray]) -> list[list[np.ndarray]]:
    return list(ColourTracker(QUICK).track(film, masks))


@pytest.mark.parametrize("size", [(180, 320), (320, 180), (270, 480)])
def test_two_objects_are_followed_each_for_itself(size: tuple[int, int]) -> None:
    film = _Film(size, 10)
    found = _track(film, [film.mask(0, 0), film.mask(0, 1)])
    assert len(found) == 10
    for frame, masks in enumerate(found):
        for which, mask in enumerate(masks):
            assert mask.shape == size
            assert mask.dtype == np.bool_
            assert iou(mask, film.mask(frame, which)) > 0.85


def test_the_first_masks_come_back_unchanged() -> None:
    film = _Film((120, 160), 2)
    odd = np.random.default_rng(0).random((120, 160)) > 0.5
    first = _track(film, [odd, film.mask(0, 0)])[0]
    assert np.array_equal(first[0], odd)
    assert first[0] is not odd


def test_every_frame_is_read_once_and_in_order() -> None:
    film = _Film((120, 160), 6)
    _track(film, [film.mask(0, 0)])
    assert film.read == list(range(6))


def test_frames_are_read_only_as_far_as_asked() -> None:
    film = _Film((120, 160), 6)
    masks: Iterator[list[np.ndarray]] = ColourTracker(QUICK).track(film, [film.mask(0, 0)])
    next(masks)
    next(masks)
    assert film.read == [0, 1]


def test_one_object_does_not_depend_on_the_others() -> None:
    film = _Film((180, 320), 6)
    alone = _track(film, [film.mask(0, 0)])
    both = _track(film, [film.mask(0, 0), np.zeros((180, 320), np.bool_)])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(alone, both, strict=True))


def test_results_repeat_exactly() -> None:
    film = _Film((120, 160), 6)
    first, second = (_track(film, [film.mask(0, 0)]) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_an_object_that_leaves_is_lost_for_good() -> None:
    film = _Film((120, 200), 12, radius=14, speed=8)
    frames = [film[index] for index in range(12)]
    gone = [film.ground] * 6
    found = _track(frames[:3] + gone + frames[:3], [film.mask(0, 0)])
    assert found[2][0].any()
    areas = [int(masks[0].sum()) for masks in found]
    empty = areas.index(0)
    assert empty <= 9
    assert not any(areas[empty:])


def test_an_empty_mask_stays_empty_beside_a_full_one() -> None:
    film = _Film((120, 160), 4)
    empty, full = np.zeros((120, 160), np.bool_), np.ones((120, 160), np.bool_)
    found = _track(film, [empty, full])
    assert not any(masks[0].any() for masks in found)
    assert found[-1][1].mean() > 0.9


def test_large_frames_give_edges_without_stairs() -> None:
    film = _Film((720, 1280), 3, radius=120, speed=4)
    mask = _track(film, [film.mask(0, 0)])[-1][0]
    assert iou(mask, film.mask(2, 0)) > 0.96
    (outline, *_), _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (x, y), _ = cv2.minEnclosingCircle(outline)
    radii = np.hypot(outline[:, 0, 0] - x, outline[:, 0, 1] - y)
    # The working copy is three times smaller: stairs of its pixels would scatter the radii by a pixel and more.
    steps = np.abs(radii - np.convolve(np.pad(radii, 4, "wrap"), np.ones(9) / 9, "valid"))
    assert np.median(steps) < 0.6


@pytest.mark.parametrize("size", [(64, 96), (16, 16), (3, 3), (8, 200)])
def test_tiny_and_flat_frames_never_raise(size: tuple[int, int]) -> None:
    frames = [np.full((*size, 3), 90, np.uint8)] * 3
    box = np.zeros(size, np.bool_)
    box[size[0] // 4 : size[0] // 2 + 1, size[1] // 4 : size[1] // 2 + 1] = True
    for masks in _track(frames, [box, np.ones(size, np.bool_)]):
        assert [mask.shape for mask in masks] == [size, size]


def test_no_frames_and_no_masks() -> None:
    assert _track([], []) == []
    assert _track([np.zeros((40, 40, 3), np.uint8)] * 2, []) == [[], []]


def test_wrong_sizes_are_refused() -> None:
    frames = [np.zeros((40, 50, 3), np.uint8), np.zeros((40, 51, 3), np.uint8)]
    with pytest.raises(ValueError, match="does not fit"):
        _track(frames, [np.zeros((50, 40), np.bool_)])
    with pytest.raises(ValueError, match="frame 1"):
        _track(frames, [np.zeros((40, 50), np.bool_)])


def test_a_real_animal_is_followed(shared_data: Path) -> None:
    davis = shared_data / "davis"
    frames = [
        cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        for path in sorted((davis / "JPEGImages" / "blackswan").glob("*.jpg"))[:12]
    ]
    truth = [
        cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
        for path in sorted((davis / "Annotations" / "blackswan").glob("*.png"))[:12]
    ]
    found = [masks[0] for masks in ColourTracker().track(frames, truth[:1])]
    assert np.mean([iou(mask, true) for mask, true in zip(found, truth, strict=True)][1:]) > 0.88
