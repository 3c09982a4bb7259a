"""Mask propagation without trained weights: motion proposes, the object's own colours decide.

Per frame, on a small copy: the last soft mask is carried on by motion; a colour histogram and a small classifier, both
learned from this clip's first mask, correct it; a guided filter snaps the result to the edges of the picture, and its
fit, applied to the full-size picture, gives the mask its full resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.mask_motion import MaskMotion, MaskMotionSettings, Soft
from models.point_flow import Gray
from models.protocols import Image, ModelInfo
from models.tracked_object import Evidence, TrackedObject, TrackedObjectSettings, Window


class ColourTrackerSettings(BaseModel, frozen=True, extra="forbid"):
    """The sizes at which the tracker works, and its parts."""

    working_side: int = Field(
        default=427,
        ge=64,
        description="Long side of the working copy (px); parts thinner than 2 of its pixels are lost.",
    )
    flow_side: int = Field(
        default=854, ge=64, description="Long side at which dense flow runs (px); half is worse where colours fail."
    )
    min_area: int = Field(
        default=12,
        ge=1,
        description="An object of fewer pixels of the working copy is lost for good: it would only flicker.",
    )
    refresh_interval: int = Field(
        default=4, ge=1, description="Frames between refreshes of the classifiers; rare ones miss turning objects."
    )
    motion: MaskMotionSettings = MaskMotionSettings()
    appearance: TrackedObjectSettings = TrackedObjectSettings()


class ColourTracker:
    """The weight-free `Tracker`: any number of objects, what they share is computed once per frame."""

    Settings = ColourTrackerSettings
    info = ModelInfo("colour-tracker", "1")

    def __init__(self, settings: ColourTrackerSettings | None = None) -> None:
        self._settings = settings or ColourTrackerSettings()

    def track(self, frames: Sequence[Image], masks: Sequence[Mask]) -> Iterator[list[Mask]]:
        """For every frame, in order from frames[0], one full-size mask per object; frames[0] gives `masks` back.

        Each frame is read once, in order, and no more than two are held. An empty mask, or an object once lost, gives
        empty masks from then on. Raises ValueError when a mask or a later frame has not the size of frames[0].
        """
        if not len(frames):
            return
        settings = self._settings
        view = _FrameView(frames[0], settings)
        for mask in masks:
            if mask.shape != view.full_size:
                raise ValueError(f"a mask of {mask.shape} does not fit frames of {view.full_size}")
        objects = self._learn(view, masks)
        motion = MaskMotion(settings.motion)
        yield [mask.copy() for mask in masks]
        for index in range(1, len(frames)):
            previous, view = view, _FrameView(frames[index], settings)
            if view.full_size != previous.full_size:
                raise ValueError(f"frame {index} is of {view.full_size}, the frames before it of {previous.full_size}")
            objects = self._carry(objects, motion, previous, view)
            found = self._correct(objects, view, refresh=index % settings.refresh_interval == 0)
            yield [found.get(number, np.zeros(view.full_size, np.bool_)) for number in range(len(masks))]

    def _learn(self, view: _FrameView, masks: Sequence[Mask]) -> dict[int, TrackedObject]:
        """The objects by their number; one too small for the working copy is lost from the start."""
        height, width = view.small.shape[:2]
        softs = [_shrunk(mask, (width, height)) for mask in masks]
        large_enough = {number: soft for number, soft in enumerate(softs) if self._alive(soft)}
        if not large_enough:
            return {}
        evidence = Evidence(view.image, view.small, (slice(0, height), slice(0, width)), self._settings.appearance)
        return {
            number: TrackedObject(evidence, soft, self._settings.appearance) for number, soft in large_enough.items()
        }

    def _alive(self, soft: Soft) -> bool:
        return int(np.count_nonzero(soft > 0.5)) >= self._settings.min_area

    def _carry(
        self, objects: dict[int, TrackedObject], motion: MaskMotion, previous: _FrameView, view: _FrameView
    ) -> dict[int, TrackedObject]:
        """Move the soft masks to the new frame; the objects that are still there."""
        if not objects:
            return {}
        softs = [tracked.soft for tracked in objects.values()]
        carried = motion.carry(softs, previous.gray, view.gray, previous.flow_gray, view.flow_gray)
        for tracked, soft in zip(objects.values(), carried, strict=True):
            tracked.soft = soft
        return {number: tracked for number, tracked in objects.items() if self._alive(tracked.soft)}

    def _correct(self, objects: dict[int, TrackedObject], view: _FrameView, refresh: bool) -> dict[int, Mask]:
        """The full-size masks of the objects by their number."""
        if not objects:
            return {}
        shared = _union([tracked.window() for tracked in objects.values()])
        evidence = Evidence(view.image, view.small, shared, self._settings.appearance)
        return {number: tracked.correct(evidence, refresh) for number, tracked in objects.items()}


class _FrameView:
    """One frame and its small copies."""

    def __init__(self, image: Image, settings: ColourTrackerSettings) -> None:
        self.image = image
        self.full_size = (int(image.shape[0]), int(image.shape[1]))
        flow_image = _fit_within(image, settings.flow_side)
        self.flow_gray = _gray(flow_image)
        self.small = _fit_within(flow_image, settings.working_side)
        self.gray = _gray(self.small)


def _fit_within(image: Image, side: int) -> Image:
    """The image shrunk so that its long side is at most `side` pixels; never enlarged."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk(mask: Mask, size: tuple[int, int]) -> Soft:
    """The mask at (width, height) as the share of each pixel that it covers."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _gray(image: Image) -> Gray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _union(windows: Sequence[Window]) -> Window:
    rows, columns = (
        slice(min(window[axis].start for window in windows), max(window[axis].stop for window in windows))
        for axis in (0, 1)
    )
    return rows, columns
