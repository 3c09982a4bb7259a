"""The indexed loader: a slot of a training batch → frames, masks and caption, read by byte range from the shards.

Map-style, so that any number of workers and ranks may share the work. Only the frames of the window are decoded; the
mask variant is recomputed from its stored parameters. No torch here: `train.latent_batches` makes tensors of it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from manifests.damage import DatasetDamaged
from manifests.dataset import Dataset
from manifests.masks import MaskTrack
from manifests.storage import StorageError
from models.protocols import Image
from stages.augment import variant_of_frame
from stages.media import MediaError, iter_clip
from stages.range_file import RangeFile
from stages.windows import ClipShape, Window, WindowSettings, choose_window
from train.mixing import Mixing, Slot
from train.sample_table import Sample, SampleTable

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("vivid.train")

ATTEMPTS = 8
"""Samples tried for one slot before training stops: a broken one costs itself, a broken store is an error."""
WAITS = (1, 4, 15)
"""Seconds until a sample is read again where the store did not answer."""


class DataError(ValueError):
    """Training data cannot be read. The text is one sentence."""


@dataclass(frozen=True)
class Example:
    """What training sees of one sample.

    `frames` (frames, height, width, 3) uint8 RGB, None where both latents are stored; `masks` (frames, height, width)
    bool. The slot names the place in the training run, for its random draws, and says whether the first frame is given
    unmasked (KIVE, `train.conditioning`). Latents and text are there where `vivid latents` has stored them.
    """

    slot: Slot
    sample: Sample
    window: Window
    frames: npt.NDArray[np.uint8] | None
    masks: npt.NDArray[np.bool_]
    latents: Tensor | None = None
    masked_latents: Tensor | None = None
    text: Tensor | None = None

    @property
    def caption(self) -> str:
        """The local caption y."""
        return self.sample.caption


@dataclass(frozen=True)
class Stored:
    """What has been computed beforehand for one sample: latents (F, C, h, w) and text (tokens, features)."""

    latents: Tensor | None = None
    masked_latents: Tensor | None = None
    text: Tensor | None = None


class LatentStore(Protocol):
    """Precomputed latents, as `train.latent_store` reads them."""

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        """What is there for a sample in a window; empty where nothing is."""
        ...


class SampleReader:
    """Reads single samples of a dataset, cut to windows. May be sent to other processes."""

    def __init__(self, url: str, windows: WindowSettings, seed: int, latents: LatentStore | None = None) -> None:
        self.url, self.windows, self.seed, self.latents = url, windows, seed, latents
        self._dataset: Dataset | None = None

    def __getstate__(self) -> dict[str, object]:
        # Each worker process opens the store anew: connections do not survive a fork or a pickle.
        return {**self.__dict__, "_dataset": None}

    @property
    def dataset(self) -> Dataset:
        """The dataset, opened on first use."""
        if self._dataset is None:
            self._dataset = Dataset(self.url)
        return self._dataset

    def read(self, slot: Slot, sample: Sample) -> Example:
        """Read, decode and cut one sample. Raises StorageError, MediaError, OSError or ValueError when it is broken."""
        track = MaskTrack.from_bytes(self.dataset.read_range(sample.shard, sample.mask_offset, sample.mask_size))
        # Every variant contains the original, so where that is seen the variant is; its boxes need no decoding.
        key = f"{slot.key} {sample.sample_id}"
        window = choose_window(shape_of(sample), track.boxes(), self.windows, self.seed, key)
        masks = cut_masks(track, window, sample.variant_parameters)
        stored = self.latents.find(sample, window, slot.kive) if self.latents is not None else Stored()
        frames = None
        if stored.latents is None or stored.masked_latents is None:
            frames = np.empty((*masks.shape, 3), np.uint8)
            distinct = sorted(set(window.indices))
            for index, frame in zip(distinct, self._decode(sample, distinct), strict=True):
                frames[window.places(index)] = window.cut(frame)
        return Example(slot, sample, window, frames, masks, stored.latents, stored.masked_latents, stored.text)

    def _decode(self, sample: Sample, indices: Sequence[int]) -> Iterator[Image]:
        """Frames of the clip, one at a time: of a long one only the bytes that they need are read."""

        def fetch(offset: int, size: int) -> bytes:
            return self.dataset.read_range(sample.shard, sample.clip_offset + offset, size)

        with RangeFile(fetch, sample.clip_size) as file:
            if sample.kind == "image":
                file.expect(0, sample.clip_size)
            yield from iter_clip(file, indices=indices)


class EditSamples:
    """A map-style dataset over the slots of a `Mixing`. Indexed by slot, not by number."""

    def __init__(self, reader: SampleReader, mixing: Mixing, table: SampleTable) -> None:
        self.reader, self.mixing, self.table = reader, mixing, table

    def __getitem__(self, slot: Slot) -> Example:
        """The slot's sample; where it is broken, another of the same kind and task, and a warning.

        Raises DataError when `ATTEMPTS` samples in a row are broken.
        """
        problem = ""
        for attempt in range(ATTEMPTS):
            sample = self.table.sample((slot.kind, slot.task), self.mixing.row(slot, attempt))
            try:
                return self._read(slot, sample)
            except (StorageError, MediaError, OSError, ValueError) as error:
                problem = f"{sample.sample_id}: {' '.join(str(error).split())}"
                log.warning("sample %s is left out of %s", problem, slot.key)
        raise DataError(f"{ATTEMPTS} samples in a row could not be read; the last was {problem}")

    def _read(self, slot: Slot, sample: Sample) -> Example:
        """Read a sample, again after a while where the store did not answer: that is no fault of the sample's."""
        for wait in WAITS:
            try:
                return self.reader.read(slot, sample)
            except DatasetDamaged:
                raise
            except (StorageError, OSError) as error:
                log.warning("%s is read again in %d s: %s", sample.sample_id, wait, error)
                time.sleep(wait)
        return self.reader.read(slot, sample)


def cut_masks(track: MaskTrack, window: Window, variant_parameters: str) -> npt.NDArray[np.bool_]:
    """The masks that a variant (JSON of its parameters) gives in a window, (frames, height, width)."""
    parameters = json.loads(variant_parameters)
    masks = np.empty((len(window.indices), window.height, window.width), np.bool_)
    for index in set(window.indices):
        masks[window.places(index)] = window.cut_mask(variant_of_frame(track, index, parameters))
    return masks


def shape_of(sample: Sample) -> ClipShape:
    """The sample's clip, as windows see it."""
    return ClipShape(sample.clip_id, sample.kind, sample.width, sample.height, sample.fps, sample.num_frames)
