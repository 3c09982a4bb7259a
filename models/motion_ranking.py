"""Named boxes in the order in which they are worth editing: the sure and moving ones first, each with a seed.

Where a thing moves on its own, the moving part of its box is a far better start for its mask than the box alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.border_cues import Map
from models.boxes import area, extent, iou, shared_area
from models.named_things import NamedThing
from models.protocols import Box


class RankingSettings(BaseModel, frozen=True, extra="forbid"):
    """What movement is worth, and how it becomes a seed. Lengths are pixels of the saliency map."""

    still_weight: float = Field(
        default=0.3, ge=0, le=1, description="factor on the score of what stands still; 1 ignores movement"
    )
    full_motion: float = Field(
        default=0.25, gt=0, le=1, description="mean motion saliency in a box from which a thing moves for certain"
    )
    min_motion: float = Field(
        default=0.08,
        gt=0,
        le=1,
        description="with less in its box a thing stands still and gets no seed: noise would be its shape",
    )
    min_rank: float = Field(
        default=0.06,
        ge=0,
        le=1,
        description="score × factor below which a thing is left out: still ones need 0.2, moving ones may be less sure",
    )
    inside: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="share of its box in a better one's from which a thing keeps the movement they have in common",
    )
    min_area: float = Field(default=0.002, ge=0, lt=1, description="smaller boxes are left out, share of the frame")
    level: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="seeds hold what moves more than this share of the strongest; lower spills over the outline",
    )
    smoothing: float = Field(default=2.0, gt=0, description="blur of the map before it is cut, px")
    closing: int = Field(default=7, ge=1, description="gaps up to this width in a seed are bridged, px")
    min_fill: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="a seed covering less of the thing's box is a hand or a leg and not used; whole things cover 0.4",
    )
    min_fit: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="a seed whose box fits the thing's less (IoU) is a moving part of it and not used",
    )


@dataclass(frozen=True, eq=False)
class RankedThing:
    """A thing and the moving part of its box, (H, W) bool at the map's size, None where it stands still."""

    thing: NamedThing
    seed: Mask | None


def rank_by_motion(
    things: Sequence[NamedThing], motion: Map, size: tuple[int, int], settings: RankingSettings
) -> list[RankedThing]:
    """The `things` of a frame of `size` (height, width) worth editing, best first.

    `motion` (h, w) in [0, 1] is the frame's motion saliency at a smaller size; all zeros (an image) leave the order of
    scores. A bed on which children jump does not move: what a better thing's box holds is not another's.
    """
    scale = motion.shape[1] / size[1]
    large = [thing for thing in things if area(thing.box) >= settings.min_area * size[0] * size[1]]
    rough = sorted(large, key=lambda thing: (-_rank(thing, _within(motion, thing.box, scale), settings), thing.box))
    ranked: list[tuple[float, RankedThing]] = []
    for index, thing in enumerate(rough):
        own = motion.copy()
        for better in rough[:index]:
            if shared_area(thing.box, better.box) < settings.inside * area(thing.box):
                _within(own, better.box, scale)[:] = 0
        rank = _rank(thing, _within(own, thing.box, scale), settings)
        if rank >= settings.min_rank:
            ranked.append((rank, RankedThing(thing, _seed(own, thing.box, scale, settings))))
    return [entry for _, entry in sorted(ranked, key=lambda pair: (-pair[0], pair[1].thing.box))]


def _within(values: Map, box: Box, scale: float) -> Map:
    """The part of a map that a box of the full frame covers, at least one pixel; a view, not a copy."""
    left, top = min(int(box[0] * scale), values.shape[1] - 1), min(int(box[1] * scale), values.shape[0] - 1)
    return values[top : max(top + 1, round(box[3] * scale)), left : max(left + 1, round(box[2] * scale))]


def _rank(thing: NamedThing, part: Map, settings: RankingSettings) -> float:
    moving = min(1.0, float(part.mean()) / settings.full_motion)
    return thing.score * (settings.still_weight + (1 - settings.still_weight) * moving)


def _seed(motion: Map, box: Box, scale: float, settings: RankingSettings) -> Mask | None:
    part = _within(motion, box, scale)
    if float(part.mean()) < settings.min_motion:
        return None
    alone = np.zeros_like(motion)
    inside = _within(alone, box, scale)
    inside[:] = part
    smooth = np.asarray(cv2.GaussianBlur(alone, (0, 0), settings.smoothing), np.float32)
    strongest = float(np.percentile(_within(smooth, box, scale), 95))
    bridge = cv2.getStructuringElement(cv2.MORPH_RECT, (settings.closing, settings.closing))
    cut = cv2.morphologyEx((smooth > settings.level * strongest).astype(np.uint8), cv2.MORPH_CLOSE, bridge)
    alone[:] = 0
    inside[:] = _within(np.asarray(cut, np.float32), box, scale)
    seed = np.asarray(alone > 0)
    if not seed.any() or np.count_nonzero(inside) < settings.min_fill * inside.size:
        return None
    left, top, right, bottom = (edge / scale for edge in extent(seed))
    return seed if iou(box, (left, top, right, bottom)) >= settings.min_fit else None
