"""Latents and text embeddings as bytes, exactly as the models gave them.

The VAE's mean is stored before it is scaled, in the number format the VAE computed in: scaling in float32 when read
then gives bit for bit what encoding while training gives, also in bfloat16.
"""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor


def pack_latents(mean: Tensor, scale: float) -> bytes:
    """Unscaled latents and their factor as a safetensors file."""
    return save({"mean": mean.contiguous().cpu(), "scale": torch.tensor(scale, dtype=torch.float64)})


def unpack_latents(data: bytes) -> Tensor:
    """Scaled latents (F', C, h, w) float32. Raises ValueError when the bytes are no such file."""
    tensors = _load(data, ("mean", "scale"))
    return tensors["mean"].float() * float(tensors["scale"])


def pack_text(text: Tensor) -> bytes:
    """A text embedding (tokens, features) as a safetensors file."""
    return save({"text": text.contiguous().cpu()})


def unpack_text(data: bytes) -> Tensor:
    """The text embedding (tokens, features) float32. Raises ValueError when the bytes are no such file."""
    return _load(data, ("text",))["text"].float()


def _load(data: bytes, names: tuple[str, ...]) -> dict[str, Tensor]:
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"stored latents are damaged: {error}") from error
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(f"stored latents are damaged: there is no '{missing[0]}' in them")
    return tensors
