"""The parts of a base that do not learn: VAE, noise schedule, T5 with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler
from transformers import AutoTokenizer, T5EncoderModel

from train.base_model import find_components
from train.checkpoint import first_line
from train.text import TextEncoder


def load_vae(model: str | Path, dtype: torch.dtype, device: torch.device | str) -> AutoencoderKLCogVideoX:
    """The video autoencoder of a base or of a checkpoint's base. Raises ValueError with one sentence."""
    source, revision = find_components(model)
    try:
        vae = AutoencoderKLCogVideoX.from_pretrained(
            source, subfolder="vae", revision=revision, dtype=dtype, use_safetensors=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the VAE of {source} cannot be loaded: {first_line(error)}") from error
    return vae.to(device).eval().requires_grad_(False)


def load_noise_schedule(model: str | Path) -> CogVideoXDDIMScheduler:
    """The base's noise levels (DDIM and DPM schedulers share them). Raises ValueError with one sentence."""
    source, revision = find_components(model)
    try:
        return CogVideoXDDIMScheduler.from_pretrained(source, subfolder="scheduler", revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"the scheduler of {source} cannot be loaded: {first_line(error)}") from error


def load_text_encoder(
    model: str | Path, max_tokens: int, dtype: torch.dtype, device: torch.device | str
) -> TextEncoder:
    """T5 of a base or of a checkpoint's base. Raises ValueError with one sentence."""
    source, revision = find_components(model)
    # Transformers wants a name here; a folder has no revisions.
    where: dict[str, Any] = {"revision": revision or "main", "dtype": dtype, "use_safetensors": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, subfolder="tokenizer", revision=where["revision"])
        encoder: Any = T5EncoderModel.from_pretrained(source, subfolder="text_encoder", **where)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the text encoder of {source} cannot be loaded: {first_line(error)}") from error
    return TextEncoder(tokenizer, encoder.to(device).eval(), max_tokens)
