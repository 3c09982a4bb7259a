"""Running a transformer whose learning weights are float32 while the rest is bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import CogVideoXTransformer3DModel


def compute_dtype(transformer: CogVideoXTransformer3DModel) -> torch.dtype:
    """Number format of the frozen weights, which is that of the computation where there are any."""
    dtype: torch.dtype = transformer.proj_out.weight.dtype
    return dtype


def matching_autocast(
    transformer: CogVideoXTransformer3DModel, dtype: torch.dtype | None = None
) -> AbstractContextManager[None]:
    """Autocast to a format (that of the frozen weights when None) where the patch embedder has another; else nothing.

    Where every weight learns, and so is float32, the format must be named.
    """
    dtype = dtype or compute_dtype(transformer)
    if transformer.patch_embed.proj.weight.dtype == dtype:
        return nullcontext()
    return torch.autocast(transformer.device.type, dtype=dtype)
