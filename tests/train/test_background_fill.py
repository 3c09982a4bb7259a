from __future__ import annotations

import numpy as np
from tiny_dataset import texture

from train.background_fill import fill_from_other_frames, inpaint_frames


def passing_object(frames: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(video, masks, truth): a disc crosses a texture that the camera pans over by 2 pixels a frame."""
    wide = texture(4, 120, 240)
    truth = np.stack([wide[:, 2 * index : 2 * index + 180] for index in range(frames)])
    rows, columns = np.mgrid[:120, :180]
    masks = np.stack([(rows - 60) ** 2 + (columns - 30 - 11 * index) ** 2 < 14**2 for index in range(frames)])
    video = truth.copy()
    video[masks] = (250, 20, 20)
    return video, masks, truth


def error(filled: np.ndarray, truth: np.ndarray, masks: np.ndarray) -> float:
    return float(np.abs(filled[masks].astype(int) - truth[masks]).mean())


def test_other_frames_show_what_inpainting_must_guess() -> None:
    video, masks, truth = passing_object()
    temporal, single = fill_from_other_frames(video, masks), inpaint_frames(video, masks)
    assert error(temporal, truth, masks) < 0.3 * error(single, truth, masks)
    assert error(single, truth, masks) < 0.5 * error(video, truth, masks)
    for filled in (temporal, single):
        assert np.array_equal(filled[~masks], video[~masks])


def test_what_no_frame_shows_is_inpainted() -> None:
    video, _, _ = passing_object(3)
    masks = np.zeros(video.shape[:3], np.bool_)
    masks[:, 50:70, 80:100] = True
    filled = fill_from_other_frames(video, masks)
    assert np.array_equal(filled[~masks], video[~masks])
    assert not np.array_equal(filled, video)


def test_a_picture_is_inpainted() -> None:
    video, masks, _ = passing_object(1)
    assert np.array_equal(fill_from_other_frames(video, masks), inpaint_frames(video, masks))


def test_a_still_camera_gives_the_background_itself() -> None:
    frames = 12
    background = texture(4, 120, 180)
    truth = np.repeat(background[None], frames, axis=0)
    rows, columns = np.mgrid[:120, :180]
    masks = np.stack([(rows - 60) ** 2 + (columns - 30 - 11 * index) ** 2 < 14**2 for index in range(frames)])
    video = truth.copy()
    video[masks] = 255
    assert error(fill_from_other_frames(video, masks), truth, masks) < 1


def test_what_the_mask_hides_has_no_part_in_the_result() -> None:
    """In an evaluation the hole holds the answer."""
    video, masks, _ = passing_object()
    other = video.copy()
    other[masks] = np.random.default_rng(0).integers(0, 256, (int(masks.sum()), 3), np.uint8)
    for fill in (fill_from_other_frames, inpaint_frames):
        assert np.array_equal(fill(video, masks), fill(other, masks))


def test_frames_without_a_mask_are_left_alone() -> None:
    video, masks, _ = passing_object()
    masks[3:] = False
    filled = fill_from_other_frames(video, masks)
    assert np.array_equal(filled[3:], video[3:])
    assert not np.array_equal(filled[0], video[0])
