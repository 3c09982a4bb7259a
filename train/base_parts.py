"""The parts of a base that do not learn: VAE, noise schedule, T5 with its tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler
from transformers import AutoTokenizer, T5EncoderModel

from train.base_model import components_source
from train.text import TextEncoder


def load_vae(model: str | Path, dtype: torch.dtype, device: torch.device | str) -> AutoencoderKLCogVideoX:
    """The video autoencoder of a base or of a checkpoint's base. Raises ValueError with one sentence."""
    source = components_source(model)
    try:
        vae = AutoencoderKLCogVideoX.from_pretrained(source, subfolder="vae", dtype=dtype, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the VAE of {source} cannot be loaded: {_first_line(error)}") from error
    return vae.to(device).eval().requires_grad_(False)


def load_noise_schedule(model: str | Path) -> CogVideoXDDIMScheduler:
    """The base's noise levels (DDIM and DPM schedulers share them). Raises ValueError with one sentence."""
    source = components_source(model)
    try:
        return CogVideoXDDIMScheduler.from_pretrained(source, subfolder="scheduler")
    except (OSError, ValueError) as error:
        raise ValueError(f"the scheduler of {source} cannot be loaded: {_first_line(error)}") from error


def load_text_encoder(
    model: str | Path, max_tokens: int, dtype: torch.dtype, device: torch.device | str
) -> TextEncoder:
    """T5 of a base or of a checkpoint's base. Raises ValueError with one sentence."""
    source = components_source(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, subfolder="tokenizer")
        encoder = T5EncoderModel.from_pretrained(source, subfolder="text_encoder", dtype=dtype, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the text encoder of {source} cannot be loaded: {_first_line(error)}") from error
    return TextEncoder(tokenizer, encoder.to(device).eval(), max_tokens)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
