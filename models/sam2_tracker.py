"""Mask propagation with SAM 2.1: all objects of a clip in one pass over its frames.

Frame 0's masks come back as they were given: they are the segmenter's, drawn at full size, while SAM 2 sees them only
on its own square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from manifests.masks import Mask
from models.placement import Placement
from models.protocols import Image, ModelInfo
from models.sam2 import Pixels, full_size_masks
from models.sam2_memory import TransformersVideoModel, VideoModel
from models.weights import Weights


class Sam2TrackerSettings(BaseModel, frozen=True, extra="forbid"):
    """Which checkpoint, which package runs it, and how many objects go together."""

    weights: str = Field(
        default="sam2.1-hiera-large", description="entry in the list of weights, of either form (safetensors or .pt)"
    )
    backend: Literal["transformers", "sam2"] = Field(
        default="transformers",
        description="the package that runs the model; `sam2` (Meta's own) must be installed and gives the same masks",
    )
    batch: int = Field(
        default=16,
        ge=1,
        description="objects followed at a time; a clip with more gets several sessions side by side. Halved when the "
        "GPU's memory is too small",
    )


class Sam2Tracker:
    """The `Tracker` of SAM 2.1. Its memory does not grow with the length of the clip."""

    Settings = Sam2TrackerSettings
    operational = frozenset({"batch"})

    def __init__(self, settings: Sam2TrackerSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint is damaged or of another network, ValueError without the backend."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._model = _video_model(settings.backend, weights, placement)
        self._pixels = Pixels(self._model.side, placement)
        self._at_once = settings.batch

    def track(self, frames: Sequence[Image], masks: Sequence[Mask]) -> Iterator[list[Mask]]:
        """For every frame, in order from frames[0], one full-size mask per object; frames[0] gives `masks` back.

        Frames are read one by one, in order, and none is kept. An object whose first mask is empty, or too small for
        the model's square, stays empty and does not touch the others. Raises ValueError when there is no frame, or
        when a mask or a later frame has not the size of frames[0].
        """
        if not len(frames):
            raise ValueError("there is nothing to track in a clip of 0 frames")
        size = _size(frames[0])
        for mask in masks:
            if mask.shape != size:
                raise ValueError(f"a mask of {mask.shape} does not fit frames of {size}")
        prompts = {number: prompt for number, mask in enumerate(masks) if (prompt := self._prompt(mask)).any()}
        yield [mask.copy() for mask in masks]
        for found in self._found(frames, size, list(prompts.values())):
            following = dict(zip(prompts, found, strict=True))
            yield [following.get(number, np.zeros(size, np.bool_)) for number in range(len(masks))]

    def _found(self, frames: Sequence[Image], size: tuple[int, int], prompts: Sequence[Tensor]) -> Iterator[list[Mask]]:
        """Masks of the objects with a prompt, from frames[1] on.

        Memory that runs out anywhere in the clip halves the number of objects that go together. The clip then begins
        anew and what was already handed out is skipped: a state half written is never gone on with.
        """
        done = 0
        while True:
            walk = self._walk(frames, size, prompts)
            finished = False
            try:
                for number, masks in enumerate(walk):
                    if number >= done:
                        done += 1
                        yield masks
                finished = True
            except torch.OutOfMemoryError:
                if min(self._at_once, len(prompts)) <= 1:
                    raise
            if finished:
                return
            # Outside the except block: there the error's traceback would still hold the tensors of the attempt.
            torch.cuda.empty_cache()
            self._at_once = min(self._at_once, len(prompts)) // 2

    def _walk(self, frames: Sequence[Image], size: tuple[int, int], prompts: Sequence[Tensor]) -> Iterator[list[Mask]]:
        """Masks from frames[1] on, in one pass."""
        walk = self._model.begin(len(frames), prompts, self._at_once) if prompts else None
        for index in range(len(frames)):
            frame = frames[index]
            if _size(frame) != size:
                raise ValueError(f"frame {index} is of {_size(frame)}, the frames before it of {size}")
            logits = walk.step(self._pixels(frame)) if walk else torch.empty(0)
            if index:
                yield full_size_masks(logits, size)

    def _prompt(self, mask: Mask) -> Tensor:
        """The mask on the model's square (side, side), 0 and 1 as float32."""
        side = self._model.side
        cover = torch.from_numpy(np.array(mask)).float()[None, None]
        square = torch.nn.functional.interpolate(
            cover, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        return (square[0, 0] >= 0.5).float()


def _video_model(backend: str, weights: Weights, placement: Placement) -> VideoModel:
    if backend == "transformers":
        return TransformersVideoModel(weights, placement)
    try:
        from models.sam2_official import OfficialVideoModel
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the tracker's backend 'sam2' needs Meta's package, which is not installed (no module '{error.name}'): "
            "install it, or set backend: transformers"
        ) from error
    return OfficialVideoModel(weights, placement)


def _size(image: Image) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])
