"""A small VAE of CogVideoX's class, trained on the rendered clips: what the editor's latents are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import Tensor
from torch.nn import functional

from train.conditioning import decode_latents, encode_video, mask_video

CHANNELS = (8, 16, 32, 32)
"""Features of the levels from full size down: few where the picture is large, that is where the time goes."""
CROP = 32
"""Pixels of the squares it is trained on: the network is convolutional, and a quarter of a picture costs a quarter."""


@dataclass(frozen=True)
class VaeTraining:
    """How long and how fast."""

    image_steps: int = 2200
    """First on single frames, which cost a ninth."""
    image_batch: int = 8
    steps: int = 550
    """Then on whole windows."""
    batch: int = 4
    learning_rate: float = 4e-3
    kl: float = 1e-5
    hole_share: float = 0.5
    """Share of the training videos that have the grey hole of an editing mask: the editor's condition looks so."""
    seed: int = 0


def new_vae(side: int, seed: int) -> AutoencoderKLCogVideoX:
    """A random VAE: 16 latent channels, 8×8 pixels a cell, 4 frames a latent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKLCogVideoX(
            block_out_channels=CHANNELS,
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=4,
            temporal_compression_ratio=4,
            sample_height=side,
            sample_width=side,
            scaling_factor=1.0,
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
        )


def train_vae(
    videos: Tensor, masks: Tensor, settings: VaeTraining, on_step: Callable[[int, float], None]
) -> AutoencoderKLCogVideoX:
    """A VAE that reconstructs the videos.

    Args:
        videos: (N, 3, F, H, W) in [-1, 1].
        masks: (M, 1, F, H, W) in {0, 1}: holes to train with.
        settings: how.
        on_step: told the step's number and its error (mean absolute difference, range of the videos).

    Returns:
        The VAE, its scaling factor such that latents of the videos have standard deviation 1.
    """
    vae = new_vae(videos.shape[-1], settings.seed)
    vae.train()
    generator = torch.Generator().manual_seed(settings.seed)
    first = 0
    for images, steps in ((True, settings.image_steps), (False, settings.steps)):
        optimizer = torch.optim.AdamW(vae.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps, pct_start=0.05)
        for step in range(first, first + steps):
            batch = _draw_batch(videos, masks, settings, generator, images=images)
            on_step(step, _one_step(vae, batch, settings, optimizer, generator, images=images))
            schedule.step()
        first += steps
    vae.eval().requires_grad_(False)
    spread = float(torch.cat([encode_video(vae, video) for video in torch.split(videos[:64], 8)]).std())
    vae.register_to_config(scaling_factor=1 / spread)
    return vae


def _one_step(
    vae: AutoencoderKLCogVideoX,
    batch: Tensor,
    settings: VaeTraining,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    *,
    images: bool,
) -> float:
    """One update; returns the error."""
    with single_frames(vae) if images else nullcontext():
        posterior = vae.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        rebuilt = vae.decode(posterior.mean + posterior.std * noise).sample
    error = functional.l1_loss(rebuilt, batch)
    loss = error + functional.mse_loss(rebuilt, batch) + settings.kl * posterior.kl().mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    return float(error.detach())


@contextmanager
def single_frames(vae: AutoencoderKLCogVideoX) -> Iterator[None]:
    """Within the block the VAE takes single frames only, a third faster and with the same result.

    A causal convolution sees a single frame repeated, which is a flat convolution with the kernel summed over time.
    """
    layers = [layer for layer in vae.modules() if isinstance(layer, CogVideoXCausalConv3d)]
    for layer in layers:
        layer.forward = partial(_flat_convolution, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _flat_convolution(
    layer: CogVideoXCausalConv3d, inputs: Tensor, conv_cache: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    convolution = layer.conv
    padding = (layer.height_pad, layer.width_pad)
    flat = functional.conv2d(inputs[:, :, 0], convolution.weight.sum(2), convolution.bias, padding=padding)
    return flat.unsqueeze(2), inputs


@torch.no_grad()
def round_trip(vae: AutoencoderKLCogVideoX, videos: Tensor) -> Tensor:
    """The videos (N, 3, F, H, W) encoded and decoded."""
    return decode_latents(vae, encode_video(vae, videos))


def _draw_batch(
    videos: Tensor, masks: Tensor, settings: VaeTraining, generator: torch.Generator, *, images: bool
) -> Tensor:
    """Random videos or single frames, some with a hole, flipped, turned and cut to a random square."""

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    rows = []
    for _ in range(settings.image_batch if images else settings.batch):
        video = videos[draw(len(videos))].unsqueeze(0)
        if float(torch.rand(1, generator=generator)) < settings.hole_share:
            video = mask_video(video, masks[draw(len(masks))].unsqueeze(0))
        video = torch.rot90(video, draw(4), (-2, -1))
        if draw(2):
            video = video.flip(-1)
        if images:
            frame = draw(video.shape[2])
            video = video[:, :, frame : frame + 1]
        top, left = (draw(side - CROP + 1) for side in video.shape[-2:])
        rows.append(video[..., top : top + CROP, left : left + CROP])
    return torch.cat(rows)
