"""Latents in memory: every (clip, mask, keyframe or not) is encoded once, when training first asks for it."""

from __future__ import annotations

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


class _MasksOnly:
    """A LatentStore that claims to have everything, so that its reader decodes no frames."""

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        return Stored(latents=torch.empty(0), masked_latents=torch.empty(0))


class MemoryLatents:
    """A LatentStore for clips of which each is one window (`fixed` windows as long as the clip)."""

    def __init__(self, url: str, windows: WindowSettings, vae: AutoencoderKLCogVideoX) -> None:
        self.vae = vae
        self._clips_reader = SampleReader(url, windows, seed=0)
        self._masks_reader = SampleReader(url, windows, seed=0, latents=_MasksOnly())
        self._clips: dict[str, tuple[Tensor, Tensor]] = {}
        self._masked: dict[tuple[str, str, bool], Tensor] = {}

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        """Both latents of the sample; no text."""
        if sample.clip_id not in self._clips:
            video, _ = to_tensors(read_whole(self._clips_reader, sample))
            self._clips[sample.clip_id] = video, encode_video(self.vae, video)[0]
        video, latents = self._clips[sample.clip_id]
        key = (sample.track_id, sample.mask_variant, kive)
        if key not in self._masked:
            example = read_whole(self._masks_reader, sample)
            if example.window != window:
                raise ValueError(f"the clip of {sample.sample_id} is longer than one window")
            mask = to_mask(example.masks).unsqueeze(0)
            masked = mask_video(video, mask)
            if kive:
                masked, _ = set_keyframe(masked, mask, video[:, :, 0])
            self._masked[key] = encode_masked_video(self.vae, masked)[0]
        return Stored(latents=latents, masked_latents=self._masked[key])


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
