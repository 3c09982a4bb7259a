"""A tiny CogVideoX base of random weights, and small things to feed it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import CogVideoXTransformer3DModel

from train.base_model import load_inpaint_transformer
from train.conditioning import LatentBatch
from train.inpaint_pipeline import VividInpaintPipeline
from train.tiny_base import TinyBaseSettings, save_tiny_base

_BASES = tempfile.TemporaryDirectory(prefix="tiny-cogvideox-")
TEXT_TOKENS = 16


def save_tiny_cogvideox(folder: Path) -> None:
    save_tiny_base(folder, TinyBaseSettings(text_tokens=TEXT_TOKENS))


@cache
def tiny_base(**settings: object) -> Path:
    """The folder of a base with these settings; made once, not to be written into."""
    number = len(list(Path(_BASES.name).iterdir()))
    return save_tiny_base(Path(_BASES.name) / str(number), TinyBaseSettings(text_tokens=TEXT_TOKENS, **settings))


def plain_transformer(**settings: object) -> CogVideoXTransformer3DModel:
    """The base's own transformer, for comparison."""
    return CogVideoXTransformer3DModel.from_pretrained(tiny_base(**settings), subfolder="transformer").eval()


def inpaint_transformer(**settings: object) -> CogVideoXTransformer3DModel:
    return load_inpaint_transformer(tiny_base(**settings))


def inpaint_pipeline(model: Path | None = None, **components: object) -> VividInpaintPipeline:
    """A pipeline without a progress bar; of the plain tiny base when no model is named."""
    pipeline = VividInpaintPipeline.from_pretrained(model or tiny_base(), **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latent_batch(size: int = 2, frames: int = 3, seed: int = 0) -> LatentBatch:
    """Random latents at the tiny base's size, 8×12 cells."""
    mask = torch.zeros(size, frames, 1, 8, 12)
    mask[:, :, :, 2:5, 3:9] = 1
    return LatentBatch(
        sample_ids=tuple(f"sample-{row}" for row in range(size)),
        latents=noise(size, frames, 16, 8, 12, seed=seed),
        masked_latents=noise(size, frames, 16, 8, 12, seed=seed + 1),
        mask=mask,
        text=noise(size, TEXT_TOKENS, 32, seed=seed + 2),
    )


def small_clip(
    frames: int = 9, height: int = 64, width: int = 96, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Coloured noise in 8×8 blocks (F, H, W, 3), and a square mask that moves right (F, H, W)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, height // 8, width // 8, 3), np.uint8)
    masks = np.zeros((frames, height, width), np.bool_)
    for frame in range(frames):
        masks[frame, 16:40, 20 + frame : 44 + frame] = True
    return coarse.repeat(8, axis=1).repeat(8, axis=2), masks
