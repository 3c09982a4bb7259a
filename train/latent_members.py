"""Latents and text embeddings as bytes, exactly as the models gave them.

The VAE's mean is stored before it is scaled, in the number format the VAE computed in: scaling in float32 when read
then gives bit for bit what encoding while training gives, also in bfloat16.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor


@torch.no_grad()
def encode_mean(vae: AutoencoderKLCogVideoX, video: Tensor) -> Tensor:
    """Unscaled latents (F', C, h, w) of one video (1, 3, F, H, W) on the VAE's device, in its number format."""
    mean: Tensor = vae.encode(video.to(vae.dtype)).latent_dist.mode()
    return mean[0].transpose(0, 1)


def video_scale(vae: AutoencoderKLCogVideoX) -> float:
    """Factor of the video's latents, see `train.conditioning.encode_video`."""
    return float(vae.config.scaling_factor)


def masked_scale(vae: AutoencoderKLCogVideoX) -> float:
    """Factor of the masked video's latents, see `train.conditioning.encode_masked_video`."""
    scale = float(vae.config.scaling_factor)
    return 1 / scale if vae.config.invert_scale_latents else scale


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
