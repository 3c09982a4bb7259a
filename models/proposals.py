"""Regions of a saliency map that may be one thing each: connected areas at several thresholds, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask


class ProposalSettings(BaseModel, frozen=True, extra="forbid"):
    """What may be an entity. Lengths are pixels of the work copy, areas shares of the frame."""

    levels: tuple[float, ...] = Field(
        default=(0.2, 0.3, 0.4, 0.5, 0.6, 0.75),
        min_length=1,
        description="saliency thresholds (share of the peak); low ones find whole things, high ones split them",
    )
    smoothing: float = Field(
        default=2.0, gt=0, description="blur of the map before it is cut, px; too little leaves specks"
    )
    closing: int = Field(default=7, ge=1, description="gaps up to this width inside a region are bridged, px")
    ring: int = Field(default=10, ge=1, description="width of the surroundings a region is compared with, px")
    min_area: float = Field(default=0.002, gt=0, lt=1, description="smaller regions are noise or too small to edit")
    max_area: float = Field(default=0.6, gt=0, le=1, description="larger regions are the scene, not a thing in it")
    min_contrast: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="mean saliency inside less that around; weaker regions are ripples, shadows, parallax or grain",
    )
    full_area: float = Field(
        default=0.2, gt=0, le=1, description="regions below this area lose score; above it larger is not better"
    )
    area_power: float = Field(
        default=0.6, ge=0, le=2, description="how fast they lose it: score × (area / full_area) ^ power"
    )
    centre_penalty: float = Field(
        default=0.6, ge=0, le=1, description="score lost per frame side of distance from the centre"
    )
    edge_penalty: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="score factor for each frame edge the region touches; such things are cut off",
    )
    split_gain: float = Field(
        default=1.1,
        gt=0,
        description="parts scoring above this multiple of the whole together are separate things; lower cuts things up",
    )
    split_share: float = Field(
        default=0.4, gt=0, le=1, description="share of the whole's score a part needs to count as a thing of its own"
    )
    max_box_iou: float = Field(
        default=0.7, gt=0, le=1, description="a region whose box overlaps a better one's more is dropped"
    )
    max_overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="sharing more of the smaller one's area with a better region makes both the same thing",
    )


@dataclass(frozen=True)
class Proposal:
    """A region (H, W) bool, its box x0, y0, x1, y1 (end exclusive, pixels) and its score in [0, 1]."""

    mask: Mask
    box: tuple[int, int, int, int]
    score: float


def propose(saliency: npt.NDArray[np.float32], settings: ProposalSettings, count: int) -> list[Proposal]:
    """Up to `count` regions of a saliency map (H, W) float32 in [0, 1], best first, no two of the same thing."""
    kept: list[Proposal] = []
    candidates = _without_groups(_candidates(saliency, settings), settings)
    for candidate in sorted(candidates, key=lambda proposal: (-proposal.score, proposal.box)):
        if not any(_same_thing(candidate, better, settings) for better in kept):
            kept.append(candidate)
        if len(kept) == count:
            break
    return kept


def _without_groups(candidates: Sequence[Proposal], settings: ProposalSettings) -> list[Proposal]:
    """The candidates that are not two or more things run together at a low threshold."""
    by_area = sorted(candidates, key=lambda proposal: (int(np.count_nonzero(proposal.mask)), proposal.box))
    best_parts: list[list[Proposal]] = []
    single: list[Proposal] = []
    for index, whole in enumerate(by_area):
        inner = [other for other in range(index) if _within(by_area[other], whole)]
        outermost = [part for part in inner if not any(_within(by_area[part], by_area[o]) for o in inner if o > part)]
        enough = settings.split_share * whole.score
        parts = [part for other in outermost for part in best_parts[other] if part.score >= enough]
        is_group = len(parts) >= 2 and sum(part.score for part in parts) > settings.split_gain * whole.score
        is_worse = len(parts) == 1 and parts[0].score > whole.score
        best_parts.append(parts if is_group or is_worse else [whole])
        if not is_group:
            single.append(whole)
    return single


def _within(part: Proposal, whole: Proposal) -> bool:
    area = int(np.count_nonzero(part.mask))
    # Bridged gaps may differ a little between thresholds, hence not all of it.
    covered = int(np.count_nonzero(part.mask & whole.mask)) > 0.9 * area
    return covered and area < int(np.count_nonzero(whole.mask))


def _candidates(saliency: npt.NDArray[np.float32], settings: ProposalSettings) -> list[Proposal]:
    smooth = np.asarray(cv2.GaussianBlur(saliency, (0, 0), settings.smoothing), np.float32)
    peak = float(smooth.max())
    if peak < settings.min_contrast:
        return []
    found: list[Proposal] = []
    bridge = cv2.getStructuringElement(cv2.MORPH_RECT, (settings.closing, settings.closing))
    smallest, largest = settings.min_area * smooth.size, settings.max_area * smooth.size
    for level in settings.levels:
        cut = cv2.morphologyEx((smooth > level * peak).astype(np.uint8), cv2.MORPH_CLOSE, bridge)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(cut)
        for label in range(1, count):
            mask = labels == label
            if not smallest <= stats[label, cv2.CC_STAT_AREA] <= largest:
                continue
            contrast = _contrast(smooth, mask, settings.ring)
            if contrast >= settings.min_contrast:
                x0, y0, across, down = (int(value) for value in stats[label, :4])
                box = (x0, y0, x0 + across, y0 + down)
                found.append(Proposal(mask, box, contrast * _preference(mask, box, settings)))
    return found


def _contrast(smooth: npt.NDArray[np.float32], mask: Mask, ring: int) -> float:
    """Mean saliency of the region less that of the `ring` pixels around it."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((2 * ring + 1,) * 2, np.uint8)).astype(np.bool_) & ~mask
    return float(smooth[mask].mean()) - (float(smooth[around].mean()) if around.any() else 0.0)


def _preference(mask: Mask, box: tuple[int, int, int, int], settings: ProposalSettings) -> float:
    """In [0, 1]: 1 for a large region in the middle of the frame, less for a small, an outlying or a cut-off one."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    distance = float(np.hypot(columns.mean() / width - 0.5, rows.mean() / height - 0.5))
    edges = (box[0] <= 1) + (box[1] <= 1) + (box[2] >= width - 1) + (box[3] >= height - 1)
    size = min(1.0, len(rows) / mask.size / settings.full_area)
    central = 1 - settings.centre_penalty * distance
    return float(size**settings.area_power * central * settings.edge_penalty**edges)


def _same_thing(candidate: Proposal, better: Proposal, settings: ProposalSettings) -> bool:
    if box_iou(candidate.box, better.box) > settings.max_box_iou:
        return True
    return overlap(candidate.mask, better.mask) > settings.max_overlap


def overlap(first: Mask, second: Mask) -> float:
    """Area that two masks share, as a fraction of the smaller one's; 0 when either is empty."""
    smaller = min(int(np.count_nonzero(first)), int(np.count_nonzero(second)))
    return int(np.count_nonzero(first & second)) / smaller if smaller else 0.0


def box_iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1), end exclusive."""
    across = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    down = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return across * down / max(1, sum(areas) - across * down)
