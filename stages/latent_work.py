"""The records of precomputed latents: a clip with its samples, a caption, and what was encoded of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from manifests.masks import MaskTrack
from manifests.records import SampleRow
from stages.stage import Record
from stages.windows import ClipShape, Window, WindowSettings, fixed_windows

ID_HEX_DIGITS = 16


@dataclass(frozen=True)
class Masking:
    """Which pixels of a window were taken out: a track's mask variant. With `kive` the first frame is shown whole."""

    track_id: str
    variant: str
    kive: bool

    @property
    def label(self) -> str:
        """Part of a member's name."""
        return f"track-{self.track_id.rpartition('-')[2]}.{self.variant}.{'kive' if self.kive else 'plain'}"


@dataclass(frozen=True)
class EncodedWindow:
    """Latents of one window waiting in a scratch file. `masking` is None for the whole pixels."""

    number: int
    window: Window
    masking: Masking | None
    file: Path


@dataclass(frozen=True)
class NumberedWindow:
    """One of a clip's windows, with its pixels (frames, height, width, 3) uint8."""

    number: int
    window: Window
    pixels: npt.NDArray[np.uint8]


@dataclass
class ClipLatents(Record):
    """One clip whose windows are encoded. `samples` are all of the clip's in the split."""

    level: ClassVar[str] = "clip"
    transient: ClassVar[tuple[str, ...]] = ("windows", "masks")

    samples: tuple[SampleRow, ...]
    windows: list[NumberedWindow] | None = None
    masks: dict[str, MaskTrack] | None = None
    encoded: list[EncodedWindow] = field(default_factory=list)


@dataclass
class CaptionText(Record):
    """One distinct caption, and the scratch file with its text embedding once it is encoded."""

    level: ClassVar[str] = "caption"

    caption: str
    tokens: int = 0
    file: Path | None = None


@dataclass
class PartOfDataset(Record):
    """What the driver knows of a part before it is read: the split that is wanted, the captions first seen in it."""

    level: ClassVar[str] = "part"

    split: str | None
    captions: tuple[str, ...] = ()


def clip_shape(sample: SampleRow) -> ClipShape:
    """The sample's clip, as windows see it."""
    return ClipShape(sample.clip_id, sample.kind, sample.width, sample.height, sample.fps, sample.num_frames)


def distinct_windows(clip: ClipShape, settings: WindowSettings, seed: int) -> list[tuple[int, Window]]:
    """The clip's fixed windows with their numbers, equal ones once: a short clip of the window's size has but one."""
    found: dict[str, tuple[int, Window]] = {}
    for number, window in enumerate(fixed_windows(clip, settings, seed)):
        found.setdefault(window_id(window), (number, window))
    return list(found.values())


def window_id(window: Window) -> str:
    """16 hex digits that name a window by what it shows: its frames and its crop."""
    crop = (float(window.x0), float(window.y0), float(window.scale), window.width, window.height)
    text = repr((tuple(map(int, window.indices)), crop))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_HEX_DIGITS]


def touches(window: Window, boxes: npt.NDArray[np.int64], min_seen: float) -> bool:
    """Whether a mask's boxes (frames, 4) reach into the window in `min_seen` of its frames.

    Training takes windows with the middle of the box inside (`stages.windows.choose_window`), so none but these.
    """
    here = boxes[np.asarray(window.indices)]
    right, bottom = window.x0 + window.width / window.scale, window.y0 + window.height / window.scale
    seen = (here[:, 2] > here[:, 0]) & (here[:, 3] > here[:, 1])
    inside = (here[:, 2] > window.x0) & (here[:, 0] < right) & (here[:, 3] > window.y0) & (here[:, 1] < bottom)
    return float(np.mean(seen & inside)) >= min_seen


def by_track(samples: Sequence[SampleRow]) -> dict[str, list[SampleRow]]:
    """One sample of each mask variant, by track: captions share the masks."""
    chosen: dict[tuple[str, str], SampleRow] = {}
    for sample in sorted(samples, key=lambda sample: sample.sample_id):
        chosen.setdefault((sample.track_id, sample.mask_variant), sample)
    tracks: dict[str, list[SampleRow]] = {}
    for sample in chosen.values():
        tracks.setdefault(sample.track_id, []).append(sample)
    return tracks
