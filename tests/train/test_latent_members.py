from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
import torch

from train.conditioning import encode_masked_video, encode_mean, encode_video, masked_scale, video_scale
from train.latent_members import pack_latents, pack_text, unpack_latents, unpack_text
from train.tiny_base import TinyBaseSettings, tiny_vae


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def vae(request: pytest.FixtureRequest) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = tiny_vae(TinyBaseSettings())
    made.register_to_config(invert_scale_latents=True)
    return made.to(request.param)


def test_stored_latents_are_those_of_encoding_on_the_fly(vae: torch.nn.Module) -> None:
    """To the bit, in both number formats and in both scales."""
    video = torch.rand(1, 3, 9, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean = encode_mean(vae, video)
    assert mean.dtype == vae.dtype
    assert mean.shape == (3, 16, 8, 12)
    assert mean.std() > 0
    stored = pack_latents(mean, video_scale(vae))
    assert torch.equal(unpack_latents(stored)[None], encode_video(vae, video))
    masked = pack_latents(mean, masked_scale(vae))
    assert torch.equal(unpack_latents(masked)[None], encode_masked_video(vae, video))
    assert not torch.equal(unpack_latents(masked), unpack_latents(stored))
    assert len(stored) < 3 * 16 * 8 * 12 * mean.element_size() + 300


def test_text_survives() -> None:
    text = torch.randn(5, 8, dtype=torch.bfloat16)
    whole = torch.cat([text, text])
    assert torch.equal(unpack_text(pack_text(whole[:5])), text.float())
    assert len(pack_text(whole[:5])) < 5 * 8 * 2 + 200, "only the slice is stored"


@pytest.mark.parametrize("data", [b"", b"rubbish", pack_text(torch.ones(1, 2))[:-3], pack_text(torch.ones(1, 2))])
def test_damage_is_one_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match="stored latents are damaged"):
        unpack_latents(data)
