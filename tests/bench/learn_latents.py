"""Latents in memory: each clip and each (mask, keyframe or not) is encoded once, beforehand or when first asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from manifests.dataset import Dataset
from stages.windows import Window, WindowSettings
from train.conditioning import encode_masked_video, encode_video, mask_video, set_keyframe, to_mask, to_model_range
from train.data import Example, SampleReader, Stored
from train.mixing import Slot
from train.sample_table import Sample, SampleTable

_ENCODED = ("_clips", "_masked")


class _MasksOnly:
    """A LatentStore that claims to have everything, so that its reader decodes no frames."""

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        return Stored(latents=torch.empty(0), masked_latents=torch.empty(0))


class MemoryLatents:
    """A LatentStore for clips of which each is one window (`fixed` windows as long as the clip)."""

    def __init__(self, url: str, windows: WindowSettings, vae: AutoencoderKLCogVideoX) -> None:
        self.vae: AutoencoderKLCogVideoX | None = vae
        self._clips_reader = SampleReader(url, windows, seed=0)
        self._masks_reader = SampleReader(url, windows, seed=0, latents=_MasksOnly())
        self._videos: dict[str, Tensor] = {}
        self._clips: dict[str, Tensor] = {}
        self._masked: dict[tuple[str, str, bool], Tensor] = {}

    def __getstate__(self) -> dict[str, object]:
        # Another process gets what was encoded, as arrays: of tensors each would take a file descriptor.
        encoded = {name: {key: value.numpy() for key, value in self.__dict__[name].items()} for name in _ENCODED}
        return {**self.__dict__, **encoded, "_videos": {}, "vae": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        encoded = {name: {key: torch.from_numpy(value) for key, value in state[name].items()} for name in _ENCODED}
        self.__dict__.update({**state, **encoded})

    def fill(self, split: str) -> None:
        """Encode all that samples of a split ask for, keyframes apart; two clips at a time."""
        table = SampleTable(Dataset(self._clips_reader.url), split)
        clips: dict[str, dict[tuple[str, str, bool], Sample]] = {}
        for stratum, rows in table.strata.items():
            for sample in (table.sample(stratum, row) for row in range(rows.num_rows)):
                clips.setdefault(sample.clip_id, {})[sample.track_id, sample.mask_variant, False] = sample
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._fill_clip, clips.values()))

    def _fill_clip(self, samples: dict[tuple[str, str, bool], Sample]) -> None:
        for key, sample in samples.items():
            if key not in self._masked:
                self.find(sample, read_whole(self._masks_reader, sample).window, kive=False)

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        """Both latents of the sample; no text."""
        key = (sample.track_id, sample.mask_variant, kive)
        if key not in self._masked:
            if self.vae is None:
                raise LookupError(f"{sample.sample_id} was not encoded beforehand")
            if sample.clip_id not in self._clips:
                video, _ = to_tensors(read_whole(self._clips_reader, sample))
                self._videos[sample.clip_id], self._clips[sample.clip_id] = video, encode_video(self.vae, video)[0]
            video = self._videos[sample.clip_id]
            example = read_whole(self._masks_reader, sample)
            if example.window != window:
                raise ValueError(f"the clip of {sample.sample_id} is longer than one window")
            mask = to_mask(example.masks).unsqueeze(0)
            masked = mask_video(video, mask)
            if kive:
                masked, _ = set_keyframe(masked, mask, video[:, :, 0])
            self._masked[key] = encode_masked_video(self.vae, masked)[0]
        return Stored(latents=self._clips[sample.clip_id], masked_latents=self._masked[key])


def read_whole(reader: SampleReader, sample: Sample) -> Example:
    """A sample by itself, as no step of a training."""
    return reader.read(Slot(f"bench {sample.sample_id}", sample.kind, sample.task, 0, kive=False), sample)


def to_tensors(example: Example) -> tuple[Tensor, Tensor]:
    """Pixels (1, 3, F, H, W) in [-1, 1] and mask (1, 1, F, H, W) of an example with frames."""
    assert example.frames is not None, "this reader has no stored latents"
    return to_model_range(example.frames).unsqueeze(0), to_mask(example.masks).unsqueeze(0)


def videos_and_masks(url: str, windows: WindowSettings, split: str, masks_per_clip: int = 2) -> tuple[Tensor, Tensor]:
    """Every clip of a split once, (N, 3, F, H, W), and some of its masks, (M, 1, F, H, W)."""
    reader, table = SampleReader(url, windows, seed=0), SampleTable(Dataset(url), split)
    rows: dict[str, list[Sample]] = {}
    for stratum, samples in table.strata.items():
        kinds: npt.NDArray[np.str_] = np.asarray(samples["caption_kind"].to_pylist())
        for row in np.flatnonzero((kinds == "medium") | (kinds == "fixed")):
            sample = table.sample(stratum, int(row))
            rows.setdefault(sample.clip_id, []).append(sample)
    videos, masks = [], []
    for _, samples in sorted(rows.items()):
        chosen = samples[:: max(1, len(samples) // masks_per_clip)]
        pairs = [to_tensors(read_whole(reader, sample)) for sample in chosen]
        videos.append(pairs[0][0])
        masks += [mask for _, mask in pairs]
    return torch.cat(videos), torch.cat(masks)
