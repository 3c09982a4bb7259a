"""The memory of SAM 2.1's sessions: bounded, and without any effect on the masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from sam2_clips import moving_discs
from tiny_models.sam2 import SIDE, tiny_model, tiny_weights
from torch import Tensor
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from models import sam2_memory
from models.placement import Placement
from models.sam2 import Pixels
from models.sam2_memory import MaskPromptedSam2, TransformersVideoModel, TransformersWalk, prune

CPU = Placement("cpu", "float32")
LONG = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> TransformersVideoModel:
    return TransformersVideoModel(tiny_weights(tmp_path_factory.mktemp("weights")), CPU)


@pytest.fixture(scope="module")
def pixels() -> list[Tensor]:
    frames, _ = moving_discs(LONG)
    prepare = Pixels(SIDE, CPU)
    return [prepare(frame) for frame in frames]


@dataclass(frozen=True)
class Walked:
    """Logits of two objects over the long clip, the sessions at its end, and what they held after each frame."""

    logits: list[Tensor]
    walk: TransformersWalk
    sizes: list[tuple[int, int]]


@pytest.fixture(scope="module")
def whole(video: TransformersVideoModel, pixels: list[Tensor]) -> Walked:
    walk = video.begin(LONG, prompts(), 16)
    logits, sizes = [], []
    for frame in pixels:
        logits.append(walk.step(frame))
        found = held(walk.sessions)
        sizes.append((len(found), sum(found.values())))
    return Walked(logits, walk, sizes)


@pytest.fixture(scope="module")
def kept(whole: Walked) -> list[Tensor]:
    return whole.logits


def prompts() -> list[Tensor]:
    squares = [torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)]
    squares[0][20:64, 12:36] = 1
    squares[1][70:104, 60:82] = 1
    return squares


def walked(video: TransformersVideoModel, pixels: Sequence[Tensor], at_once: int = 16) -> list[Tensor]:
    walk = video.begin(len(pixels), prompts(), at_once)
    return [walk.step(frame) for frame in pixels]


def session(pixels: Sequence[Tensor] | None) -> Sam2VideoInferenceSession:
    """A session as transformers makes it, with both prompts."""
    made = Sam2VideoInferenceSession(video=None if pixels is None else torch.stack(list(pixels)), dtype=torch.float32)
    for number, prompt in enumerate(prompts()):
        made.add_mask_inputs(made.obj_id_to_idx(number), 0, prompt[None, None])
    made.obj_with_new_inputs = [0, 1]
    return made


def preloaded(model: Sam2VideoModel, pixels: Sequence[Tensor]) -> list[Tensor]:
    return [step.pred_masks for step in model.propagate_in_video_iterator(session(pixels), start_frame_idx=0)]


def streamed(model: Sam2VideoModel, pixels: Sequence[Tensor]) -> list[Tensor]:
    begun = session(None)
    with torch.inference_mode():
        return [model(inference_session=begun, frame=frame).pred_masks for frame in pixels]


def equal(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def held(thing: Any) -> dict[int, int]:
    """Bytes of every tensor storage reachable from `thing`, by address."""
    if isinstance(thing, Tensor):
        return {thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()}
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    if hasattr(thing, "__dict__"):
        parts = vars(thing).values()
    return {address: size for part in parts for address, size in held(part).items()}


def test_the_masks_move_and_differ(kept: list[Tensor]) -> None:
    """Without this every other test here could pass on a constant."""
    tracked = torch.stack(kept[1:]) > 0
    assert all(0.02 < float(share) < 0.98 for share in tracked.float().mean(dim=(2, 3, 4)).flatten())
    assert all((now != then).any() for now, then in zip(tracked[1:], tracked[:-1], strict=True))
    assert (tracked[:, 0] != tracked[:, 1]).any()


def test_what_is_dropped_is_never_missed(
    video: TransformersVideoModel, pixels: list[Tensor], kept: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransformersWalk, "_prune", lambda *_: None)
    assert equal(walked(video, pixels), kept)


def test_dropping_one_frame_more_would_change_the_masks(
    video: TransformersVideoModel, pixels: list[Tensor], kept: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def eager(objects: Any, frame: int, memories: int, pointers: int) -> None:
        prune(objects, frame, memories, pointers - 1)

    monkeypatch.setattr(sam2_memory, "prune", eager)
    logits = walked(video, pixels[:18])
    assert equal(logits[:16], kept[:16])
    assert not equal(logits[16:], kept[16:18])

    def forgetful(objects: Any, frame: int, memories: int, pointers: int) -> None:
        prune(objects, frame, memories - 1, pointers)

    monkeypatch.setattr(sam2_memory, "prune", forgetful)
    with pytest.raises(KeyError, match="maskmem_features"):
        walked(video, pixels)


def test_memory_does_not_grow_with_the_clip(whole: Walked) -> None:
    assert whole.sizes[39] == whole.sizes[20] == whole.sizes[19]
    assert whole.sizes[3][1] < whole.sizes[20][1]
    session = whole.walk.sessions[0]
    entries = session.output_dict_per_obj[0]
    assert list(entries["cond_frame_outputs"]) == [0]
    assert list(entries["non_cond_frame_outputs"]) == list(range(25, 40))
    assert all(frame is None for frame in session.processed_frames.values())


def test_from_sixteen_frames_on_all_ways_to_feed_frames_are_equal(
    video: TransformersVideoModel, pixels: list[Tensor]
) -> None:
    expected = preloaded(video._model, pixels[:18])
    assert equal(walked(video, pixels[:18]), expected)
    assert equal(streamed(video._model, pixels[:18]), expected)


def test_a_shorter_clip_is_as_if_preloaded(video: TransformersVideoModel, pixels: list[Tensor]) -> None:
    expected = preloaded(video._model, pixels[:9])
    assert equal(walked(video, pixels[:9]), expected)
    assert not equal(streamed(video._model, pixels[:9]), expected)
    assert equal(walked(video, pixels[:1]), expected[:1])


def test_objects_in_several_sessions_are_as_in_one(
    video: TransformersVideoModel, pixels: list[Tensor], kept: list[Tensor]
) -> None:
    apart = walked(video, pixels[:18], at_once=1)
    for one, other in zip(apart, kept[:18], strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0)
        assert ((one > 0) != (other > 0)).float().mean() < 2e-3
    torch.testing.assert_close(apart[1], kept[1], atol=1e-4, rtol=0)


def test_sessions_share_the_features_of_a_frame(
    video: TransformersVideoModel, pixels: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = video._model.get_image_features
    calls = []
    monkeypatch.setattr(video._model, "get_image_features", lambda *a, **k: calls.append(1) or embed(*a, **k))
    walk = video.begin(3, prompts(), 1)
    assert len(walk.sessions) == 2
    for frame in pixels[:3]:
        walk.step(frame)
    assert len(calls) == 3


def test_a_mask_prompt_points_with_the_single_mask(pixels: list[Tensor]) -> None:
    """Where transformers takes another token than Meta's package, the first pointer is not the same."""
    plain = tiny_model()
    ours = MaskPromptedSam2(plain.config).eval()
    ours.load_state_dict(plain.state_dict())
    pointers = []
    for model in (plain, ours):
        begun = session(pixels[:1])
        with torch.inference_mode():
            model(begun, frame_idx=0)
        pointers.append(begun.output_dict_per_obj[0]["cond_frame_outputs"][0]["object_pointer"])
    assert not torch.equal(*pointers)


def test_prune_keeps_what_the_next_frame_reads() -> None:
    def entry() -> dict[str, int]:
        return {"maskmem_features": 1, "maskmem_pos_enc": 1, "pred_masks": 1, "high_res_masks": 1, "object_pointer": 1}

    outputs = {"cond_frame_outputs": {0: entry()}, "non_cond_frame_outputs": {}}
    prune([outputs], 0, 4, 6)
    for frame in range(1, 11):
        outputs["non_cond_frame_outputs"][frame] = entry()
        prune([outputs], frame, 4, 6)
    tracked = outputs["non_cond_frame_outputs"]
    assert list(tracked) == [6, 7, 8, 9, 10]
    assert [frame for frame in tracked if "maskmem_features" in tracked[frame]] == [8, 9, 10]
    assert all("object_pointer" in tracked[frame] and "high_res_masks" not in tracked[frame] for frame in tracked)
    assert set(outputs["cond_frame_outputs"][0]) == entry().keys() - {"high_res_masks"}
