"""The records of the phases: a source to be cut into clips, and a clip with what has been found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from manifests.masks import MaskTrack
from manifests.records import ClipRow, FoundRow
from models.protocols import Box, Captions, Detection, Image, ModelInfo, Tag
from stages.listing import Source
from stages.probe import Probe
from stages.stage import Record


@dataclass(frozen=True)
class SpilledClip:
    """A normalised clip waiting in a scratch file. `row.offset` is not known yet."""

    row: FoundRow
    file: Path


@dataclass
class SourceWork(Record):
    """INGEST: one source and the normalised clips cut from it."""

    level: ClassVar[str] = "source"

    source: Source
    probe: Probe | None = None
    clips: list[SpilledClip] = field(default_factory=list)
    state: str = "kept"


@dataclass(frozen=True)
class Location:
    """Byte range of a clip in a committed tar."""

    path: str
    offset: int
    size: int


@dataclass(frozen=True)
class Pasting:
    """Where a pasted track's shape came from and how it was put down. `motion`: trajectory | background | still."""

    donor_track_id: str
    motion: str
    dx: float
    dy: float
    scale: float


@dataclass(frozen=True)
class Variant:
    """A kept mask variant of a track with its drawn parameters and mean area (fraction of the frame)."""

    name: str
    parameters: dict[str, Any]
    area_mean: float


@dataclass
class Track:
    """One thing in a clip. `masks` has one mask per frame; a background region has the first frame's only.

    Speeds are in frame diagonals per second; `path` (frames, 2) is the mask's centre against the background as
    fractions of the frame, NaN where it is hidden.
    """

    number: int
    role: str
    tag: str
    box: Box
    score: float
    masks: MaskTrack
    models: dict[str, str] = field(default_factory=dict)
    stability: float | None = None
    path: npt.NDArray[np.float32] | None = None
    foreground_motion: float | None = None
    background_motion: float | None = None
    relative_motion: float | None = None
    captions: Captions | None = None
    caption_score: float | None = None
    pasting: Pasting | None = None
    variants: list[Variant] = field(default_factory=list)

    def stamp(self, job: str, info: ModelInfo) -> None:
        """Note which model did a job on this track."""
        self.models[job] = f"{info.name}@{info.revision}"


@dataclass
class ClipWork(Record):
    """ANNOTATE and COMPOSE: one normalised clip. `frames` are RGB, decoded once per pool."""

    level: ClassVar[str] = "clip"
    transient: ClassVar[tuple[str, ...]] = ("frames",)

    clip: ClipRow
    location: Location
    frames: list[Image] | None = None
    entity_tags: list[Tag] = field(default_factory=list)
    background_tags: list[Tag] = field(default_factory=list)
    other_tags: list[Tag] = field(default_factory=list)
    found_by: dict[str, ModelInfo] = field(default_factory=dict)
    """Tagger and detector: stamped on every track they led to."""
    entities: list[Detection] = field(default_factory=list)
    regions: list[Detection] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)

    def decoded(self) -> list[Image]:
        """The frames; only between the pool's `decode` stage and its end."""
        assert self.frames is not None, "the pool has no decode stage before this one"
        return self.frames

    def of_role(self, role: str) -> list[Track]:
        """Tracks of a role, in order."""
        return [track for track in self.tracks if track.role == role]
