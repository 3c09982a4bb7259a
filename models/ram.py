"""RAM and RAM++ (Recognize Anything): words for what is in a clip's first frame.

The tags and the score above which each counts are files of the weight; which tags are entities and which background is
this project's choice (`models.vocabulary`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from pydantic import BaseModel, Field
from torch import Tensor

from models.batching import Batches
from models.checkpoint_files import read_tensors
from models.placement import Placement, check_finite
from models.protocols import Image, ModelInfo, Tag, Tags
from models.ram_network import IMAGE_SIZE, RamNetwork, ram_network
from models.vocabulary import Vocabularies, vocabulary_digest
from models.weights import Weights, WeightsError

Scores = npt.NDArray[np.float32]
"""One number in [0, 1] per tag, in the tag list's order."""

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class RamSettings(BaseModel, frozen=True, extra="forbid"):
    """Which checkpoint, and what of its tags is passed on."""

    weights: str = Field(
        default="ram-swin-large",
        description="entry in the list of weights: ram-swin-large, or ram-plus-swin-large for RAM++",
    )
    threshold_shift: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="added to every tag's own threshold: below 0 more tags are found and more of them are wrong. "
        "Tags that the weight switches off (threshold 1) stay off",
    )
    max_tags: int = Field(
        default=30,
        ge=1,
        description="at most so many entities, so many background tags and so many others of a clip, best first; "
        "a long list makes the detector slow",
    )
    batch: int = Field(default=16, ge=1, description="frames at a time; halved when the GPU's memory is too small")
    entities: Path | None = Field(
        default=None, description="file with the tags that are entities, one a line; null: models/vocabulary"
    )
    background: Path | None = Field(
        default=None, description="file with the tags that are background, one a line; null: models/vocabulary"
    )


@dataclass(frozen=True)
class TagList:
    """What a weight knows: tags, and for each the score it has to exceed."""

    tags: tuple[str, ...]
    thresholds: Scores

    @classmethod
    def read(cls, tags: Path, thresholds: Path) -> TagList:
        """Two text files of as many lines. Raises WeightsError when they do not belong together."""
        names, limits = _lines(tags), _lines(thresholds)
        if len(names) != len(limits) or not names:
            raise WeightsError(f"{tags} has {len(names)} tags and {thresholds} {len(limits)} thresholds")
        if len(set(names)) != len(names):
            repeated = next(name for index, name in enumerate(names) if name in names[:index])
            raise WeightsError(f"{tags} has the tag '{repeated}' twice")
        try:
            values = np.array([float(limit) for limit in limits])
        except ValueError as error:
            raise WeightsError(f"{thresholds} is not one number a line: {error}") from error
        if not np.all((values >= 0) & (values <= 1)):
            raise WeightsError(f"{thresholds} has thresholds outside 0 to 1")
        return cls(tuple(names), values.astype(np.float32))

    def shifted(self, shift: float) -> Scores:
        """Thresholds moved by `shift` within [0, 1]; those of 1, which no score exceeds, stay."""
        moved = np.clip(self.thresholds + np.float32(shift), 0, 1)
        return np.where(self.thresholds >= 1, self.thresholds, moved).astype(np.float32)


class RamTagger:
    """Tags of a clip's first frame, by RAM or RAM++ as the checkpoint is."""

    Settings = RamSettings
    batched = True
    operational = frozenset({"batch"})

    def __init__(self, settings: RamSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when a file is damaged or not RAM's, ValueError for a vocabulary of other tags."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._max_tags = settings.max_tags
        self._tag_list = TagList.read(weights.file("ram_tag_list.txt"), weights.file("ram_tag_list_threshold.txt"))
        self._thresholds = self._tag_list.shifted(settings.threshold_shift)
        self._vocabularies = Vocabularies.load(self._tag_list.tags, settings.entities, settings.background)
        self._device, self._dtype = torch.device(placement.device), getattr(torch, placement.dtype)
        self._network = _network(weights, len(self._tag_list.tags)).to(self._device, self._dtype)
        self._batches = Batches(settings.batch)

    @classmethod
    def contents(cls, settings: RamSettings) -> dict[str, str]:
        """Digests of the two vocabularies. Raises ValueError when one cannot be read."""
        return {
            "entities": vocabulary_digest("entities", settings.entities),
            "background": vocabulary_digest("background", settings.background),
        }

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        """Tags of each clip's first frame, in three lists, best first."""
        return [self._tags(scores) for scores in self.scores([clip[0] for clip in clips])]

    def scores(self, frames: Sequence[Image]) -> list[Scores]:
        """The score of every tag for each frame; frames may differ in size."""
        return self._batches.run(frames, self._score)

    def _score(self, frames: Sequence[Image]) -> list[Scores]:
        with torch.inference_mode():
            images = normalised(frames, self._device).to(self._dtype)
            scores: npt.NDArray[np.float32] = self._network(images).float().sigmoid().cpu().numpy()
        check_finite(scores, self.info.name, self._dtype)
        return list(scores)

    def _tags(self, scores: Scores) -> Tags:
        found = np.flatnonzero(scores > self._thresholds)
        best_first = found[np.argsort(-scores[found], kind="stable")]
        tags = [Tag(self._tag_list.tags[index], float(scores[index])) for index in best_first]
        entities, background = self._vocabularies.entities, self._vocabularies.background
        return Tags(
            entities=[tag for tag in tags if tag.name in entities][: self._max_tags],
            background=[tag for tag in tags if tag.name in background][: self._max_tags],
            others=[tag for tag in tags if tag.name not in entities | background][: self._max_tags],
        )


def normalised(frames: Sequence[Image], device: torch.device) -> Tensor:
    """Frames as the network was trained on: 384 × 384 without regard to aspect, ImageNet's mean and deviation.

    float32 (frames, 3, 384, 384).
    """
    size = (IMAGE_SIZE, IMAGE_SIZE)
    resized = [PillowImage.fromarray(frame).resize(size, PillowImage.Resampling.BILINEAR) for frame in frames]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).to(device)
    mean, deviation = torch.tensor(_MEAN, device=device), torch.tensor(_DEVIATION, device=device)
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def _network(weights: Weights, tags: int) -> RamNetwork:
    path = weights.file(".pth")
    state = read_tensors(path, under="model")
    try:
        return ram_network(state, tags)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path} is not text: {error}") from error
