"""The stand-in base: of the real classes, equal each time, and frank about itself."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline
from tiny_models.cogvideox import tiny_base

from train.tiny_base import TINY_BASE_NOTICE, TinyBaseSettings, save_tiny_base


def test_diffusers_loads_it_as_any_base():
    pipeline = CogVideoXPipeline.from_pretrained(tiny_base())
    assert sum(parameter.numel() for parameter in pipeline.transformer.parameters()) < 100_000
    assert pipeline.tokenizer("a red ball").input_ids[-1] == pipeline.tokenizer.eos_token_id
    assert len(pipeline.tokenizer("a red ball").input_ids) == 4


def test_equal_settings_give_equal_bytes_and_seeds_differ(tmp_path):
    files = {}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        save_tiny_base(tmp_path / name, TinyBaseSettings(seed=seed))
        files[name] = next((tmp_path / name / "transformer").glob("*.safetensors")).read_bytes()
    assert files["first"] == files["second"]
    assert files["first"] != files["other"]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_says_what_it_is():
    assert TINY_BASE_NOTICE in (tiny_base() / "README.md").read_text()
    assert "random" in TINY_BASE_NOTICE


def test_kinds_of_base():
    image = CogVideoXPipeline.from_pretrained(tiny_base(positions="learned", in_channels=32))
    assert image.transformer.config.in_channels == 32
    assert image.transformer.config.use_learned_positional_embeddings
    small = CogVideoXPipeline.from_pretrained(tiny_base(positions="sincos", scheduler="ddim"))
    assert isinstance(small.scheduler, CogVideoXDDIMScheduler)
    assert not small.transformer.config.use_rotary_positional_embeddings
