"""What each kind of model promises. A profile picks an implementation of each by name (see `models.registry`).

Images are uint8 RGB (height, width, 3). Boxes are (x0, y0, x1, y1) in pixels, end exclusive. Masks are bool
(height, width) of the image's size. A model may be given the first frames of a clip, never its id or its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from manifests.masks import Mask

Image = npt.NDArray[np.uint8]
"""uint8 RGB (height, width, 3)."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, end exclusive."""
Matrix = npt.NDArray[np.float64]
"""A 3×3 homography acting on (x, y, 1) pixel coordinates."""


@dataclass(frozen=True)
class ModelInfo:
    """What stands in every track row: the model's name and the revision of its weights (or of the algorithm)."""

    name: str
    revision: str


@dataclass(frozen=True)
class Tag:
    """A word for something in the first frame, with a confidence in [0, 1]."""

    name: str
    score: float


@dataclass(frozen=True)
class Tags:
    """What is in one clip: entities, background regions, and words of neither vocabulary."""

    entities: list[Tag]
    background: list[Tag]
    others: list[Tag] = field(default_factory=list)


@dataclass(frozen=True)
class Detection:
    """A box with its tag.

    `seed` may carry a rough mask of the same image that helps the segmenter; with `refine` False it already is the mask
    and the segmenter hands it back as it is.
    """

    box: Box
    tag: str
    score: float
    seed: Mask | None = field(default=None, compare=False)
    refine: bool = True


class Tagger(Protocol):
    """Names what is in the first frame, entities and background regions in separate lists."""

    info: ModelInfo

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        """Tags of each clip's first frame; later frames may be looked at (an image has one frame)."""
        ...


class Detector(Protocol):
    """Finds boxes for tags in the first frame."""

    info: ModelInfo

    def detect(self, clips: Sequence[Sequence[Image]], tags: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """For each clip the detections of its `tags` in its first frame, best first; later frames may be looked at."""
        ...


class Segmenter(Protocol):
    """One mask per detection, on the first frame."""

    info: ModelInfo

    def segment(self, image: Image, detections: Sequence[Detection]) -> list[Mask]:
        """One mask of `image`'s size per detection (all False where nothing was found)."""
        ...


class Tracker(Protocol):
    """Carries first-frame masks through the clip."""

    info: ModelInfo

    def track(self, frames: Sequence[Image], masks: Sequence[Mask]) -> Iterator[list[Mask]]:
        """For every frame, in order from frames[0], one mask per object. Reverse `frames` to track backwards."""
        ...


class Flow(Protocol):
    """Follows points from one frame to another of the same size."""

    info: ModelInfo
    colour: bool
    """Whether it wants RGB frames; else it is given grey ones (height, width)."""

    def __call__(
        self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], points: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Positions (n, 2), x then y, in `second` of `points` of `first`, and which (n,) of them can be trusted."""
        ...


@dataclass(frozen=True)
class EntityView:
    """What a captioner is told about one entity of a clip.

    `frames` are a few RGB frames in order (the first is the clip's first frame) and `masks` their masks; `size` is the
    full frame (height, width), the images may be smaller. `path` holds, for every frame of the clip, the mask's centre
    as (x, y) fractions of the frame relative to the background (camera motion removed), NaN where the mask is empty;
    `seconds` is the clip's length (0 for an image). `key` names the track: seeded phrasing depends on it alone.
    """

    key: str
    seed: int
    tag: str
    frames: tuple[Image, ...]
    masks: tuple[Mask, ...]
    path: npt.NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Captions:
    """The three local captions of the paper: bare noun phrase, + attribute, + action and detail (3–5 sentences)."""

    short: str
    medium: str
    long: str


@dataclass(frozen=True)
class NoCaptions:
    """The captioner has no answer: a short code, and one sentence for a person.

    `passing`: the fault is not the entity's (a server is down), and asking again another time may help.
    """

    reason: str
    message: str
    passing: bool = False


class Captioner(Protocol):
    """Writes the three captions of an entity."""

    info: ModelInfo

    def caption(self, views: Sequence[EntityView]) -> list[Captions | NoCaptions]:
        """Captions of each entity, or why it has none. The views may be of several clips."""
        ...


class Scorer(Protocol):
    """Says how well a text fits a picture."""

    info: ModelInfo

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        """One score per pair of image and text, 0 (nothing in common) to 100."""
        ...
