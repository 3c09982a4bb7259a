from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
from safetensors.torch import load_file, save_file

from train import base_identity
from train.base_identity import base_folder, identify
from train.tiny_base import TinyBaseSettings, save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base") / "one", TinyBaseSettings(text_tokens=64))


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_a_copy_is_the_same_base(base: Path, copy: Path) -> None:
    (copy / "README.md").write_text("another text\n")
    (copy / "vae" / "notes.md").write_text("not read by anyone\n")
    assert identify(copy) == identify(base)
    assert identify(base).max_tokens == 64
    assert base_folder(str(base)) == base


@pytest.mark.parametrize("threshold", [None, 1024], ids=["whole", "in blocks"])
def test_trained_weights_make_another_base(copy: Path, monkeypatch: pytest.MonkeyPatch, threshold: int | None) -> None:
    if threshold:
        monkeypatch.setattr(base_identity, "WHOLE_BYTES", threshold)
        monkeypatch.setattr(base_identity, "BLOCK_BYTES", 64)
    before = identify(copy)
    for part, name in (("vae", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors")):
        path = copy / part / name
        weights = load_file(path)
        save_file({key: value + 0.01 for key, value in weights.items()}, path, metadata={"format": "pt"})
    after = identify(copy)
    assert after.vae != before.vae
    assert after.text != before.text
    assert after.max_tokens == before.max_tokens


def test_the_tokenizer_belongs_to_the_text(copy: Path) -> None:
    before = identify(copy)
    path = next((copy / "tokenizer").glob("*.json"))
    path.write_text(path.read_text() + "\n")
    after = identify(copy)
    assert (after.vae == before.vae, after.text == before.text) == (True, False)


def test_what_is_no_base_is_one_sentence(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "text_encoder")
    with pytest.raises(ValueError, match="is no CogVideoX base: it has no text_encoder"):
        identify(copy)
    with pytest.raises(ValueError, match="no such folder"):
        base_folder(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"there is no folder some-user/some-model, and the hub does not give it"):
        base_folder("some-user/some-model")
