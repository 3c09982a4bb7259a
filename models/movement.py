"""How a thing moves against the background, told from the path of its centre: still, one way, and back, to and fro."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

Heading = Literal["left", "right", "up", "down", "up left", "up right", "down left", "down right"]
Axis = Literal["horizontal", "vertical"]
Speed = Literal["slowly", "quickly"]

Array = npt.NDArray[np.float64]

_HEADINGS: tuple[Heading, ...] = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
"""Clockwise from the right, in steps of 45 degrees; y grows downwards."""


@dataclass(frozen=True)
class Still:
    """The centre keeps its place."""


@dataclass(frozen=True)
class OneWay:
    """The centre ends clearly away from where it began, in one direction."""

    heading: Heading
    speed: Speed | None


@dataclass(frozen=True)
class ThereAndBack:
    """The centre goes one way along an axis, then a fair part of it back."""

    out: Heading
    back: Heading
    speed: Speed | None


@dataclass(frozen=True)
class ToAndFro:
    """The centre turns round at least twice along an axis."""

    axis: Axis
    speed: Speed | None


@dataclass(frozen=True)
class Roaming:
    """The centre moves, but ends near where it began, or keeps to no direction."""

    speed: Speed | None


Movement = Still | OneWay | ThereAndBack | ToAndFro | Roaming
Absence = Literal["between", "at the end"]


class MovementSettings(BaseModel, frozen=True, extra="forbid"):
    """When a path counts as movement. Distances are shares of the frame's longer side."""

    smoothing_seconds: float = Field(
        default=0.25, ge=0, le=2, description="Running median over the path: takes out jumps of the mask's outline."
    )
    still_extent: float = Field(
        default=0.03,
        gt=0,
        le=0.5,
        description="Paths within this diagonal are no movement: the centre of a good mask wanders by 1 to 2 %.",
    )
    swing_share: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="Least way back, as a share of the whole reach, to be called a turn: less is a wobble.",
    )
    straightness: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Least net way against the reach of the path to name a direction; a loop ends where it began.",
    )
    speed_seconds: float = Field(
        default=0.5, gt=0, description="Speed is the mean way made in this time; frame by frame it is mostly jitter."
    )
    slow: float = Field(default=0.06, ge=0, description="Speed per second up to which a movement is slow.")
    quick: float = Field(default=0.25, gt=0, description="Speed per second from which a movement is quick.")
    absent_share: float = Field(
        default=0.06,
        gt=0,
        le=1,
        description="Share of the frames without a mask, in one run, from which the thing counts as out of view.",
    )


def movement(
    path: npt.NDArray[np.float32], seconds: float, aspect: float, settings: MovementSettings
) -> Movement | None:
    """What the path tells, or None when it is visible in fewer than two frames or there is no time.

    `path` is (frames, 2): x and y as fractions of the frame relative to the background, NaN where unseen; `aspect` is
    the frame's width over its height.
    """
    seen = np.isfinite(path).all(axis=1)
    if np.count_nonzero(seen) < 2 or seconds <= 0:
        return None
    frame_seconds = seconds / len(path)
    times: Array = np.flatnonzero(seen).astype(np.float64) * frame_seconds
    points = path[seen].astype(np.float64) * (min(aspect, 1.0), min(1 / aspect, 1.0))
    points = _running_median(points, round(settings.smoothing_seconds / frame_seconds / 2))
    extent = np.ptp(points, axis=0)
    reach = float(np.hypot(*extent))
    if reach <= settings.still_extent:
        return Still()
    speed = _speed(points, times, settings)
    axis = int(np.argmax(extent))
    swings = _swings(points[:, axis], max(settings.swing_share * float(extent[axis]), settings.still_extent / 2))
    if len(swings) > 2:
        return ToAndFro("vertical" if axis else "horizontal", speed)
    if len(swings) == 2:
        out, back = (_heading(np.eye(2)[axis] * swing) for swing in swings)
        return ThereAndBack(out, back, speed)
    net = points[-1] - points[0]
    if float(np.hypot(*net)) < settings.straightness * reach:
        return Roaming(speed)
    return OneWay(_heading(net), speed)


def absence(path: npt.NDArray[np.float32], settings: MovementSettings) -> Absence | None:
    """Whether the thing is unseen for a while after its first appearance, and if it stays away until the end."""
    seen = np.flatnonzero(np.isfinite(path).all(axis=1))
    if not len(seen):
        return None
    least = settings.absent_share * len(path)
    if len(path) - 1 - seen[-1] >= max(1, least):
        return "at the end"
    return "between" if np.any(np.diff(seen) - 1 >= max(1, least)) else None


def _running_median(points: Array, radius: int) -> Array:
    if radius < 1:
        return points
    return np.array([np.median(points[max(0, i - radius) : i + radius + 1], axis=0) for i in range(len(points))])


def _speed(points: Array, times: Array, settings: MovementSettings) -> Speed | None:
    later = np.searchsorted(times, times + settings.speed_seconds)
    starts = np.flatnonzero(later < len(times))
    ends = later[starts]
    if not len(starts):
        starts, ends = np.array([0]), np.array([len(times) - 1])
    ways = np.linalg.norm(points[ends] - points[starts], axis=1)
    speed = float(np.mean(ways / (times[ends] - times[starts])))
    return "slowly" if speed <= settings.slow else "quickly" if speed >= settings.quick else None


def _swings(signal: Array, least: float) -> list[float]:
    """Signed lengths of the runs between turning points; ways back shorter than `least` are no turns."""
    swings: list[float] = []
    start = extreme = float(signal[0])
    direction = 0.0
    for value in map(float, signal[1:]):
        if direction == 0.0:
            if abs(value - start) >= least:
                direction, extreme = float(np.sign(value - start)), value
        elif direction * (value - extreme) > 0:
            extreme = value
        elif direction * (extreme - value) >= least:
            swings.append(extreme - start)
            start, extreme, direction = extreme, value, -direction
    return [*swings, extreme - start] if direction else swings


def _heading(way: Array) -> Heading:
    return _HEADINGS[round(float(np.arctan2(way[1], way[0])) / (np.pi / 4)) % 8]
