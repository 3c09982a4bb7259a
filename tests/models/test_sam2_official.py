"""The original package as a second backend. `sam2` is no dependency: the comparisons run where it is installed."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from sam2_clips import disagreement, moving_discs
from tiny_models.sam2 import tiny_weights
from transformers import Sam2VideoModel

from models import sam2_memory
from models.placement import Placement
from models.sam2_memory import TransformersVideoModel
from models.sam2_tracker import Sam2Tracker, Sam2TrackerSettings
from models.weights import Weights

CPU = Placement("cpu", "float32")
INSTALLED = importlib.util.find_spec("sam2") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason="Meta's package sam2 is not installed")
FRAMES, FIRST = moving_discs(20)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def ours(weights: Weights) -> Sam2Tracker:
    return Sam2Tracker(Sam2TrackerSettings(weights=weights.name), weights, CPU)


@pytest.fixture(scope="module")
def theirs(weights: Weights) -> Sam2Tracker:
    return Sam2Tracker(Sam2TrackerSettings(weights=weights.name, backend="sam2"), weights, CPU)


def logits(tracker: Sam2Tracker, count: int) -> list[torch.Tensor]:
    walk = tracker._model.begin(count, [tracker._prompt(mask) for mask in FIRST], 16)
    return [walk.step(tracker._pixels(frame)) for frame in FRAMES[:count]]


@pytest.mark.skipif(INSTALLED, reason="the package sam2 is installed")
def test_without_the_package_one_sentence_says_so(weights: Weights) -> None:
    with pytest.raises(ValueError, match=r"backend 'sam2' needs Meta's package, which is not installed \(no module '"):
        Sam2Tracker(Sam2TrackerSettings(weights=weights.name, backend="sam2"), weights, CPU)


@needs_package
@pytest.mark.parametrize("count", [9, 20])
def test_both_backends_give_the_same_masks(ours: Sam2Tracker, theirs: Sam2Tracker, count: int) -> None:
    own, other = logits(ours, count), logits(theirs, count)
    assert torch.equal(own[0], other[0])
    torch.testing.assert_close(own[1], other[1], atol=1e-4, rtol=0)
    # Memories are kept in bfloat16: a difference of 1e-7 that flips a rounding grows from frame to frame.
    for one, same in zip(own, other, strict=True):
        torch.testing.assert_close(one, same, atol=0.1, rtol=0)
    masks = list(ours.track(FRAMES[:count], FIRST)), list(theirs.track(FRAMES[:count], FIRST))
    assert disagreement(masks[0][:2], masks[1][:2]) < 1e-4
    assert disagreement(*masks) < 5e-3


@needs_package
def test_an_uncorrected_transformers_model_differs_at_once(
    weights: Weights, ours: Sam2Tracker, theirs: Sam2Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam2_memory, "MaskPromptedSam2", Sam2VideoModel)
    monkeypatch.setattr(ours, "_model", TransformersVideoModel(weights, CPU))
    plain, other = logits(ours, 2), logits(theirs, 2)
    assert (plain[1] - other[1]).abs().max() > 1e-2


@needs_package
def test_an_original_checkpoint_serves_the_original_package(
    theirs: Sam2Tracker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    original = tiny_weights(tmp_path_factory.mktemp("original"), original=True)
    again = Sam2Tracker(Sam2TrackerSettings(weights=original.name, backend="sam2"), original, CPU)
    assert all(torch.equal(one, same) for one, same in zip(logits(again, 4), logits(theirs, 4), strict=True))


@needs_package
def test_its_memory_does_not_grow_either(theirs: Sam2Tracker) -> None:
    walk = theirs._model.begin(len(FRAMES), [theirs._prompt(mask) for mask in FIRST], 16)
    for frame in FRAMES:
        walk.step(theirs._pixels(frame))
    outputs = walk._state["output_dict_per_obj"][1]
    assert list(outputs["non_cond_frame_outputs"]) == list(range(5, 20))
    assert [frame for frame, entry in outputs["non_cond_frame_outputs"].items() if "pred_masks" in entry] == list(
        range(14, 20)
    )


@needs_package
def test_two_clips_at_a_time_do_not_mix(theirs: Sam2Tracker) -> None:
    alone = list(theirs.track(FRAMES[:4], FIRST))
    first, second = theirs.track(FRAMES[:4], FIRST), theirs.track(FRAMES[::-1][:4], FIRST[:1])
    mixed = []
    for masks in first:
        mixed.append(masks)
        next(second)
    assert disagreement(mixed, alone) == 0


@needs_package
def test_half_precision_runs(weights: Weights) -> None:
    half = Placement("cpu", "bfloat16")
    tracker = Sam2Tracker(Sam2TrackerSettings(weights=weights.name, backend="sam2"), weights, half)
    assert all(0 < mask.mean() < 1 for masks in tracker.track(FRAMES[:4], FIRST) for mask in masks)
