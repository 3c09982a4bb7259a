"""Mask propagation with SAM 2.1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from sam2_clips import SIZE, disagreement, moving_discs
from tiny_models.sam2 import tiny_weights
from torch import Tensor

from manifests.masks import Mask
from models.placement import Placement
from models.protocols import Image, ModelInfo
from models.registry import model_class
from models.sam2_memory import VideoModel, Walk
from models.sam2_tracker import Sam2Tracker, Sam2TrackerSettings
from models.weights import Weights

CPU = Placement("cpu", "float32")
FRAMES, FIRST = moving_discs(8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def tracker(weights: Weights) -> Sam2Tracker:
    return Sam2Tracker(Sam2TrackerSettings(weights=weights.name), weights, CPU)


@pytest.fixture(scope="module")
def tracked(tracker: Sam2Tracker) -> list[list[Mask]]:
    return list(tracker.track(FRAMES, FIRST))


def of(tracked: Sequence[Sequence[Mask]], number: int) -> list[list[Mask]]:
    return [[masks[number]] for masks in tracked]


class Cramped:
    """A video model with memory for a few objects only: it runs out at a frame in the middle of the clip."""

    def __init__(self, model: VideoModel, room: int, frame: int) -> None:
        self.side = model.side
        self.attempts: list[int] = []
        self._model, self._room, self._frame = model, room, frame

    def begin(self, frame_count: int, prompts: Sequence[Tensor], at_once: int) -> Walk:
        self.attempts.append(at_once)
        walk = self._model.begin(frame_count, prompts, at_once)
        return walk if at_once <= self._room else CrampedWalk(walk, self._frame)


class CrampedWalk:
    def __init__(self, walk: Walk, frame: int) -> None:
        self._walk, self._left = walk, frame

    def step(self, pixels: Tensor) -> Tensor:
        if self._left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self._left -= 1
        return self._walk.step(pixels)


def cramped(tracker: Sam2Tracker, monkeypatch: pytest.MonkeyPatch, room: int, frame: int) -> Cramped:
    model = Cramped(tracker._model, room, frame)
    monkeypatch.setattr(tracker, "_model", model)
    monkeypatch.setattr(tracker, "_at_once", 16)
    return model


def test_the_registry_names_it() -> None:
    assert model_class("sam2_tracker") is Sam2Tracker


def test_every_frame_has_a_mask_of_its_size_per_object(tracked: list[list[Mask]]) -> None:
    assert len(tracked) == len(FRAMES)
    assert {(len(masks), mask.shape, mask.dtype) for masks in tracked for mask in masks} == {(2, SIZE, np.dtype(bool))}
    for number in range(2):
        masks = [masks[number] for masks in tracked]
        assert all(0 < mask.mean() < 1 for mask in masks)
        assert len({mask.tobytes() for mask in masks}) == len(FRAMES)
    assert (tracked[1][0] != tracked[1][1]).any()


def test_the_first_masks_come_back_as_copies(tracked: list[list[Mask]]) -> None:
    for given, returned in zip(FIRST, tracked[0], strict=True):
        np.testing.assert_array_equal(given, returned)
        assert returned is not given


def test_it_says_which_weights_it_has(tracker: Sam2Tracker, weights: Weights) -> None:
    assert tracker.info == ModelInfo("sam2", weights.revision)


def test_the_same_clip_gives_the_same_masks(tracker: Sam2Tracker, tracked: list[list[Mask]]) -> None:
    assert disagreement(list(tracker.track(FRAMES, FIRST)), tracked) == 0


def test_objects_do_not_touch_one_another(tracker: Sam2Tracker, tracked: list[list[Mask]]) -> None:
    for number in range(2):
        alone = list(tracker.track(FRAMES, [FIRST[number]]))
        assert disagreement(alone, of(tracked, number)) < 2e-3


def test_more_objects_than_a_session_takes(tracked: list[list[Mask]], weights: Weights) -> None:
    one_each = Sam2Tracker(Sam2TrackerSettings(weights=weights.name, batch=1), weights, CPU)
    assert disagreement(list(one_each.track(FRAMES, FIRST)), tracked) < 2e-3


def test_an_empty_object_stays_empty(tracker: Sam2Tracker, tracked: list[list[Mask]]) -> None:
    nothing = np.zeros(SIZE, bool)
    with_empty = list(tracker.track(FRAMES, [nothing, FIRST[0], nothing, FIRST[1]]))
    assert not any(masks[0].any() or masks[2].any() for masks in with_empty)
    assert disagreement([[masks[1], masks[3]] for masks in with_empty], tracked) == 0
    assert not any(masks[0].any() for masks in tracker.track(FRAMES, [nothing]))
    assert [len(masks) for masks in tracker.track(FRAMES, [])] == [0] * len(FRAMES)


def test_an_object_too_small_for_the_square_is_lost_at_once(tracker: Sam2Tracker) -> None:
    frames = [np.zeros((600, 800, 3), np.uint8)] * 2
    speck = np.zeros((600, 800), bool)
    speck[300, 400] = True
    first, second = tracker.track(frames, [speck])
    assert first[0].sum() == 1
    assert not second[0].any()


def test_a_clip_of_one_frame(tracker: Sam2Tracker) -> None:
    ((mask, other),) = tracker.track(FRAMES[:1], FIRST)
    np.testing.assert_array_equal(mask, FIRST[0])
    np.testing.assert_array_equal(other, FIRST[1])


def test_frames_are_read_as_they_are_asked_for(tracker: Sam2Tracker) -> None:
    read: list[int] = []

    class Frames(list[Image]):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    steps = tracker.track(Frames(FRAMES), FIRST)
    for expected in (0, 1, 2):
        next(steps)
        assert max(read) == expected


def test_frames_in_reverse_are_taken(tracker: Sam2Tracker, tracked: list[list[Mask]]) -> None:
    """The way back of the cycle check, with views that no tensor can share."""
    back = [frame[::-1, ::-1] for frame in FRAMES[::-3]]
    masks = list(tracker.track(back, [mask[::-1, ::-1] for mask in tracked[-1]]))
    assert disagreement(masks, list(tracker.track([frame.copy() for frame in back], masks[0]))) == 0


def test_work_between_frames_may_need_gradients(tracker: Sam2Tracker) -> None:
    for _ in tracker.track(FRAMES[:2], FIRST):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(("room", "frame", "attempts"), [(1, 0, [16, 1]), (1, 3, [16, 1])])
def test_memory_that_runs_out_halves_what_goes_together(
    tracker: Sam2Tracker,
    tracked: list[list[Mask]],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    frame: int,
    attempts: list[int],
) -> None:
    model = cramped(tracker, monkeypatch, room, frame)
    assert disagreement(list(tracker.track(FRAMES, FIRST)), tracked) < 2e-3
    assert model.attempts == attempts
    list(tracker.track(FRAMES[:2], FIRST))
    assert model.attempts == [*attempts, 1], "the size that worked is kept"


def test_memory_that_does_not_suffice_for_one_object_is_an_error(
    tracker: Sam2Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cramped(tracker, monkeypatch, 0, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(tracker.track(FRAMES, FIRST))
    assert model.attempts == [16, 1]


def test_what_does_not_fit_is_refused(tracker: Sam2Tracker) -> None:
    with pytest.raises(ValueError, match=r"nothing to track in a clip of 0 frames"):
        next(tracker.track([], FIRST))
    with pytest.raises(ValueError, match=r"a mask of \(4, 4\) does not fit frames of \(90, 160\)"):
        next(tracker.track(FRAMES, [np.ones((4, 4), bool)]))
    with pytest.raises(ValueError, match=r"frame 1 is of \(80, 160\), the frames before it of \(90, 160\)"):
        list(tracker.track([FRAMES[0], FRAMES[1][:80]], FIRST))


def test_half_precision_runs(weights: Weights) -> None:
    half = Sam2Tracker(Sam2TrackerSettings(weights=weights.name), weights, Placement("cpu", "bfloat16"))
    masks = list(half.track(FRAMES[:4], FIRST))
    assert all(0 < mask.mean() < 1 for step in masks for mask in step)
