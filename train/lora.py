"""Which weights learn: a LoRA on attention and the whole patch embedder, or everything."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import CogVideoXTransformer3DModel
from peft import LoraConfig
from pydantic import BaseModel, Field
from torch import nn

ATTENTION_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
ADAPTER = "default"
"""Name of the adapter that learns."""


class AdaptationSettings(BaseModel, frozen=True, extra="forbid"):
    """What of the transformer learns."""

    mode: Literal["lora", "full"] = Field(
        default="lora",
        description="lora: low-rank updates of the attention and the whole patch embedder (the paper; fits one GPU); "
        "full: every weight, for small models or many GPUs",
    )
    rank: int = Field(default=32, ge=1, description="rank of the updates; the paper's 32. Lower learns less detail.")
    alpha: int = Field(
        default=32, ge=1, description="updates are scaled by alpha / rank; equal to rank leaves them as learned"
    )
    target_modules: tuple[str, ...] = Field(
        default=ATTENTION_PROJECTIONS, min_length=1, description="layers that get an update, by the end of their names"
    )
    gradient_checkpointing: bool = Field(
        default=True,
        description="recompute activations in the backward pass: about a third slower, but without it a 5B model at "
        "480×720×49 needs several times the memory",
    )


def prepare_for_training(transformer: CogVideoXTransformer3DModel, settings: AdaptationSettings) -> list[nn.Parameter]:
    """Choose what learns, in place, and return it.

    Learning weights are float32, whatever the base's format: small steps vanish in bfloat16. The forward pass then
    needs autocast, see `train.precision`. Raises ValueError when a target is not in the model or an adapter is live.
    """
    if getattr(transformer, "peft_config", None):
        raise ValueError("the transformer has an adapter already; train on a model without one")
    transformer.requires_grad_(settings.mode == "full")
    if settings.mode == "lora":
        transformer.add_adapter(
            LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                init_lora_weights=True,
                target_modules=list(settings.target_modules),
            ),
            adapter_name=ADAPTER,
        )
        # After add_adapter, which freezes everything else.
        transformer.patch_embed.proj.requires_grad_(True)
    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    trainable = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.data = parameter.data.to(torch.float32)
    return trainable
