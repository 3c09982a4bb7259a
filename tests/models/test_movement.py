"""Movement words against paths of known course."""

from __future__ import annotations

import numpy as np
import pytest

from models.movement import (
    MovementSettings,
    OneWay,
    Roaming,
    Still,
    ThereAndBack,
    ToAndFro,
    absence,
    movement,
)

SETTINGS = MovementSettings()
FRAMES = 72
SECONDS = 3.0


def told(x, y, seconds=SECONDS, aspect=1.0, jitter=0.0, **settings):
    path = np.stack(np.broadcast_arrays(x, y), axis=1).astype(np.float32)
    path += np.random.default_rng(4).normal(0, jitter, path.shape).astype(np.float32)
    return movement(path, seconds, aspect, MovementSettings(**settings))


def along(start, end, frames=FRAMES):
    return np.linspace(start, end, frames)


@pytest.mark.parametrize("jitter", [0.0, 0.005])
@pytest.mark.parametrize(
    ("way", "heading"),
    [
        ((1, 0), "right"),
        ((-1, 0), "left"),
        ((0, 1), "down"),
        ((0, -1), "up"),
        ((1, 1), "down right"),
        ((-1, 1), "down left"),
        ((1, -1), "up right"),
        ((-1, -1), "up left"),
    ],
)
def test_one_way_has_its_heading(way, heading, jitter):
    result = told(along(0.5, 0.5 + 0.3 * way[0]), along(0.5, 0.5 + 0.3 * way[1]), jitter=jitter)
    assert isinstance(result, OneWay)
    assert result.heading == heading


def test_heading_is_that_of_the_picture_not_of_fractions():
    # 0.1 of the width and 0.1 of the height: in a 4:1 frame that is nearly level.
    assert told(along(0.4, 0.5), along(0.4, 0.5), aspect=4.0) == OneWay("right", "slowly")
    assert told(along(0.4, 0.5), along(0.4, 0.5), aspect=0.25) == OneWay("down", "slowly")


def test_a_jittering_centre_is_still():
    assert told(np.full(FRAMES, 0.5), 0.5, jitter=0.006) == Still()


def test_speed_words():
    assert told(along(0.2, 0.35), 0.5) == OneWay("right", "slowly")
    assert told(along(0.2, 0.6), 0.5) == OneWay("right", None)
    assert told(along(0.1, 0.9), 0.5, seconds=1.0) == OneWay("right", "quickly")


def test_there_and_back_in_order():
    out_and_back = np.concatenate([along(0.3, 0.7, 36), along(0.7, 0.4, 36)])
    assert told(out_and_back, 0.5) == ThereAndBack("right", "left", None)
    assert told(0.5, 1 - out_and_back) == ThereAndBack("up", "down", None)


def test_a_short_way_back_is_no_turn():
    nearly = np.concatenate([along(0.2, 0.7, 60), along(0.7, 0.64, 12)])
    assert told(nearly, 0.5) == OneWay("right", None)


def test_to_and_fro_on_each_axis():
    wave = 0.5 + 0.2 * np.sin(along(0, 4 * np.pi))
    assert told(wave, 0.5, jitter=0.003) == ToAndFro("horizontal", "quickly")
    assert told(0.5, wave, jitter=0.003) == ToAndFro("vertical", "quickly")


def test_a_path_that_bends_back_on_the_other_axis_is_not_given_a_direction():
    x = np.concatenate([along(0.3, 0.5, 36), along(0.5, 0.5, 36)])
    y = np.concatenate([along(0.5, 0.3, 36), along(0.3, 0.5, 36)])
    assert isinstance(told(x, y, straightness=0.9), Roaming | ThereAndBack)


def test_unseen_frames_do_not_count():
    x = along(0.2, 0.6)
    x[20:30] = np.nan
    assert told(x, 0.5) == OneWay("right", None)


def test_nothing_is_told_without_time_or_with_one_point():
    assert told(np.array([0.2, 0.8]), 0.5, seconds=0.0) is None
    assert told(np.array([0.2, np.nan, np.nan]), 0.5) is None
    assert isinstance(told(np.array([0.2, 0.8]), 0.5), OneWay)


def test_absence_between_and_at_the_end():
    path = np.full((50, 2), 0.5, np.float32)
    assert absence(path, SETTINGS) is None
    path[20:22] = np.nan
    assert absence(path, SETTINGS) is None
    path[20:30] = np.nan
    assert absence(path, SETTINGS) == "between"
    path[45:] = np.nan
    assert absence(path, SETTINGS) == "at the end"
    assert absence(np.full((5, 2), np.nan, np.float32), SETTINGS) is None


def test_a_late_start_is_no_absence():
    path = np.full((50, 2), 0.5, np.float32)
    path[:20] = np.nan
    assert absence(path, SETTINGS) is None
