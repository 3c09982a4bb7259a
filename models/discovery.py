"""Finds the things and the free background of a clip's first frame without any weights.

What moves on its own is a thing; apart from those (or where nothing moves, as in an image) what stands out by colour
may be one, and is scored low. Without weights a thing has no name: every entity is an "object". The background is what
lies far from all of them (VIVID-10M, background positioning: the region another clip's mask is pasted into).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.border_cues import Map
from models.boxes import extent
from models.proposals import Proposal, ProposalSettings, overlap, propose
from models.protocols import Detection, Image, ModelInfo, Tag, Tags
from models.saliency import Saliency, SaliencySettings, find_saliency, work_copy

REVISION = "3"
ENTITY_TAG = "object"
BACKGROUND_TAG = "background"


class BackgroundSettings(BaseModel, frozen=True, extra="forbid"):
    """What counts as free background. Lengths are pixels of the work copy, areas shares of the frame."""

    max_motion: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="motion saliency above which a place is not free; higher pastes on to ripples",
    )
    max_still: float = Field(
        default=0.5, gt=0, le=1, description="still saliency above which a place is not free, while enough else is"
    )
    max_still_alone: float = Field(
        default=0.12,
        gt=0,
        le=1,
        description="the same in an image, where no motion tells what is a thing; higher pastes on to pale things",
    )
    gap: int = Field(
        default=25,
        ge=0,
        description="distance kept from everything that is not free, px; entity masks may outgrow their seeds",
    )
    min_width: int = Field(default=15, ge=1, description="narrower parts are cut off, px: nothing can be pasted there")
    min_piece: float = Field(default=0.02, gt=0, le=1, description="smaller connected pieces are left out")
    min_area: float = Field(
        default=0.08, gt=0, le=1, description="with less in all there is no background to paste into"
    )


class DiscoverySettings(BaseModel, frozen=True, extra="forbid"):
    """The cues, what may be an entity, and what may be background."""

    max_entities: int = Field(
        default=3, ge=1, le=20, description="entities handed on, best first; each costs a propagation"
    )
    still_trust: float = Field(
        default=0.3, ge=0, le=1, description="score factor of things found without motion: few of them are whole things"
    )
    saliency: SaliencySettings = Field(default=SaliencySettings(), description="the cues")
    proposals: ProposalSettings = Field(default=ProposalSettings(), description="regions that may be entities")
    still_overlap: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="sharing more of the smaller one's area with a moving thing, what stands out by colour is a part "
        "of it or of its surroundings",
    )
    background: BackgroundSettings = Field(default=BackgroundSettings(), description="regions that may be background")


@dataclass(frozen=True)
class _Scene:
    """Entities, best first, and the free background at work size."""

    entities: list[Proposal]
    free: Mask


class MotionDiscovery:
    """Tagger and detector without weights. `lookahead` is how many first frames it can use."""

    Settings = DiscoverySettings
    _latest: tuple[bytes, _Scene] | None = None

    def __init__(self, settings: DiscoverySettings) -> None:
        self.settings = settings
        self.lookahead = max(settings.saliency.steps) + 1
        self.info = ModelInfo("motion_discovery", REVISION)

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        """ "object" and "background", each only where there is one. A clip's frames are its first ones, of one size.

        Raises ValueError when there is no frame or when sizes differ.
        """
        return [self._tags(frames) for frames in clips]

    def _tags(self, frames: Sequence[Image]) -> Tags:
        scene = self._scene(frames)
        entities = [Tag(ENTITY_TAG, scene.entities[0].score)] if scene.entities else []
        regions = [Tag(BACKGROUND_TAG, float(scene.free.mean()))] if scene.free.any() else []
        return Tags(entities, regions)

    def detect(self, clips: Sequence[Sequence[Image]], tags: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """For "object" up to `max_entities` seeds to be refined, best first; for "background" one finished mask.

        The background's score is its share of the frame. Other tags find nothing. Raises as `tag` does.
        """
        return [self._detections(frames, names) for frames, names in zip(clips, tags, strict=True)]

    def _detections(self, frames: Sequence[Image], tags: Sequence[str]) -> list[Detection]:
        scene = self._scene(frames)
        size = frames[0].shape[:2]
        found: list[Detection] = []
        if ENTITY_TAG in tags:
            found += [_detection(entity.mask, size, ENTITY_TAG, entity.score, True) for entity in scene.entities]
        if BACKGROUND_TAG in tags and scene.free.any():
            found.append(_detection(scene.free, size, BACKGROUND_TAG, float(scene.free.mean()), False))
        return found

    def _scene(self, frames: Sequence[Image]) -> _Scene:
        """The scene of these frames. The latest is kept, for a clip is tagged and detected in one go."""
        if not frames:
            raise ValueError("discovery needs at least one frame")
        if any(frame.shape != frames[0].shape for frame in frames):
            raise ValueError(f"frames of one clip have different sizes: {sorted({frame.shape for frame in frames})}")
        settings = self.settings
        small = [work_copy(frame, settings.saliency.long_side) for frame in frames[: self.lookahead]]
        digest = hashlib.sha256(settings.model_dump_json().encode())
        for frame in small:
            digest.update(repr(frame.shape).encode() + frame.tobytes())
        key = digest.digest()
        latest = MotionDiscovery._latest
        if latest is None or latest[0] != key:
            latest = (key, _look(small, settings))
            MotionDiscovery._latest = latest
        return latest[1]


def _look(frames: Sequence[Image], settings: DiscoverySettings) -> _Scene:
    saliency = find_saliency(frames, settings.saliency)
    entities = propose(saliency.motion, settings.proposals, settings.max_entities)
    moving = tuple(entities)
    # As many more are asked for as may turn out to be what moves already.
    for thing in propose(saliency.still, settings.proposals, settings.max_entities + len(moving)):
        apart = all(overlap(thing.mask, other.mask) <= settings.still_overlap for other in moving)
        if apart and len(entities) < settings.max_entities:
            entities.append(Proposal(thing.mask, thing.box, thing.score * settings.still_trust))
    return _Scene(entities, _free_background(saliency, entities, settings.background))


def _free_background(saliency: Saliency, entities: Sequence[Proposal], settings: BackgroundSettings) -> Mask:
    """Everything far from what moves or stands out, (H, W) bool; all False where too little is left."""
    moving = _blurred(saliency.motion) > settings.max_motion
    for entity in entities:
        moving |= entity.mask
    still = _blurred(saliency.still)
    limits = [settings.max_still] if saliency.motion.any() else [settings.max_still_alone, settings.max_still]
    for occupied in (*(moving | (still > limit) for limit in limits), moving):
        free = _far_from(occupied, settings)
        if free.mean() >= settings.min_area:
            return free
    return np.zeros_like(moving)


def _far_from(occupied: Mask, settings: BackgroundSettings) -> Mask:
    distance = cv2.distanceTransform((~occupied).astype(np.uint8), cv2.DIST_L2, 5)
    clear = (distance > settings.gap if occupied.any() else ~occupied).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (settings.min_width, settings.min_width))
    wide = cv2.morphologyEx(clear, cv2.MORPH_OPEN, disc)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wide)
    large = stats[:, cv2.CC_STAT_AREA] >= settings.min_piece * wide.size
    large[0] = False
    return np.asarray(large[labels], np.bool_)


def _blurred(values: Map) -> Map:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 2), np.float32)


def _detection(mask: Mask, size: tuple[int, ...], tag: str, score: float, refine: bool) -> Detection:
    """A detection whose seed is the work-size `mask` at the image's size (height, width)."""
    soft = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    seed = np.asarray(soft) > 0.5
    return Detection(extent(seed), tag, score, seed, refine)
