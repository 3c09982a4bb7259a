"""The expanded model starts as its base, for every kind of base."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXTransformer3DModel
from tiny_models.cogvideox import TEXT_TOKENS, inpaint_transformer, latent_batch, noise, plain_transformer

from train.conditioning import join_channels
from train.patch_embedding import expand_patch_embedding
from train.positions import LearnedPositions, check_size, rotary_embedding

TOLERANCE = 5e-7


def predict(transformer, hidden, frames=3):
    with torch.no_grad():
        return transformer(
            hidden_states=hidden,
            encoder_hidden_states=noise(len(hidden), TEXT_TOKENS, 32, seed=9),
            timestep=torch.full((len(hidden),), 400),
            image_rotary_emb=rotary_embedding(transformer, hidden),
            return_dict=False,
        )[0]


@pytest.mark.parametrize("positions", ["rotary", "sincos", "learned"])
def test_output_is_the_base_for_any_condition(positions):
    base, expanded = plain_transformer(positions=positions), inpaint_transformer(positions=positions)
    batch = latent_batch()
    expected = predict(base, batch.latents)
    for scale in (1, 100):
        joined = join_channels(batch.latents, scale * batch.masked_latents, batch.mask)
        assert (predict(expanded, joined) - expected).abs().max() <= TOLERANCE
    assert expected.std() > 0.1
    assert expanded.config.in_channels == 33


def test_image_channels_become_those_of_the_masked_video():
    base, expanded = plain_transformer(in_channels=32), inpaint_transformer(in_channels=32)
    batch = latent_batch()
    expected = predict(base, torch.cat([batch.latents, batch.masked_latents], dim=2))
    joined = join_channels(batch.latents, batch.masked_latents, batch.mask)
    assert (predict(expanded, joined) - expected).abs().max() <= TOLERANCE
    without = join_channels(batch.latents, torch.zeros_like(batch.masked_latents), batch.mask)
    assert (predict(expanded, without) - expected).abs().max() > 0.01


def test_new_channels_are_heard_once_they_have_weight():
    expanded, batch = inpaint_transformer(), latent_batch()
    joined = join_channels(batch.latents, batch.masked_latents, batch.mask)
    before = predict(expanded, joined)
    with torch.no_grad():
        expanded.patch_embed.proj.weight[:, 32:] = noise(32, 1, 2, 2, seed=4)
    assert (predict(expanded, joined) - before).abs().max() > 0.01


def test_expanded_model_is_not_expanded_again():
    expanded = inpaint_transformer()
    with pytest.raises(ValueError, match="not 33, whose order is not known"):
        expand_patch_embedding(expanded)


def small_transformer(**settings):
    return CogVideoXTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=16,
        num_layers=1,
        time_embed_dim=8,
        text_embed_dim=8,
        sample_width=4,
        sample_height=4,
        sample_frames=9,
        max_text_seq_length=4,
        use_rotary_positional_embeddings=True,
        **settings,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patch_size_t": 2, "patch_bias": False}, "CogVideoX 1.5"),
        ({"ofs_embed_dim": 8, "in_channels": 32}, "ofs embedding"),
        ({"in_channels": 20}, "not 20"),
    ],
)
def test_bases_that_are_not_supported_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        expand_patch_embedding(small_transformer(**settings))


def test_learned_positions_serve_an_image_as_the_first_frame():
    expanded = inpaint_transformer(positions="learned")
    embedder = expanded.patch_embed
    assert isinstance(embedder, LearnedPositions)
    with torch.no_grad():
        embedder.pos_embedding.add_(noise(*embedder.pos_embedding.shape, seed=3))
    latents, text = noise(1, 3, 33, 8, 12), noise(1, TEXT_TOKENS, 32)
    with torch.no_grad():
        video, image = embedder(text, latents), embedder(text, latents[:, :1])
    assert image.shape[1] == TEXT_TOKENS + 24
    torch.testing.assert_close(image, video[:, : TEXT_TOKENS + 24])


def test_learned_positions_do_not_reach_further_than_learnt():
    expanded = inpaint_transformer(positions="learned")
    with pytest.raises(ValueError, match="for 9 frames, not for 17"):
        predict(expanded, noise(1, 5, 33, 8, 12))
    with pytest.raises(ValueError, match="for 9 frames, not for 17"):
        check_size(expanded, 17, 64, 96)
    with pytest.raises(ValueError, match="64×96 only, not for 96×96"):
        check_size(expanded, 9, 96, 96)
    check_size(expanded, 1, 64, 96)
    check_size(inpaint_transformer(), 17, 96, 96)


def test_rotary_embedding_has_a_row_per_patch():
    rotary = rotary_embedding(inpaint_transformer(), noise(1, 3, 16, 8, 12))
    assert rotary is not None
    assert [part.shape for part in rotary] == [(3 * 4 * 6, 16)] * 2
    assert rotary[1].std() > 0.1
    assert rotary_embedding(inpaint_transformer(positions="sincos"), noise(1, 3, 16, 8, 12)) is None
