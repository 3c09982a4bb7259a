from __future__ import annotations

from fractions import Fraction

import pytest

from stages.timeline import TimedFrame, Timeline, resample

TENTH = Fraction(1, 10)


def placed(stamps, max_gap=2, horizon=1000):
    timeline = Timeline(TENTH, Fraction(max_gap), Fraction(horizon))
    return [timeline.place(None if stamp is None else Fraction(stamp)) for stamp in stamps]


def seconds(stamps, **limits):
    return [float(second) for second, _ in placed(stamps, **limits)]


def joins(stamps, **limits):
    return [joined for _, joined in placed(stamps, **limits)]


@pytest.mark.parametrize("start", ["0", "-3", "26.5", "1e9"])
def test_time_counts_from_the_first_frame(start):
    stamps = [Fraction(start) + number * TENTH for number in range(4)]
    assert seconds(stamps) == [0, 0.1, 0.2, 0.3]
    assert joins(stamps) == [False, True, True, True]


def test_missing_stamps_are_one_step_apart():
    assert seconds([None] * 4) == [0, 0.1, 0.2, 0.3]
    assert seconds(["0", None, "0.2", None, "0.4"]) == [0, 0.1, 0.2, 0.3, 0.4]


def test_equal_stamps_are_one_step_apart():
    assert seconds(["5"] * 4) == [0, 0.1, 0.2, 0.3]
    assert all(joins(["5"] * 4)[1:])


def test_a_leap_ahead_is_kept_and_breaks():
    assert seconds(["0", "0.1", "30", "30.1"]) == [0, 0.1, 30, 30.1]
    assert joins(["0", "0.1", "30", "30.1"]) == [False, True, False, True]


def test_a_pause_within_the_limit_is_no_break():
    assert joins(["0", "0.1", "2", "2.1"]) == [False, True, True, True]


def test_a_leap_back_or_beyond_belief_goes_on_from_here():
    for leap in ("-50", "1e12"):
        later = Fraction(leap) + TENTH
        assert seconds(["0", "0.1", leap, later]) == pytest.approx([0, 0.1, 0.2, 0.3])
        assert joins(["0", "0.1", leap, later]) == [False, True, False, True]


def shown(times, fps, step=TENTH, breaks=()):
    """Which frame each tick shows."""
    frames = [
        TimedFrame(number, Fraction(time), number > 0 and number not in breaks) for number, time in enumerate(times)
    ]
    ticks = {}
    for frame in resample(frames, Fraction(fps), step):
        for tick in frame.ticks:
            assert tick not in ticks
            ticks[tick] = frame.picture
    return ticks


def test_equal_rates_keep_every_frame():
    fps = Fraction(30000, 1001)
    assert shown([number / fps for number in range(100)], fps, 1 / fps) == {number: number for number in range(100)}


def test_milliseconds_keep_every_frame():
    fps = Fraction(30000, 1001)
    times = [Fraction(round(number / fps * 1000), 1000) for number in range(300)]
    assert shown(times, fps, 1 / fps) == {number: number for number in range(300)}


def test_half_the_rate_keeps_every_other_frame():
    ticks = shown([Fraction(number, 60) for number in range(60)], 30, Fraction(1, 60))
    assert len(ticks) == 30
    assert all(abs(2 * tick - frame) <= 1 for tick, frame in ticks.items())


def test_twice_the_rate_repeats_frames():
    ticks = shown([Fraction(number, 10) for number in range(5)], 20)
    assert sorted(ticks) == list(range(9))
    assert all(abs(tick / 2 - frame) <= 0.5 for tick, frame in ticks.items())


def test_every_tick_shows_the_nearest_frame():
    times = [Fraction(t, 100) for t in (0, 3, 11, 12, 30, 31, 32, 55)]
    for tick, frame in shown(times, 10).items():
        nearest = min(abs(time - tick * TENTH) for time in times)
        assert abs(times[frame] - tick * TENTH) == nearest


def test_a_break_leaves_ticks_empty():
    assert shown([0, TENTH, 5, 5 + TENTH], 10, breaks=[2]) == {0: 0, 1: 1, 50: 2, 51: 3}


def test_a_break_at_a_frame_that_is_not_shown_is_passed_on():
    frames = [
        TimedFrame("a", Fraction(0), False),
        TimedFrame("b", Fraction(1, 100), False, lost=True),
        TimedFrame("c", TENTH, True),
    ]
    last = list(resample(frames, Fraction(10), TENTH))[-1]
    assert (last.picture, last.joins, last.lost) == ("c", False, True)


def test_nothing_gives_nothing():
    assert list(resample([], Fraction(10), TENTH)) == []
