from __future__ import annotations

import cv2
import numpy as np
import pytest
from media_files import moving_frames

from stages.media import decode_clip
from stages.scenes import SceneCutter, SceneSettings


def cuts(frames, settings=None):
    """Numbers of the frames that begin a new scene, and how many answers came in all."""
    cutter = SceneCutter(settings or SceneSettings())
    answers = [cutter.push(frame) for frame in frames]
    assert not any(answers[: cutter.delay])
    answers = answers[cutter.delay :] + cutter.finish()
    return [number for number, answer in enumerate(answers) if answer], len(answers)


@pytest.mark.parametrize("lengths", [[30], [20, 25], [10, 3, 15], [7, 7, 7, 7]])
def test_hard_cuts_are_found_exactly(lengths):
    frames = [frame for seed, length in enumerate(lengths) for frame in moving_frames(length, seed)]
    found, answers = cuts(frames)
    assert found == list(np.cumsum(lengths)[:-1])
    assert answers == len(frames)


@pytest.mark.parametrize(("first", "second"), [(1, 20), (2, 20), (20, 1), (20, 2)])
def test_cuts_next_to_the_ends_are_found(first, second):
    assert cuts(moving_frames(first, 0) + moving_frames(second, 1))[0] == [first]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_one_answer_per_frame_however_few(count):
    assert cuts(moving_frames(count)) == ([], count)


def test_fast_camera_motion_is_no_cut():
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (6, 40, 3), dtype=np.uint8), (1400, 96), interpolation=cv2.INTER_CUBIC)
    assert cuts([texture[:, 30 * n : 30 * n + 128] for n in range(40)])[0] == []


def test_a_frozen_picture_and_slow_change_are_no_cuts():
    frame = moving_frames(1)[0]
    assert cuts([frame] * 20)[0] == []
    assert cuts([cv2.convertScaleAbs(frame, alpha=1 - 0.04 * n) for n in range(25)])[0] == []


def test_threshold_decides():
    frame = np.full((64, 96, 3), 100, np.uint8)
    brighter = [frame] * 10 + [frame + 30] * 10
    assert cuts(brighter, SceneSettings(min_change=20))[0] == []
    assert cuts(brighter, SceneSettings(min_change=5))[0] == [10]


def test_window_is_the_delay():
    cutter = SceneCutter(SceneSettings(window=4))
    frames = moving_frames(12, 0) + moving_frames(12, 1)
    assert [number for number, frame in enumerate(frames) if cutter.push(frame)] == [16]
    assert cutter.delay == 4


def test_real_scenes_are_whole_and_joins_of_them_are_cut(shared_data):
    clips = [
        decode_clip((shared_data / "clips" / name).read_bytes(), long_side=256, indices=range(60))
        for name in ("01_dog.mp4", "05_default_juggle.mp4", "bedroom.mp4")
    ]
    assert cuts([frame for clip in clips for frame in clip])[0] == [60, 120]
