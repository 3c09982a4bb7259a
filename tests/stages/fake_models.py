"""Models whose answers the tests dictate. Each remembers what it was shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from manifests.masks import Mask
from models.protocols import Captions, Detection, EntityView, Image, ModelInfo, NoCaptions, Tag, Tags


class TaggerSettings(BaseModel, frozen=True, extra="forbid"):
    entities: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()


class FakeTagger:
    """Says what it is told to, whatever it sees."""

    Settings = TaggerSettings
    info = ModelInfo("fake_tagger", "1")

    def __init__(self, settings: TaggerSettings) -> None:
        self.settings = settings
        self.seen: list[list[int]] = []

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        self.seen += [frame_numbers(frames) for frames in clips]
        named = self.settings.entities, self.settings.regions
        tags = Tags([Tag(name, 0.9) for name in named[0]], [Tag(name, 0.8) for name in named[1]])
        return [tags for _ in clips]


class DetectorSettings(BaseModel, frozen=True, extra="forbid"):
    scores: dict[str, tuple[float, ...]] = {}


class FakeDetector:
    """Finds each tag as often as it has scores, best first."""

    Settings = DetectorSettings
    info = ModelInfo("fake_detector", "1")

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self.seen: list[tuple[list[int], list[str]]] = []

    def detect(self, clips: Sequence[Sequence[Image]], tags: Sequence[Sequence[str]]) -> list[list[Detection]]:
        return [self._detections(frames, names) for frames, names in zip(clips, tags, strict=True)]

    def _detections(self, frames: Sequence[Image], tags: Sequence[str]) -> list[Detection]:
        self.seen.append((frame_numbers(frames), list(tags)))
        found = [
            Detection((8.0 * place, 0.0, 8.0 * place + 8, 8.0), tag, score)
            for tag in tags
            for place, score in enumerate(self.settings.scores.get(tag, ()))
        ]
        return sorted(found, key=lambda detection: -detection.score)


class SegmenterSettings(BaseModel, frozen=True, extra="forbid"):
    invisible: tuple[str, ...] = ()


class FakeSegmenter:
    """Fills the box, but for tags it cannot see."""

    Settings = SegmenterSettings
    info = ModelInfo("fake_segmenter", "7")

    def __init__(self, settings: SegmenterSettings) -> None:
        self.settings = settings

    def segment(self, image: Image, detections: Sequence[Detection]) -> list[Mask]:
        masks = []
        for detection in detections:
            mask = np.zeros(image.shape[:2], np.bool_)
            x0, y0, x1, y1 = (round(value) for value in detection.box)
            mask[y0:y1, x0:x1] = detection.tag not in self.settings.invisible
            masks.append(mask)
        return masks


class TrackerSettings(BaseModel, frozen=True, extra="forbid"):
    speed: int = 0
    drift: int = 0
    vanish_at: int | None = None
    skips: int = 0
    guess: bool = False


class FakeTracker:
    """Moves masks right by `speed` pixels per frame number that the frame carries.

    On the way back it ends `drift` pixels off; it sees nothing from frame `vanish_at` on; it leaves out `skips` frames;
    a lost thing comes back to it by a lucky `guess`.
    """

    Settings = TrackerSettings
    info = ModelInfo("fake_tracker", "2")

    def __init__(self, settings: TrackerSettings) -> None:
        self.settings = settings
        self.seen: list[list[int]] = []
        self._first: Sequence[Mask] = ()

    def track(self, frames: Sequence[Image], masks: Sequence[Mask]) -> Iterator[list[Mask]]:
        numbers = frame_numbers(frames)
        self.seen.append(numbers)
        self._first = self._first or masks
        vanish_at = self.settings.vanish_at
        for number in numbers[: len(numbers) - self.settings.skips]:
            shift = self.settings.speed * (number - numbers[0])
            if number < numbers[0]:
                shift += self.settings.drift
            gone = vanish_at is not None and number >= vanish_at
            if self.settings.guess and number < numbers[0]:
                yield list(self._first)
                continue
            yield [np.zeros_like(mask) if gone else np.roll(mask, shift, axis=1) for mask in masks]


class CaptionerSettings(BaseModel, frozen=True, extra="forbid"):
    speechless: tuple[str, ...] = ()


class FakeCaptioner:
    """Writes the tag three times, but for tags it has no words for."""

    Settings = CaptionerSettings
    info = ModelInfo("fake_captioner", "3")

    def __init__(self, settings: CaptionerSettings) -> None:
        self.settings = settings
        self.views: list[EntityView] = []

    def caption(self, views: Sequence[EntityView]) -> list[Captions | NoCaptions]:
        self.views += views
        return [self._captions(view) for view in views]

    def _captions(self, view: EntityView) -> Captions | NoCaptions:
        if view.tag in self.settings.speechless:
            return NoCaptions("no_caption", f"there is no word for a {view.tag}")
        return Captions(f"a {view.tag}", f"a fine {view.tag}", f"A fine {view.tag} is here.")


def choice(name: str, **settings: Any) -> dict[str, Any]:
    """The configuration of a fake model."""
    return {"name": f"fake_models:{name}", "settings": settings}


def frame_numbers(frames: Sequence[Image]) -> list[int]:
    """The grey level of each frame, see `small_work.numbered_frames`."""
    return [int(frame[0, 0, 0]) for frame in frames]
