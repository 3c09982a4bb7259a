"""Running a transformer whose learning weights are float32 while the rest is bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import CogVideoXTransformer3DModel


def compute_dtype(transformer: CogVideoXTransformer3DModel) -> torch.dtype:
    """Number format of the frozen weights, which is that of the computation."""
    dtype: torch.dtype = transformer.proj_out.weight.dtype
    return dtype


def matching_autocast(transformer: CogVideoXTransformer3DModel) -> AbstractContextManager[None]:
    """Autocast to the format of the frozen weights where the patch embedder has another; nothing otherwise."""
    dtype = compute_dtype(transformer)
    if transformer.patch_embed.proj.weight.dtype == dtype:
        return nullcontext()
    return torch.autocast(transformer.device.type, dtype=dtype)
