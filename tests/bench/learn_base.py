"""A CogVideoX base around the trained VAE: every part of the real classes, transformer and T5 of random weights."""

from __future__ import annotations

import re
import string
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
from transformers import T5Config, T5EncoderModel, T5Tokenizer


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
        tokenizer = _tokenizer(captions, sizes)
        parts = {
            "tokenizer": tokenizer,
            "text_encoder": _text_encoder(len(tokenizer), sizes),
            "transformer": _transformer(sizes),
        }
    scheduler = CogVideoXDDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )
    CogVideoXPipeline(vae=vae, scheduler=scheduler, **parts).save_pretrained(folder)
    return folder


def _tokenizer(captions: Iterable[str], sizes: BaseSizes) -> T5Tokenizer:
    words = sorted({word for caption in captions for word in re.findall(r"[A-Za-z]+", caption) if len(word) > 1})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in string.ascii_letters + string.digits + ".,'-!?"]
    pieces += [("▁" + word, -1.0) for word in ["a", "A", *words]]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=sizes.text_tokens)


def _text_encoder(vocabulary: int, sizes: BaseSizes) -> T5EncoderModel:
    """T5 that has learnt nothing: it still gives every word a vector of its own."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=sizes.text_features,
        d_kv=16,
        d_ff=2 * sizes.text_features,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    encoder = T5EncoderModel(config)
    encoder.train(False)
    return encoder


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
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=sizes.text_tokens,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=False,
    ).eval()
