"""A CogVideoX base of random weights, small enough to train on a CPU in seconds.

It stands in where no base was given (`make train`) and in tests: every part is there and of the real classes, saved and
loaded as the real ones are, but it has learnt nothing. What comes out of it is noise.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from pydantic import BaseModel, Field
from transformers import T5Config, T5EncoderModel, T5Tokenizer

TINY_BASE_NOTICE = (
    "This base is a tiny CogVideoX of random weights. It shows that training runs; it cannot edit a video."
)
"""Said wherever such a base is used, and written into its folder."""

FREQUENT_WORDS = """
    a an the and in on of at to with that red green blue yellow orange purple pink brown black white grey cyan magenta
    dark light small large round square circle disc triangle ring star cross bar ball box ellipse person man woman dog
    cat car bird left right top bottom middle moving still slowly fast over under before remove objects generate areas
    blend background
"""
"""Words that are one token each; anything else is spelt in letters."""


class TinyBaseSettings(BaseModel, frozen=True, extra="forbid"):
    """Sizes of the random base. The defaults have 0.16 million weights and take 64×96 pixels, 9 frames."""

    height: int = Field(default=64, ge=16, multiple_of=16, description="pixels the positions are made for")
    width: int = Field(default=96, ge=16, multiple_of=16, description="pixels the positions are made for")
    num_frames: int = Field(default=9, ge=1, description="frames the positions are made for, 8k + 1")
    in_channels: int = Field(default=16, ge=1, description="16: text-to-video; 32: image-to-video")
    positions: Literal["rotary", "learned", "sincos"] = Field(
        default="rotary", description="rotary: as CogVideoX-5b; learned: as 5b-I2V (rotary as well); sincos: as 2b"
    )
    scheduler: Literal["ddim", "dpm"] = Field(default="dpm", description="ddim: as CogVideoX-2b; dpm: as 5b")
    heads: int = Field(default=2, ge=1, description="attention heads")
    head_dim: Literal[16, 32, 64] = Field(default=16, description="features per head, divisible as rotary asks")
    layers: int = Field(default=2, ge=1, description="transformer blocks")
    text_features: int = Field(default=32, ge=8, multiple_of=8, description="features of the text encoder")
    text_tokens: int = Field(default=226, ge=2, description="longest prompt, as the released bases")
    vae_channels: int = Field(default=8, ge=2, multiple_of=2, description="features of each level of the VAE")
    seed: int = Field(default=0, ge=0, description="of the random weights")


def save_tiny_base(folder: str | Path, settings: TinyBaseSettings | None = None) -> Path:
    """Write the base as diffusers would, with a README that says what it is; returns the folder.

    Equal settings give equal weights; the caller's random state is left alone.
    """
    settings = settings or TinyBaseSettings()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        words = [word for word in FREQUENT_WORDS.split() if len(word) > 1]
        tokenizer = word_tokenizer([*words, "a"], settings.text_tokens)
        text_encoder = random_t5(len(tokenizer), settings.text_features)
        vae = tiny_vae(settings)
        transformer = _transformer(settings)
    scheduler = noise_schedule({"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[settings.scheduler])
    target = Path(folder)
    CogVideoXPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
    ).save_pretrained(target)
    (target / "README.md").write_text(f"# Random weights\n\n{TINY_BASE_NOTICE}\n", encoding="utf-8")
    return target


def noise_schedule(
    kind: type[CogVideoXDDIMScheduler | CogVideoXDPMScheduler],
) -> CogVideoXDDIMScheduler | CogVideoXDPMScheduler:
    """A scheduler with the noise levels of the released bases."""
    return kind(
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


def word_tokenizer(words: Sequence[str], max_tokens: int) -> T5Tokenizer:
    """A tokenizer with one token for each of these words; anything else is spelt in letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in string.ascii_letters + string.digits + ".,'-!?"]
    pieces += [("▁" + word, -1.0) for word in words]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=max_tokens)


def random_t5(vocabulary: int, features: int, head_features: int = 8) -> T5EncoderModel:
    """T5 that has learnt nothing: it still gives every word a vector of its own."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=features,
        d_kv=head_features,
        d_ff=2 * features,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    model = T5EncoderModel(config)
    model.train(False)
    return model


def tiny_vae(settings: TinyBaseSettings) -> AutoencoderKLCogVideoX:
    """A random VAE of CogVideoX's shape: 16 latent channels, 8×8 pixels a cell, 4 frames a latent."""
    channels = settings.vae_channels
    return AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        block_out_channels=(channels,) * 4,
        latent_channels=16,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        sample_height=settings.height,
        sample_width=settings.width,
        scaling_factor=0.7,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
    ).eval()


def _transformer(settings: TinyBaseSettings) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(
        num_attention_heads=settings.heads,
        attention_head_dim=settings.head_dim,
        in_channels=settings.in_channels,
        out_channels=16,
        time_embed_dim=32,
        text_embed_dim=settings.text_features,
        num_layers=settings.layers,
        sample_width=settings.width // 8,
        sample_height=settings.height // 8,
        sample_frames=settings.num_frames,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=settings.text_tokens,
        use_rotary_positional_embeddings=settings.positions != "sincos",
        use_learned_positional_embeddings=settings.positions == "learned",
    ).eval()
