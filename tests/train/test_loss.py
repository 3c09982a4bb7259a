"""The objective against the schedulers' own algebra, and draws that depend on names alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from tiny_models.cogvideox import inpaint_transformer, latent_batch, tiny_base

from train.loss import NoiseDraw, VelocityObjective, draw_noise, non_finite_samples
from train.positions import rotary_embedding


@pytest.fixture(scope="module")
def transformer():
    return inpaint_transformer()


@pytest.fixture(scope="module")
def scheduler():
    return CogVideoXDPMScheduler.from_pretrained(tiny_base(), subfolder="scheduler")


def draws(batch, step=3):
    return draw_noise(7, step, batch.sample_ids, batch.latents.shape[1:])


def test_loss_is_the_weighted_error_of_the_clean_latents(transformer, scheduler):
    batch = latent_batch(size=3)
    drawn = draws(batch)
    with torch.no_grad():
        losses = VelocityObjective(transformer, scheduler)(transformer, batch, drawn)
        # As CogVideoX's own training does it, with the scheduler's methods.
        noisy = scheduler.add_noise(batch.latents, drawn.noise, drawn.timesteps)
        output = transformer(
            torch.cat([noisy, batch.masked_latents, batch.mask], dim=2),
            batch.text,
            drawn.timesteps,
            image_rotary_emb=rotary_embedding(transformer, noisy),
        ).sample
    clean = scheduler.get_velocity(output, noisy, drawn.timesteps)
    weight = 1 / (1 - scheduler.alphas_cumprod[drawn.timesteps]).view(-1, 1, 1, 1, 1)
    expected = (weight * (clean - batch.latents) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(losses, expected.float(), rtol=1e-5, atol=1e-6)
    assert losses.shape == (3,)
    assert losses.std() > 0.01


@pytest.mark.parametrize("kind", [CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
def test_noisy_latents_and_velocity_are_the_schedulers(transformer, kind):
    scheduler = kind.from_pretrained(tiny_base(), subfolder="scheduler")
    batch = latent_batch(size=4)
    noise = draws(batch).noise
    timesteps = torch.tensor([0, 1, 500, 999])
    noisy, velocity = VelocityObjective(transformer, scheduler).noisy_and_velocity(batch.latents, noise, timesteps)
    torch.testing.assert_close(noisy, scheduler.add_noise(batch.latents, noise, timesteps))
    torch.testing.assert_close(velocity, scheduler.get_velocity(batch.latents, noise, timesteps))
    torch.testing.assert_close(noisy[3], noise[3], rtol=0, atol=1e-6)


def test_draws_depend_on_seed_step_and_key_alone():
    shape = (3, 16, 8, 12)
    pair, alone = draw_noise(7, 3, ["a", "b"], shape), draw_noise(7, 3, ["b"], shape)
    assert torch.equal(pair.noise[1], alone.noise[0])
    assert pair.timesteps[1] == alone.timesteps[0]
    assert not torch.equal(pair.noise[0], pair.noise[1])
    for other in (draw_noise(8, 3, ["b"], shape), draw_noise(7, 4, ["b"], shape)):
        assert not torch.equal(other.noise, alone.noise)


def test_draws_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw_noise(7, 3, ["a"], (1, 2, 3, 4))
    assert torch.equal(torch.rand(3), expected)


def test_timesteps_are_uniform_over_the_schedule():
    keys = [str(number) for number in range(2000)]
    timesteps = draw_noise(0, 0, keys, (1,)).timesteps
    assert timesteps.min() >= 0
    assert timesteps.max() <= 999
    counts = torch.histc(timesteps.float(), 10, 0, 1000)
    assert counts.min() > 150
    assert counts.max() < 250
    assert draw_noise(0, 0, keys[:50], (1,), num_timesteps=5).timesteps.unique().tolist() == [0, 1, 2, 3, 4]


def test_a_samples_loss_does_not_depend_on_its_batch(transformer, scheduler):
    objective, batch = VelocityObjective(transformer, scheduler), latent_batch()
    drawn = draws(batch)
    alone = replace(
        batch,
        sample_ids=batch.sample_ids[1:],
        latents=batch.latents[1:],
        masked_latents=batch.masked_latents[1:],
        mask=batch.mask[1:],
        text=batch.text[1:],
    )
    with torch.no_grad():
        together = objective(transformer, batch, drawn)
        single = objective(transformer, alone, draws(alone))
    torch.testing.assert_close(single, together[1:])


def test_a_broken_sample_is_named(transformer, scheduler):
    batch = latent_batch(size=3)
    latents = batch.latents.clone()
    latents[1, 0, 0, 0, 0] = float("nan")
    batch = replace(batch, latents=latents)
    with torch.no_grad():
        losses = VelocityObjective(transformer, scheduler)(transformer, batch, draws(batch))
    assert non_finite_samples(losses, batch.sample_ids) == ["sample-1"]
    assert non_finite_samples(torch.tensor([1.0, float("inf")]), ["a", "b"]) == ["b"]


def test_scheduler_of_another_objective_is_refused(transformer, scheduler):
    other = CogVideoXDPMScheduler.from_config(scheduler.config, prediction_type="epsilon")
    with pytest.raises(ValueError, match="predicts 'epsilon'"):
        VelocityObjective(transformer, other)


def test_same_draw_same_loss(transformer, scheduler):
    objective, batch = VelocityObjective(transformer, scheduler), latent_batch()
    with torch.no_grad():
        first, second = (objective(transformer, batch, draws(batch)) for _ in range(2))
        other = objective(transformer, batch, NoiseDraw(-draws(batch).noise, draws(batch).timesteps))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
