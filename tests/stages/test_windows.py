from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.windows import ClipShape, Window, WindowSettings, choose_window, fixed_windows, frame_numbers, last_start

CLIP = ClipShape("0123456789abcdef", "video", 1280, 720, 30.0, 150)
IMAGE = ClipShape("0123456789abcdef", "image", 900, 1200, None, 1)


def boxes_of(frames: int, seen: range, box: tuple[int, int, int, int] = (100, 100, 200, 180)) -> Any:
    boxes = np.zeros((frames, 4), np.int64)
    boxes[list(seen)] = box
    return boxes


def test_native_rate_takes_consecutive_frames() -> None:
    assert frame_numbers(CLIP, WindowSettings(), 7) == tuple(range(7, 56))
    assert last_start(CLIP, WindowSettings()) == 101


def test_a_lower_rate_skips_frames() -> None:
    settings = WindowSettings(frames=9, fps=10)
    assert frame_numbers(CLIP, settings, 4) == (4, 7, 10, 13, 16, 19, 22, 25, 28)
    assert last_start(CLIP, settings) == 125


def test_a_short_clip_is_played_back_and_forth() -> None:
    short = ClipShape("a" * 16, "video", 64, 64, 12.0, 4)
    assert frame_numbers(short, WindowSettings(frames=9), 0) == (0, 1, 2, 3, 2, 1, 0, 1, 2)
    assert last_start(short, WindowSettings(frames=9)) == 0


def test_an_image_has_one_frame() -> None:
    window = choose_window(IMAGE, boxes_of(1, range(1)), WindowSettings(), 0, "k")
    assert window.indices == (0,)
    assert window.scale == pytest.approx(0.8)


@pytest.mark.parametrize("seen", [range(3), range(140, 150), range(60, 90), range(150)])
def test_the_mask_is_seen_in_the_window(seen: range) -> None:
    boxes = boxes_of(150, seen)
    starts = set()
    for key in "abcdefgh":
        window = choose_window(CLIP, boxes, WindowSettings(), 0, key)
        visible = sum(index in seen for index in window.indices)
        assert visible >= min(len(seen), 25)
        starts.add(window.indices[0])
    assert len(starts) > 1 or len(seen) <= 10


@given(
    st.integers(64, 2000), st.integers(64, 2000), st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.text()
)
def test_the_crop_lies_in_the_frame_and_shows_the_box(
    width: int, height: int, left: int, top: int, size: int, key: str
) -> None:
    clip = ClipShape("a" * 16, "video", width, height, 24.0, 10)
    x, y = left * (width - 2) // 100, top * (height - 2) // 100
    box = (x, y, min(width, x + size), min(height, y + size))
    settings = WindowSettings(height=32, width=48, frames=9)
    window = choose_window(clip, boxes_of(10, range(10), box), settings, 0, key)
    span_x, span_y = window.width / window.scale, window.height / window.scale
    assert 0 <= window.x0 <= width - span_x + 1e-6
    assert 0 <= window.y0 <= height - span_y + 1e-6
    # The middle of the box is inside, and the frame is filled in one direction.
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    assert window.x0 - 1e-6 <= middle_x <= window.x0 + span_x + 1e-6
    assert window.y0 - 1e-6 <= middle_y <= window.y0 + span_y + 1e-6
    assert min(width - span_x, height - span_y) == pytest.approx(0, abs=1e-6)


def test_pixels_and_masks_are_cut_alike() -> None:
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[300:420, 500:640] = 255
    mask = frame[..., 0] > 0
    window = choose_window(CLIP, boxes_of(150, range(150), (500, 300, 640, 420)), WindowSettings(), 0, "k")
    pixels, cut = window.cut(frame), window.cut_mask(mask)
    assert pixels.shape == (480, 720, 3)
    assert cut.shape == (480, 720)
    assert np.mean((pixels[..., 0] > 127) == cut) > 0.999
    assert cut.sum() == pytest.approx(140 * 120 * window.scale**2, rel=0.02)


def cut_whole(window: Window, mask: np.ndarray) -> np.ndarray:
    """`cut_mask` by its definition: the whole crop is resized."""
    left, top = round(window.x0), round(window.y0)
    right, bottom = (start + math.ceil(size / window.scale - 1e-6) for start, size in ((left, 720), (top, 480)))
    levels = np.ascontiguousarray(mask[top:bottom, left:right]).view(np.uint8) * np.uint8(255)
    covered = cv2.resize(levels, (720, 480), interpolation=cv2.INTER_AREA if window.scale < 1 else cv2.INTER_LINEAR)
    return covered >= 128 if (covered >= 128).any() else covered > 0


@pytest.mark.parametrize(
    "size",
    [(720, 1280), (1080, 1920), (1440, 2560), (540, 960), (720, 960), (1200, 900), (677, 1024), (480, 854), (400, 600)],
)
def test_a_mask_is_cut_as_if_the_whole_frame_were_resized(size: tuple[int, int]) -> None:
    """Also where pixels are exactly half covered (4 : 3) and where sizes have no common steps."""
    rng = np.random.default_rng(0)
    height, width = size
    scale = max(720 / width, 480 / height)
    for side in (0, 1, 5, 60, 250, 390):
        mask = np.zeros(size, np.bool_)
        y, x = rng.integers(0, height - side), rng.integers(0, width - side)
        mask[y : y + side, x : x + side] = rng.random((side, side)) < 0.5
        x0, y0 = rng.random(2) * (width - 720 / scale, height - 480 / scale)
        window = Window((0,), max(0.0, x0), max(0.0, y0), scale, 720, 480)
        np.testing.assert_array_equal(window.cut_mask(mask), cut_whole(window, mask))


def test_a_speck_does_not_vanish() -> None:
    mask = np.zeros((720, 1280), np.bool_)
    mask[400, 640] = True
    window = choose_window(CLIP, boxes_of(150, range(150), (640, 400, 641, 401)), WindowSettings(), 0, "k")
    assert window.cut_mask(mask).any()


def test_fixed_windows_belong_to_the_clip() -> None:
    settings = WindowSettings(fixed=3)
    own = fixed_windows(CLIP, settings, 0)
    assert len(set(own)) == 3
    assert own == fixed_windows(CLIP, settings, 0)
    chosen = {
        choose_window(CLIP, boxes_of(150, range(150), (560, 300, 700, 420)), settings, 0, key) for key in "abcdefgh"
    }
    assert chosen <= set(own)
    assert len(chosen) > 1


def test_a_mask_that_no_fixed_window_shows_gets_its_own() -> None:
    settings = WindowSettings(fixed=1)
    (own,) = fixed_windows(CLIP, settings, 0)
    unseen = [frame for frame in range(150) if frame not in own.indices]
    boxes = boxes_of(150, range(unseen[0], unseen[0] + 1))
    window = choose_window(CLIP, boxes, settings, 0, "k")
    assert window != own
    assert unseen[0] in window.indices


def test_an_empty_track_is_refused() -> None:
    with pytest.raises(ValueError, match="empty in every frame"):
        choose_window(CLIP, np.zeros((150, 4), np.int64), WindowSettings(), 0, "k")


def test_window_sizes_are_checked() -> None:
    with pytest.raises(ValidationError, match="8k \\+ 1 frames"):
        WindowSettings(frames=16)
    with pytest.raises(ValidationError):
        WindowSettings(height=100)
