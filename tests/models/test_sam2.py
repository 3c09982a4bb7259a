"""First-frame masks of SAM 2.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from sam2_clips import SIZE, moving_discs
from tiny_models.sam2 import tiny_weights

from models.placement import Placement
from models.protocols import Detection, ModelInfo
from models.registry import model_class
from models.sam2 import Pixels, Sam2Segmenter, Sam2Settings, full_size_masks
from models.weights import Weights

CPU = Placement("cpu", "float32")
IMAGE = moving_discs(1)[0][0]
BOXES = [(12.0, 12.0, 48.0, 48.0), (76.0, 46.0, 104.0, 74.0), (0.0, 0.0, 160.0, 90.0), (120.0, 5.0, 150.0, 20.0)]
DETECTIONS = [Detection(box, "thing", 0.5) for box in BOXES]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def segmenter(weights: Weights) -> Sam2Segmenter:
    return Sam2Segmenter(Sam2Settings(weights=weights.name), weights, CPU)


def test_the_registry_names_it() -> None:
    assert model_class("sam2") is Sam2Segmenter


def test_every_box_gets_a_mask_of_the_image_size(segmenter: Sam2Segmenter) -> None:
    masks = segmenter.segment(IMAGE, DETECTIONS)
    assert [(mask.shape, mask.dtype) for mask in masks] == [(SIZE, np.dtype(bool))] * 4
    assert all(0 < mask.mean() < 1 for mask in masks)
    assert len({mask.tobytes() for mask in masks}) == 4
    other = segmenter.segment(255 - IMAGE, DETECTIONS)
    assert all((mask != changed).any() for mask, changed in zip(masks, other, strict=True))


def test_it_says_which_weights_it_has(segmenter: Sam2Segmenter, weights: Weights) -> None:
    assert segmenter.info == ModelInfo("sam2", weights.revision)


def test_boxes_one_by_one_give_the_same_masks(segmenter: Sam2Segmenter, weights: Weights) -> None:
    single = Sam2Segmenter(Sam2Settings(weights=weights.name, batch=1), weights, CPU)
    together = segmenter.segment(IMAGE, DETECTIONS)
    for one, other in zip(single.segment(IMAGE, DETECTIONS), together, strict=True):
        assert (one != other).mean() < 1e-3


def test_the_image_is_embedded_once(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = segmenter._model.get_image_embeddings
    calls = []
    monkeypatch.setattr(segmenter._model, "get_image_embeddings", lambda pixels: calls.append(1) or embed(pixels))
    monkeypatch.setattr(segmenter._batches, "size", 1)
    segmenter.segment(IMAGE, DETECTIONS)
    assert len(calls) == 1


def test_a_mask_that_is_final_comes_back_as_it_is(segmenter: Sam2Segmenter) -> None:
    seed = np.zeros(SIZE, bool)
    seed[3:9, 4:10] = True
    final = Detection((4, 3, 10, 9), "thing", 0.5, seed, refine=False)
    masks = segmenter.segment(IMAGE, [DETECTIONS[0], final, DETECTIONS[1]])
    assert masks[1] is seed
    both = segmenter.segment(IMAGE, DETECTIONS[:2])
    np.testing.assert_array_equal(masks[0], both[0])
    np.testing.assert_array_equal(masks[2], both[1])
    assert segmenter.segment(IMAGE, [final])[0] is seed
    assert segmenter.segment(IMAGE, []) == []


def test_a_seed_that_is_only_a_hint_changes_nothing(segmenter: Sam2Segmenter) -> None:
    hint = Detection(BOXES[0], "thing", 0.5, np.ones(SIZE, bool))
    np.testing.assert_array_equal(segmenter.segment(IMAGE, [hint])[0], segmenter.segment(IMAGE, DETECTIONS[:1])[0])


def test_of_three_masks_the_best_is_chosen(segmenter: Sam2Segmenter, weights: Weights) -> None:
    of_three = Sam2Segmenter(Sam2Settings(weights=weights.name, multimask=True), weights, CPU)
    masks = of_three.segment(IMAGE, DETECTIONS)
    assert all(mask.shape == SIZE for mask in masks)
    assert any((mask != single).any() for mask, single in zip(masks, segmenter.segment(IMAGE, DETECTIONS), strict=True))


def test_an_image_seen_backwards_is_taken(segmenter: Sam2Segmenter) -> None:
    flipped = IMAGE[:, ::-1]
    for one, other in zip(
        segmenter.segment(flipped, DETECTIONS), segmenter.segment(flipped.copy(), DETECTIONS), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_pixels_are_a_normalised_square() -> None:
    pixels = Pixels(64, CPU)(np.full((10, 30, 3), 255, np.uint8))
    assert pixels.shape == (3, 64, 64)
    torch.testing.assert_close(pixels[:, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)


def test_logits_are_enlarged_before_they_are_cut() -> None:
    logits = torch.tensor([[[[-1.0, 3.0]]]])
    (mask,) = full_size_masks(logits, (1, 8))
    assert mask.tolist() == [[False, False, False, True, True, True, True, True]]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (8, 1000), (1000, 8)])
def test_images_of_any_shape_are_taken(segmenter: Sam2Segmenter, size: tuple[int, int]) -> None:
    for image in (np.full((*size, 3), 128, np.uint8), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)):
        boxes = [(0.0, 0.0, float(size[1]), float(size[0])), (0.0, 0.0, 0.0, 0.0)]
        masks = segmenter.segment(image, [Detection(box, "thing", 0.5) for box in boxes])
        assert [mask.shape for mask in masks] == [size] * 2


def test_logits_that_are_not_numbers_are_refused() -> None:
    logits = torch.zeros(2, 1, 4, 4)
    assert not full_size_masks(logits, (8, 8))[1].any()
    logits[1, 0, 2, 2] = float("nan")
    with pytest.raises(ValueError, match=r"SAM 2\.1 gives values that are not numbers in torch\.float32"):
        full_size_masks(logits, (8, 8))
    assert full_size_masks(logits[:0], (8, 8)) == []


def test_half_precision_runs(weights: Weights) -> None:
    half = Sam2Segmenter(Sam2Settings(weights=weights.name), weights, Placement("cpu", "bfloat16"))
    masks = half.segment(IMAGE, DETECTIONS)
    assert all(mask.shape == SIZE and 0 < mask.mean() < 1 for mask in masks)


def test_either_form_of_checkpoint_serves(segmenter: Sam2Segmenter, tmp_path: Path) -> None:
    original = tiny_weights(tmp_path, original=True)
    other = Sam2Segmenter(Sam2Settings(weights=original.name), original, CPU)
    for one, same in zip(other.segment(IMAGE, DETECTIONS), segmenter.segment(IMAGE, DETECTIONS), strict=True):
        assert (one != same).mean() < 1e-3
