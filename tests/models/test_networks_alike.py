"""What holds for every network: nothing in, nothing out; any picture is taken; short memory makes batches smaller."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("transformers")
pytest.importorskip("timm")

from tiny_models.mirror import save_tiny_mirror

from models.placement import DeviceChoice
from models.protocols import Detection, EntityView, Image
from models.registry import ModelChoice, ModelResources, make_model

SETTINGS: dict[str, dict[str, Any]] = {
    "grounding_dino": {"min_score": 0},
    "internvl": {"max_new_tokens": 16, "prompt": {"side": 56}},
    "raft": {"updates": 1},
}
WORDS = ["dog", "car"]


def noise(seed: int, height: int = 40, width: int = 60) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def view(image: Image) -> EntityView:
    mask = np.ones(image.shape[:2], np.bool_)
    return EntityView("0123456789abcdef-00", 0, "dog", (image,), (mask,), np.zeros((1, 2), np.float32), 0.0)


def boxes(image: Image) -> list[Detection]:
    height, width = image.shape[:2]
    return [Detection((0, 0, width / part, height / part), "dog", 0.5) for part in (1, 2, 3)]


WORK: dict[str, Callable[[Any, list[Image]], list[Any]]] = {
    "ram": lambda model, images: list(model.scores(images)),
    "grounding_dino": lambda model, images: [
        [[*one.box, one.score] for one in found] for found in model.detect([[i] for i in images], [WORDS] * len(images))
    ],
    "sam2": lambda model, images: [mask for image in images for mask in model.segment(image, boxes(image))],
    "sam2_tracker": lambda model, images: [
        mask for image in images for masks in model.track([image] * 2, [mask_of(image)] * 2) for mask in masks
    ],
    "raft": lambda model, images: [model(i, i, np.float32([[0, 0], [1, 1]]))[0] for i in images],
    "internvl": lambda model, images: [answer.reason for answer in model.caption([view(image) for image in images])],
    "clip": lambda model, images: model.score(images, ["a dog"] * len(images)),
}
"""What each network makes of some pictures."""


def mask_of(image: Image) -> np.ndarray:
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[: -(-mask.shape[0] // 2)] = True
    mask.setflags(write=False)
    return mask


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def make(mirror: Path) -> Callable[[str], Any]:
    resources = ModelResources(mirror, {"default": DeviceChoice(device="cpu")})
    return lambda name: make_model(ModelChoice(name=name, settings=SETTINGS.get(name, {})), resources)


def test_nothing_in_gives_nothing_out(make: Callable[[str], Any]) -> None:
    image = noise(0)
    assert make("ram").tag([]) == []
    assert make("grounding_dino").detect([], []) == []
    assert make("grounding_dino").detect([[image]] * 2, [[], WORDS])[0] == []
    assert make("sam2").segment(image, []) == []
    assert list(make("sam2_tracker").track([image] * 3, [])) == [[], [], []]
    landed, trusted = make("raft")(image, image, np.zeros((0, 2), np.float32))
    assert (landed.shape, trusted.shape) == ((0, 2), (0,))
    assert make("internvl").caption([]) == []
    assert make("clip").score([], []) == []
    assert make("clip").embed([]).shape == (0, 24)


@pytest.mark.parametrize("name", sorted(WORK))
def test_any_picture_is_taken_as_it_is(make: Callable[[str], Any], name: str) -> None:
    """Tiny, long, all of one grey, seen backwards, not to be written to: none fails, is changed, or earns a warning."""
    fixed = noise(3, 8, 8)
    fixed.setflags(write=False)
    images = [noise(1, 1, 1), noise(2, 8, 300), np.full((8, 8, 3), 128, np.uint8), noise(3, 8, 8)[::-1, ::-1], fixed]
    before = [image.copy() for image in images]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = WORK[name](make(name), images)
    assert len(found) >= len(images)
    assert all(np.array_equal(image, copy) for image, copy in zip(images, before, strict=True))


def cramped(work: Callable[..., Any], size_of: Callable[..., int], seen: list[int]) -> Callable[..., Any]:
    """`work` with memory for one item only."""

    def attempt(*arguments: Any, **named: Any) -> Any:
        size = size_of(*arguments, **named)
        seen.append(size)
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(*arguments, **named)

    return attempt


@pytest.mark.parametrize(
    ("name", "part", "size_of"),
    [
        ("ram", "_network.forward", lambda images: len(images)),
        ("grounding_dino", "_network.forward", lambda **given: len(given["pixel_values"])),
        ("sam2", "_model.forward", lambda **given: given["input_boxes"].shape[1]),
        ("internvl", "_network.generate", lambda **given: len(given["input_ids"])),
        ("clip", "_network.get_image_features", lambda **given: len(given["pixel_values"])),
    ],
)
def test_short_memory_makes_batches_smaller(
    make: Callable[[str], Any], name: str, part: str, size_of: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = make(name), [noise(seed) for seed in range(3)]
    expected = WORK[name](model, images)
    owner, _, method = part.partition(".")
    seen: list[int] = []
    network = getattr(model, owner)
    monkeypatch.setattr(network, method, cramped(getattr(network, method), size_of, seen))
    found = WORK[name](model, images)
    assert seen[:2] == [3, 1]
    assert set(seen[2:]) == {1}, "the size that worked is kept"
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, str):
            assert one == other
        else:
            np.testing.assert_allclose(np.asarray(one, np.float32), np.asarray(other, np.float32), atol=1e-3)
