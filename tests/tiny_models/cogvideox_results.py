"""Tiny models that have learnt something, and what they predict."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import CogVideoXTransformer3DModel

from tiny_models.cogvideox import TEXT_TOKENS, noise, tiny_base
from train.base_model import load_inpaint_transformer
from train.checkpoint import CheckpointConfig, describe
from train.lora import AdaptationSettings, prepare_for_training
from train.positions import rotary_embedding

LORA = AdaptationSettings(rank=4, alpha=12)
FULL = AdaptationSettings(mode="full")


def predict(transformer: CogVideoXTransformer3DModel, hidden: torch.Tensor | None = None) -> torch.Tensor:
    hidden = noise(1, 3, 33, 8, 12) if hidden is None else hidden
    with torch.no_grad():
        return transformer.eval()(
            hidden,
            noise(1, TEXT_TOKENS, 32),
            torch.tensor([300]),
            image_rotary_emb=rotary_embedding(transformer, hidden),
        ).sample


def shake(transformer: CogVideoXTransformer3DModel, seed: int = 5) -> None:
    """Move every learning weight, as training would."""
    with torch.no_grad():
        for number, parameter in enumerate(p for p in transformer.parameters() if p.requires_grad):
            parameter.add_(0.1 * noise(*parameter.shape, seed=seed + number))


def learnt(
    settings: AdaptationSettings, base: Path | None = None, **base_settings: object
) -> tuple[CogVideoXTransformer3DModel, CheckpointConfig]:
    """A model whose learning weights have moved, and the configuration of its checkpoint."""
    base = base or tiny_base(**base_settings)
    transformer = load_inpaint_transformer(base)
    config = describe(transformer, settings, base=str(base), height=64, width=96, num_frames=9)
    prepare_for_training(transformer, settings)
    shake(transformer)
    return transformer, config
