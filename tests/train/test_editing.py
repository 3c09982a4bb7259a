"""Long videos, keyframes and sizes: on a stand-in whose drawing is known, and on a tiny CogVideoX."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import media_files
import numpy as np
import pytest

pytest.importorskip("diffusers")
from tiny_models.cogvideox import inpaint_pipeline, small_clip

from train.editing import EditSettings, Fit, Span, edit_video, spans
from train.video_files import read_video, write_video

SETTINGS = EditSettings(height=64, width=96, frames=9, steps=2, guidance=1)


class StandIn:
    """Draws noise of its own over the whole frame, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
        self.drawn: list[np.ndarray] = []

    def __call__(self, pictures, masks, prompt, keyframe, *, generator, num_inference_steps, **options):
        self.shown.append((pictures, masks, keyframe))
        for step in range(num_inference_steps):
            options["callback_on_step_end"](self, step, 0, {})
        drawn = np.random.default_rng(generator.initial_seed() % 2**32).integers(0, 256, pictures.shape, np.uint8)
        self.drawn.append(drawn)
        return ((drawn.astype(np.float32) / 255)[None],)


def odd_clip(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The corner of a small clip, of any size up to 80×104."""
    frames, masks = small_clip(count, 80, 104)
    return np.ascontiguousarray(frames[:, :height, :width]), np.ascontiguousarray(masks[:, :height, :width])


def settings(**changes: object) -> EditSettings:
    return SETTINGS.model_copy(update=changes)


# --- windows ---


def test_windows_share_the_frame_they_are_chained_by() -> None:
    assert spans(20, 9, first_is_given=False) == [Span(0, 9, 0), Span(8, 17, 9), Span(16, 20, 17)]
    assert spans(9, 9, first_is_given=True) == [Span(0, 9, 1)]
    assert spans(10, 9, first_is_given=False)[-1] == Span(8, 10, 9)
    assert spans(1, 9, first_is_given=False) == [Span(0, 1, 0)]
    assert spans(3, 1, first_is_given=False) == [Span(0, 1, 0), Span(1, 2, 1), Span(2, 3, 2)]


@pytest.mark.parametrize("length", [1, 9, 17, 49])
@pytest.mark.parametrize("given", [False, True])
def test_every_frame_is_drawn_once(length: int, given: bool) -> None:
    for count in range(1, 200):
        windows = spans(count, length, first_is_given=given)
        drawn = [frame for span in windows for frame in range(span.new, span.end)]
        assert drawn == list(range(1 if given else 0, count))
        assert all(later.start == span.end - 1 == later.new - 1 for span, later in pairwise(windows)) or length == 1


def test_no_window_of_a_long_video_is_a_stub() -> None:
    assert [(span.start, span.end) for span in spans(50, 49, first_is_given=False)] == [(0, 25), (24, 50)]
    assert [(span.start, span.end) for span in spans(98, 49, first_is_given=False)] == [(0, 33), (32, 65), (64, 98)]
    for count in range(50, 500):
        lengths = [span.end - span.start for span in spans(count, 49, first_is_given=False)]
        assert len(lengths) == -(-(count - 1) // 48), "as few as can be"
        assert all(length % 8 == 1 for length in lengths[:-1])
        assert max(lengths) <= 49
        assert max(lengths) - min(lengths) <= 8
        assert min(lengths) > 49 // 3


def test_a_window_begins_with_the_last_frame_of_the_one_before() -> None:
    frames, masks = small_clip(20)
    editor = StandIn()
    edited = edit_video(editor, frames, masks, "a red ball", SETTINGS)
    assert [len(pictures) for pictures, _, _ in editor.shown] == [9, 9, 4]
    assert editor.shown[0][2] is None
    for number, shared in ((1, 8), (2, 16)):
        keyframe = editor.shown[number][2]
        assert keyframe is not None
        assert np.array_equal(keyframe, edited[shared]), "at the model's size the chained frame is the result's"
        assert np.array_equal(edited[shared][masks[shared]], editor.drawn[number - 1][8][masks[shared]])
    assert np.array_equal(edited[9][masks[9]], editor.drawn[1][1][masks[9]])
    assert not np.array_equal(editor.drawn[0], editor.drawn[1]), "windows have noise of their own"


def test_windows_without_a_mask_are_left_alone() -> None:
    frames, masks = small_clip(26)
    masks[:18] = False
    editor = StandIn()
    edited = edit_video(editor, frames, masks, "a red ball", SETTINGS)
    assert np.array_equal(edited[:18], frames[:18])
    assert len(editor.shown) == 2, "the windows 16–24 and 24–25"
    assert np.array_equal(editor.shown[0][2], frames[16])
    masks[:] = False
    masks[2] = True
    assert np.array_equal(edit_video(StandIn(), frames, masks, "a ball", SETTINGS)[9:], frames[9:])


def test_progress_moves_within_a_window_and_ends_whole() -> None:
    frames, masks = small_clip(20)
    masks[9:17] = False
    told: list[float] = []
    edit_video(StandIn(), frames, masks, "a ball", settings(steps=4), on_progress=told.append)
    assert told == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1])


# --- what must not change ---


@pytest.mark.parametrize("feather", [0, 4])
@pytest.mark.parametrize("size", [(64, 96), (50, 75), (121, 67), (300, 40)], ids=str)
def test_unmasked_pixels_are_the_original(size: tuple[int, int], feather: int) -> None:
    frames, _ = small_clip(12, 320, 320)
    frames = np.ascontiguousarray(frames[:, : size[0], : size[1]])
    masks = np.zeros(frames.shape[:3], np.bool_)
    masks[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = True
    edited = edit_video(StandIn(), frames, masks, "a ball", settings(feather=feather))
    assert edited.shape == frames.shape
    assert np.array_equal(edited[~masks], frames[~masks])
    assert np.mean(edited[masks] != frames[masks]) > 0.5


def test_the_feather_lies_inside_the_mask_and_shows_the_originals_rim() -> None:
    frames = np.full((1, 64, 96, 3), 255, np.uint8)
    masks = np.zeros((1, 64, 96), np.bool_)
    masks[0, 20:40, 20:60] = True

    def black(pictures: np.ndarray, *_: object, **options: object) -> tuple[np.ndarray]:
        return (np.zeros((1, *pictures.shape), np.float32),)

    hard, soft = (edit_video(black, frames, masks, "a", settings(feather=width))[0] for width in (0, 4))
    assert (hard[masks[0]] == 0).all()
    assert soft[20, 30, 0] == 204
    assert soft[30, 30, 0] == 0
    assert (soft[~masks[0]] == 255).all()


def test_without_restoring_the_models_background_is_seen() -> None:
    frames, masks = small_clip(9)
    editor = StandIn()
    edited = edit_video(editor, frames, masks, "a ball", settings(restore=False, feather=4))
    assert np.array_equal(edited, editor.drawn[0])


def test_what_was_drawn_is_shown_before_it_is_restored() -> None:
    frames, masks = small_clip(20)
    editor, told = StandIn(), {}
    edited = edit_video(editor, frames, masks, "a ball", SETTINGS, on_drawn=told.__setitem__)
    assert list(told) == [0, 9, 17], "each frame once"
    assert np.array_equal(told[0], editor.drawn[0])
    assert np.array_equal(told[9], editor.drawn[1][1:])
    assert np.array_equal(np.concatenate(list(told.values()))[masks], edited[masks])
    assert np.array_equal(edited[~masks], frames[~masks])


# --- keyframes ---


def test_the_keyframe_is_kept_exactly_and_only_inside_the_mask() -> None:
    frames, masks = odd_clip(12, 50, 75)
    keyframe = np.random.default_rng(5).integers(0, 256, frames.shape[1:], np.uint8)
    editor = StandIn()
    edited = edit_video(editor, frames, masks, "a ball", settings(feather=4), keyframe=keyframe)
    assert np.array_equal(edited[0][masks[0]], keyframe[masks[0]])
    assert np.array_equal(edited[~masks], frames[~masks])
    wanted = Fit(50, 75, (64, 96)).put(np.where(masks[0][..., None], keyframe, frames[0]))
    assert np.array_equal(editor.shown[0][2], wanted), "the model sees nothing of the keyframe outside the mask"


def test_a_keyframe_must_fit() -> None:
    frames, masks = small_clip(9)
    with pytest.raises(ValueError, match="does not fit frames"):
        edit_video(StandIn(), frames, masks, "a ball", SETTINGS, keyframe=frames[0, :32])
    masks[0] = False
    with pytest.raises(ValueError, match="empty in the first frame"):
        edit_video(StandIn(), frames, masks, "a ball", SETTINGS, keyframe=frames[0])


# --- input that does not fit ---


def test_what_does_not_fit_is_one_sentence() -> None:
    frames, masks = small_clip(9)
    with pytest.raises(ValueError, match="do not fit a video"):
        edit_video(StandIn(), frames, masks[:8], "a ball", SETTINGS)
    with pytest.raises(ValueError, match="the mask is empty in every frame"):
        edit_video(StandIn(), frames, np.zeros_like(masks), "a ball", SETTINGS)
    with pytest.raises(ValueError, match="8k \\+ 1 frames"):
        EditSettings(height=64, width=96, frames=10)


def test_frames_of_any_shape_lie_whole_in_the_models_picture() -> None:
    for height, width in ((64, 96), (50, 75), (200, 96), (3, 500), (720, 1280)):
        fit = Fit(height, width, (64, 96))
        grey = np.full((height, width, 3), 77, np.uint8)
        assert (fit.put(grey) == 77).all()
        assert fit.take(fit.put(grey)).shape == grey.shape
        mask = np.zeros((height, width), np.bool_)
        mask[height // 2, width // 2] = True
        assert fit.put_mask(mask).any(), "a mask of one pixel is not lost"
        inner = fit.inner
        assert not fit.put_mask(~mask)[inner[0] :].any()


# --- a real pipeline ---


def test_a_seed_makes_it_repeatable_and_another_one_differs(tmp_path: Path) -> None:
    frames, masks = odd_clip(14, 50, 75)
    editor = inpaint_pipeline()
    first, again, other = (edit_video(editor, frames, masks, "a red ball", SETTINGS, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first[~masks], frames[~masks])
    assert not np.array_equal(first[masks], frames[masks])


def test_a_lossless_file_keeps_unmasked_pixels(tmp_path: Path) -> None:
    frames, masks = odd_clip(9, 51, 75)
    edited = edit_video(inpaint_pipeline(), frames, masks, "a red ball", SETTINGS)
    source = tmp_path / "in.mkv"
    media_files.write_video(source, list(frames), codec="ffv1", pix_fmt="bgr0")
    write_video(tmp_path / "out.mkv", edited, read_video(source), lossless=True)
    stored = read_video(tmp_path / "out.mkv").frames
    assert np.array_equal(stored, edited)
    assert np.array_equal(stored[~masks], frames[~masks])


def test_a_prompt_over_the_limit_is_one_sentence() -> None:
    frames, masks = small_clip(9)
    with pytest.raises(ValueError, match=r"the prompt has .* tokens, and the model reads at most 16"):
        edit_video(inpaint_pipeline(), frames, masks, "a very long tale of a red ball", SETTINGS)
