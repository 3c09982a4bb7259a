"""Boxes with a score for every name: the same thing followed through the first frames, and riders with their mounts.

A small network takes a dog for a sheep in one frame and for a dog in the next ones; the mean over frames decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, PositiveInt

from models.boxes import area, iou, shared_area
from models.coco import COCO_NAMES, RIDDEN, RIDER
from models.protocols import Box


@dataclass(frozen=True, eq=False)
class NamedThing:
    """A box x0, y0, x1, y1 (pixels, end exclusive) and `scores` (80,) float32 in [0, 1], one per COCO name."""

    box: Box
    scores: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        """The likeliest name."""
        return COCO_NAMES[int(self.scores.argmax())]

    @property
    def score(self) -> float:
        """How sure that name is."""
        return float(self.scores.max())


class FollowingSettings(BaseModel, frozen=True, extra="forbid"):
    """Which later frames have a say in the name of a thing in the first."""

    frames: tuple[PositiveInt, ...] = Field(
        default=(2, 4, 7, 10),
        description="frames looked at besides the first, rising; each costs one pass of the network and steadies names",
    )
    min_iou: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="boxes of consecutive looks overlapping less (IoU) are different things; higher loses fast ones",
    )


class RidingSettings(BaseModel, frozen=True, extra="forbid"):
    """When a person rides what is under them."""

    min_overlap: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="shared area of the two boxes, share of the smaller; lower makes riders of those who stand beside",
    )


def named_over_frames(looks: Sequence[Sequence[NamedThing]], settings: FollowingSettings) -> list[NamedThing]:
    """The things of looks[0] with their mean scores over all looks; a look that shows nothing there counts as 0."""
    boxes = [thing.box for thing in looks[0]]
    totals = [thing.scores.copy() for thing in looks[0]]
    for look in looks[1:]:
        for index, seen in _pairs(boxes, look, settings.min_iou):
            boxes[index] = seen.box
            totals[index] += seen.scores
    return [
        NamedThing(thing.box, total / np.float32(len(looks))) for thing, total in zip(looks[0], totals, strict=True)
    ]


def _pairs(boxes: Sequence[Box], look: Sequence[NamedThing], least: float) -> list[tuple[int, NamedThing]]:
    """Which box is seen as which thing, the closest pairs first; no box and no thing stands in two pairs."""
    overlaps = [
        (iou(box, seen.box), index, other) for index, box in enumerate(boxes) for other, seen in enumerate(look)
    ]
    taken_boxes: set[int] = set()
    taken_things: set[int] = set()
    pairs = []
    for value, index, other in sorted(overlaps, key=lambda overlap: (-overlap[0], overlap[1:])):
        if value >= least and index not in taken_boxes and other not in taken_things:
            taken_boxes.add(index)
            taken_things.add(other)
            pairs.append((index, look[other]))
    return pairs


def with_riders(things: Sequence[NamedThing], settings: RidingSettings) -> list[NamedThing]:
    """`things` with each rider and mount made one, in the mount's place.

    The one with the larger box names the two: most of the mask is its, so what a caption says of colour and shape is
    true of that name ("a brown horse", but "a person in red tones" on a bicycle).
    """
    riders_of: dict[int, list[int]] = {}
    for number, rider in enumerate(things):
        mounts = [index for index, mount in enumerate(things) if _rides(rider, mount, settings)]
        if mounts:
            nearest = max(mounts, key=lambda index: (_overlap(rider.box, things[index].box), -index))
            riders_of.setdefault(nearest, []).append(number)
    riding = {rider for riders in riders_of.values() for rider in riders}
    return [
        _as_one([thing, *(things[rider] for rider in riders_of.get(index, []))])
        for index, thing in enumerate(things)
        if index not in riding
    ]


def _rides(rider: NamedThing, mount: NamedThing, settings: RidingSettings) -> bool:
    if rider.name != RIDER or mount.name not in RIDDEN:
        return False
    narrow, wide = sorted((rider.box, mount.box), key=lambda box: box[2] - box[0])
    above = wide[0] <= (narrow[0] + narrow[2]) / 2 <= wide[2]
    return above and _overlap(rider.box, mount.box) >= settings.min_overlap


def _as_one(things: Sequence[NamedThing]) -> NamedThing:
    if len(things) == 1:
        return things[0]
    left, top, right, bottom = np.array([thing.box for thing in things]).T
    box = (float(left.min()), float(top.min()), float(right.max()), float(bottom.max()))
    return NamedThing(box, max(things, key=lambda thing: area(thing.box)).scores)


def _overlap(first: Box, second: Box) -> float:
    smaller = min(area(first), area(second))
    return shared_area(first, second) / smaller if smaller > 0 else 0.0
