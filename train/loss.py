"""The diffusion objective: mean squared error of the predicted velocity, per sample.

With v = √ᾱ·ε − √(1 − ᾱ)·x₀, weighting the error of x₀ by 1 / (1 − ᾱ), as CogVideoX's own recipe does, is the plain
error of v; the plain form has no weight that blows up where ᾱ is near 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXTransformer3DModel
from torch import Tensor, nn

from manifests.ids import draw, draw_choice
from train.conditioning import LatentBatch, join_channels
from train.positions import rotary_embedding
from train.precision import compute_dtype, matching_autocast


@dataclass(frozen=True)
class NoiseDraw:
    """The random part of a step: noise (B, F, C, h, w) float32 and timesteps (B,) int64."""

    noise: Tensor
    timesteps: Tensor


def draw_noise(seed: int, step: int, keys: Sequence[str], shape: Sequence[int], num_timesteps: int = 1000) -> NoiseDraw:
    """Noise and timesteps of a step, each sample's from (seed, step, its key) alone.

    Drawn on the CPU, so they depend neither on the device, nor on the batch a sample falls into, nor on whether latents
    were stored beforehand.

    Args:
        seed: the run's seed.
        step: global step.
        keys: a name per sample: its id, with its place in the step where a sample may come twice.
        shape: (F, C, h, w) of one sample's latents.
        num_timesteps: timesteps of the scheduler, drawn uniformly.
    """
    noise = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(draw(seed, key, f"train/noise/{step}")))
        for key in keys
    ]
    timesteps = [draw_choice(seed, key, f"train/timestep/{step}", num_timesteps) for key in keys]
    return NoiseDraw(torch.stack(noise), torch.tensor(timesteps))


class VelocityObjective:
    """Per-sample loss of a transformer on a batch.

    Args:
        transformer: the model itself, for its configuration and formats; what is called may be wrapped (DDP, FSDP).
        scheduler: gives the noise levels. Raises ValueError unless it predicts the velocity.
        dtype: number format of the computation; that of the frozen weights when None.
    """

    def __init__(
        self,
        transformer: CogVideoXTransformer3DModel,
        scheduler: CogVideoXDDIMScheduler | CogVideoXDPMScheduler,
        dtype: torch.dtype | None = None,
    ) -> None:
        kind = scheduler.config.prediction_type
        if kind != "v_prediction":
            raise ValueError(f"the base's scheduler predicts '{kind}', and this objective is for 'v_prediction'")
        self.transformer, self.dtype = transformer, dtype or compute_dtype(transformer)
        self.num_timesteps = int(scheduler.config.num_train_timesteps)
        # The schedulers' own methods round the levels to the latents' format before they take roots.
        levels = scheduler.alphas_cumprod.double()
        self.signal_levels: Tensor = levels.sqrt().float()
        self.noise_levels: Tensor = (1 - levels).sqrt().float()

    def __call__(self, model: nn.Module | Callable[..., tuple[Tensor]], batch: LatentBatch, drawn: NoiseDraw) -> Tensor:
        """Loss per sample (B,) float32; its mean is what is minimised."""
        latents = batch.latents.float()
        noise, timesteps = drawn.noise.to(latents.device), drawn.timesteps.to(latents.device)
        noisy, velocity = self.noisy_and_velocity(latents, noise, timesteps)
        with matching_autocast(self.transformer, self.dtype):
            predicted = model(
                hidden_states=join_channels(noisy.to(self.dtype), batch.masked_latents, batch.mask),
                encoder_hidden_states=batch.text.to(self.dtype),
                timestep=timesteps,
                image_rotary_emb=rotary_embedding(self.transformer, latents),
                return_dict=False,
            )[0]
        return (predicted.float() - velocity).square().flatten(1).mean(1)

    def noisy_and_velocity(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """x_t = √ᾱ·x₀ + √(1 − ᾱ)·ε and v = √ᾱ·ε − √(1 − ᾱ)·x₀, for latents (B, F, C, h, w) and timesteps (B,)."""
        signal = self.signal_levels.to(latents.device)[timesteps].view(-1, 1, 1, 1, 1)
        spread = self.noise_levels.to(latents.device)[timesteps].view(-1, 1, 1, 1, 1)
        return signal * latents + spread * noise, signal * noise - spread * latents


def non_finite_samples(losses: Tensor, sample_ids: Sequence[str]) -> list[str]:
    """Ids of the samples whose loss is not a number or infinite."""
    finite = torch.isfinite(losses.detach()).tolist()
    return [sample for sample, good in zip(sample_ids, finite, strict=True) if not good]
