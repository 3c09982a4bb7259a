from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers")
import torch
from latents_in_process import latent_settings
from small_work import context_in

from models.placement import DeviceChoice
from models.registry import ModelResources
from stages.latent_work import CaptionText
from train.base_identity import identify
from train.encode_captions import BATCHES, EncodeCaptions
from train.encode_clips import MODEL
from train.latent_members import unpack_text
from train.latent_settings import EncodeSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base

CAPTIONS = ("a red ball", "", "A large dog moves slowly to the left.", "a " * 100)
TOKENS = 24


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"), TinyBaseSettings(text_tokens=TOKENS))


def encoded(base: Path, folder: Path, precision: str) -> list[tuple[int, torch.Tensor]]:
    devices = {MODEL: DeviceChoice.model_validate({"device": "cpu", "dtype": precision})}
    stage = EncodeCaptions(
        EncodeSettings(base=str(base), identity=identify(base).model_dump(), latents=latent_settings())
    )
    stage.setup(context_in(folder, models=ModelResources(devices=devices)))
    assert stage.batches.size == BATCHES[precision]
    records = [CaptionText(str(number), caption) for number, caption in enumerate(CAPTIONS)]
    stage.run(records)
    return [(record.tokens, unpack_text(record.file.read_bytes())) for record in records if record.file]


def test_captions_are_trimmed_and_the_empty_one_is_whole(base: Path, tmp_path: Path) -> None:
    texts = encoded(base, tmp_path, "float32")
    assert [tokens for tokens, _ in texts] == [len(text) for _, text in texts]
    lengths = [tokens for tokens, _ in texts]
    assert lengths[0] < lengths[2] < TOKENS
    assert (lengths[1], lengths[3]) == (TOKENS, TOKENS), "what is too long is cut"
    assert not torch.allclose(texts[0][1][:3], texts[2][1][:3], atol=1e-3)


def test_a_batch_gives_what_single_captions_give(base: Path, tmp_path: Path) -> None:
    assert BATCHES["bfloat16"] > len(CAPTIONS) > BATCHES["float32"]
    pairs = zip(encoded(base, tmp_path, "float32"), encoded(base, tmp_path, "bfloat16"), strict=True)
    for (tokens, text), (same_tokens, close) in pairs:
        assert tokens == same_tokens
        assert torch.allclose(text, close, atol=0.06)
