"""The parts of a base that a training works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from train.base_model import find_components, load_learning_transformer
from train.base_parts import load_noise_schedule, load_text_encoder, load_vae
from train.latent_batches import CaptionCache


@dataclass
class Components:
    """The parts of a base. T5 is loaded only when a caption has no stored embedding."""

    transformer: CogVideoXTransformer3DModel
    vae: AutoencoderKLCogVideoX
    scheduler: Any
    captions: CaptionCache
    revision: str | None = None
    """Of the base on the hub, where that is known."""


def load_components(base: str, dtype: torch.dtype, device: torch.device, whole: bool = False) -> Components:
    """Load a base in a number format; the transformer stays on the CPU until it is prepared.

    Of a LoRA of this project its base is loaded; the update is the trainer's to load onto its adapter. Where the
    `whole` transformer learns it is loaded in float32: what an earlier training learnt must not be rounded.
    """
    transformer = load_learning_transformer(base, dtype=torch.float32 if whole else dtype)
    max_tokens = int(transformer.config.max_text_seq_length)
    captions = CaptionCache(lambda: load_text_encoder(base, max_tokens, dtype, device))
    revision = find_components(base)[1]
    return Components(transformer, load_vae(base, dtype, device), load_noise_schedule(base), captions, revision)
