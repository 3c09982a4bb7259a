"""What learns, and that only that learns."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXDPMScheduler
from tiny_models.cogvideox import inpaint_transformer, latent_batch, tiny_base

from train.lora import AdaptationSettings, prepare_for_training
from train.loss import VelocityObjective, draw_noise
from train.precision import compute_dtype, matching_autocast


def one_backward(transformer):
    scheduler = CogVideoXDPMScheduler.from_pretrained(tiny_base(), subfolder="scheduler")
    batch = latent_batch()
    drawn = draw_noise(0, 0, batch.sample_ids, batch.latents.shape[1:])
    losses = VelocityObjective(transformer, scheduler)(transformer.train(), batch, drawn)
    losses.mean().backward()
    return losses.detach()


def test_lora_and_patch_embedder_learn_and_nothing_else():
    transformer = inpaint_transformer()
    trainable = prepare_for_training(transformer, AdaptationSettings(rank=4))
    names = {name for name, parameter in transformer.named_parameters() if parameter.requires_grad}
    assert {name for name in names if "lora_" not in name} == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    # 2 blocks × 4 projections of 32×32 × (A and B of rank 4), and the embedder.
    assert sum(p.numel() for p in trainable) == 2 * 4 * 2 * 32 * 4 + 33 * 4 * 32 + 32
    one_backward(transformer)
    for name, parameter in transformer.named_parameters():
        assert (parameter.grad is not None) == (name in names), name
    assert transformer.patch_embed.proj.weight.grad[:, 16:].abs().max() > 0, "new channels start to learn at once"
    assert any(p.grad.abs().max() > 0 for n, p in transformer.named_parameters() if "lora_B" in n)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_steps_lower_the_loss(mode):
    transformer = inpaint_transformer()
    optimizer = torch.optim.AdamW(prepare_for_training(transformer, AdaptationSettings(mode=mode)), lr=1e-2)
    losses = []
    for _ in range(10):
        losses.append(one_backward(transformer).mean().item())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]


def test_default_rank_is_the_papers():
    assert AdaptationSettings().rank == 32


def test_full_mode_trains_every_weight():
    transformer = inpaint_transformer()
    trainable = prepare_for_training(transformer, AdaptationSettings(mode="full"))
    assert len(trainable) == len(list(transformer.parameters()))
    one_backward(transformer)
    assert all(parameter.grad is not None for parameter in trainable)


def test_gradient_checkpointing_changes_memory_not_the_gradient():
    gradients = []
    for checkpointing in (False, True):
        transformer = inpaint_transformer()
        torch.manual_seed(0)
        prepare_for_training(transformer, AdaptationSettings(rank=4, gradient_checkpointing=checkpointing))
        assert transformer.is_gradient_checkpointing == checkpointing
        one_backward(transformer)
        gradients.append(transformer.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*gradients)


def test_learning_weights_are_float32_over_a_bfloat16_base():
    transformer = inpaint_transformer()
    exact = one_backward(transformer)
    half = inpaint_transformer().to(torch.bfloat16)
    trainable = prepare_for_training(half, AdaptationSettings(rank=4))
    assert {parameter.dtype for parameter in trainable} == {torch.float32}
    assert compute_dtype(half) == torch.bfloat16
    rounded = one_backward(half)
    assert all(parameter.grad.dtype == torch.float32 for parameter in trainable)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    assert not torch.equal(rounded, exact)


def test_no_autocast_where_formats_agree():
    transformer = inpaint_transformer()
    with matching_autocast(transformer):
        assert not torch.is_autocast_enabled("cpu")


def test_second_adapter_and_unknown_layers_are_refused():
    transformer = inpaint_transformer()
    prepare_for_training(transformer, AdaptationSettings(rank=4))
    with pytest.raises(ValueError, match="has an adapter already"):
        prepare_for_training(transformer, AdaptationSettings(rank=4))
    with pytest.raises(ValueError, match="no_such_layer"):
        prepare_for_training(inpaint_transformer(), AdaptationSettings(target_modules=("no_such_layer",)))
