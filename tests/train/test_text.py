"""Captions as embeddings: exact tokens, the empty prompt's padding, and the limit."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
import torch
from tiny_models.cogvideox import inpaint_pipeline, noise

from train.text import TextEncoder, assemble_text


@pytest.fixture(scope="module")
def encoder():
    pipeline = inpaint_pipeline()
    return TextEncoder(pipeline.tokenizer, pipeline.text_encoder, 16)


def padded_by_hand(encoder, caption):
    ids = encoder.tokenizer(caption).input_ids
    ids = torch.tensor([ids + [0] * (16 - len(ids))])
    with torch.no_grad():
        return encoder.model(ids)[0][0]


def test_tokens_are_what_the_base_would_compute(encoder):
    (tokens,) = encoder.encode(["a red ball"])
    assert tokens.shape == (4, 32), "a, red, ball and the end mark"
    torch.testing.assert_close(tokens, padded_by_hand(encoder, "a red ball")[:4])


def test_empty_prompt_is_exactly_the_base(encoder):
    empty = encoder.encode_empty()
    assert empty.shape == (16, 32)
    torch.testing.assert_close(assemble_text(encoder.encode([""]), empty)[0], padded_by_hand(encoder, ""))


def test_padding_is_that_of_the_empty_prompt(encoder):
    empty = encoder.encode_empty()
    text = assemble_text(encoder.encode(["a red ball", "blue"]), empty)
    assert text.shape == (2, 16, 32)
    assert torch.equal(text[0, 4:], empty[4:])
    assert torch.equal(text[1, 2:], empty[2:])
    assert (text[0, :2] - text[1, :2]).abs().max() > 0.01


def test_long_caption_is_cut_and_a_long_prompt_refused(encoder):
    caption = "a red ball " * 10
    assert encoder.count_tokens(caption) == 31
    assert encoder.encode([caption])[0].shape == (16, 32)
    with pytest.raises(ValueError, match="the prompt has 31 tokens, and the model reads at most 16"):
        encoder.check(caption)
    encoder.check("a red ball")


def test_embeddings_of_another_encoder_are_refused(encoder):
    with pytest.raises(ValueError, match="does not fit"):
        assemble_text([noise(3, 8)], encoder.encode_empty())
    with pytest.raises(ValueError, match="does not fit"):
        assemble_text([noise(17, 32)], encoder.encode_empty())
