"""From a file's own time stamps to frames at a constant rate.

Stamps may be missing, negative, repeated, run backwards or leap; clips have a constant rate. `Timeline` makes rising
times of any stamps, `resample` then shows at each tick of the constant rate the frame nearest to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import ceil

from av.video.frame import VideoFrame


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame and its time in seconds since the file's first frame.

    `joins` says that it follows the frame before without a break; `lost` that frames between were undecodable.
    """

    picture: VideoFrame
    seconds: Fraction
    joins: bool
    lost: bool = False


@dataclass(frozen=True)
class GridFrame:
    """A decoded frame and the numbers of the ticks that show it; other fields as in `TimedFrame`."""

    picture: VideoFrame
    ticks: range
    joins: bool
    lost: bool


class Timeline:
    """Places frames in time: seconds since the first frame, strictly rising.

    Args:
        step: seconds between frames where stamps are missing or wrong.
        max_gap: a longer leap is a break, not a frame that stands still.
        horizon: a leap beyond this time is taken for a broken stamp, and time simply goes on.
    """

    def __init__(self, step: Fraction, max_gap: Fraction, horizon: Fraction) -> None:
        self._step = step
        self._max_gap = max_gap
        self._horizon = horizon
        self._offset = Fraction(0)
        self._last: Fraction | None = None

    def place(self, stamp: Fraction | None) -> tuple[Fraction, bool]:
        """(seconds, whether it joins the one before) of the next frame, stamped `stamp` seconds or not at all."""
        seconds, joins = self._placed(stamp)
        self._last = seconds
        return seconds, joins

    def _placed(self, stamp: Fraction | None) -> tuple[Fraction, bool]:
        if self._last is None:
            self._offset = -stamp if stamp is not None else Fraction(0)
            return Fraction(0), False
        following = self._last + self._step
        if stamp is None:
            return following, True
        leap = stamp + self._offset - self._last
        if 0 < leap <= self._max_gap:
            return self._last + leap, True
        if leap > 0 and self._last + leap <= self._horizon:
            return self._last + leap, False
        self._offset = following - stamp
        return following, abs(leap) <= self._max_gap


def resample(frames: Iterable[TimedFrame], fps: Fraction, step: Fraction) -> Iterator[GridFrame]:
    """Frames at the ticks 0, 1/fps, 2/fps, … seconds: each tick shows the frame nearest in time.

    A frame nearest to no tick is left out, one nearest to several comes once with all of them. `step` is the usual time
    between frames: before and after a break a frame counts for half of it.
    """
    half_step = step / 2
    previous: TimedFrame | None = None
    next_tick = 0
    breaks = lost = False
    for current in chain(frames, (None,)):
        if previous is not None:
            if current is not None and current.joins:
                end = (previous.seconds + current.seconds) / 2
            else:
                end = previous.seconds + half_step
            breaks, lost = breaks or not previous.joins, lost or previous.lost
            if not previous.joins:
                next_tick = max(next_tick, ceil((previous.seconds - half_step) * fps))
            ticks = range(next_tick, max(next_tick, ceil(end * fps)))
            if ticks:
                yield GridFrame(previous.picture, ticks, not breaks, lost)
                next_tick = ticks.stop
                breaks = lost = False
        previous = current
