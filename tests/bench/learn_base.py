"""A CogVideoX base around the trained VAE: every part of the real classes, transformer and T5 of random weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)

from train.tiny_base import noise_schedule, random_t5, word_tokenizer


@dataclass(frozen=True)
class BaseSizes:
    """Sizes of the transformer and of the text. `side` is in pixels, `frames` those of a window."""

    side: int = 64
    frames: int = 9
    heads: int = 4
    head_dim: int = 32
    layers: int = 4
    text_features: int = 64
    text_tokens: int = 24
    seed: int = 0


def save_base(folder: Path, vae: AutoencoderKLCogVideoX, captions: Iterable[str], sizes: BaseSizes) -> Path:
    """Write the base as diffusers would and return its folder. The words of `captions` are one token each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sizes.seed)
        words = sorted({word for text in captions for word in re.findall(r"[A-Za-z]+", text) if len(word) > 1})
        tokenizer = word_tokenizer(["a", "A", *words], sizes.text_tokens)
        parts = {
            "tokenizer": tokenizer,
            "text_encoder": random_t5(len(tokenizer), sizes.text_features, head_features=16),
            "transformer": _transformer(sizes),
        }
    scheduler = noise_schedule(CogVideoXDDIMScheduler)
    CogVideoXPipeline(vae=vae, scheduler=scheduler, **parts).save_pretrained(folder)
    return folder


def _transformer(sizes: BaseSizes) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.head_dim,
        in_channels=16,
        out_channels=16,
        time_embed_dim=64,
        text_embed_dim=sizes.text_features,
        num_layers=sizes.layers,
        sample_width=sizes.side // 8,
        sample_height=sizes.side // 8,
        sample_frames=sizes.frames,
        patch_size=1,
        temporal_compression_ratio=4,
        max_text_seq_length=sizes.text_tokens,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=False,
    ).eval()
