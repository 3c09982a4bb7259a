"""Loading from a folder: what is broken or incomplete says so, once and clearly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file
from tiny_models.clip import save_tiny_clip
from transformers import CLIPModel, CLIPTokenizer

from models.placement import Placement
from models.pretrained import load_network, load_processor
from models.weights import Weights, WeightsError

CPU = Placement("cpu", "float32")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "clip"
    save_tiny_clip(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "clip"))


def weights_in(folder: Path) -> Weights:
    return Weights("small-clip", "1", {path.name: path for path in sorted(folder.iterdir())})


def test_a_network_comes_for_inference_in_the_number_format_asked_for(folder: Path) -> None:
    network = load_network(CLIPModel, weights_in(folder), Placement("cpu", "bfloat16"))
    assert network.dtype == torch.bfloat16
    assert not network.training
    stored = load_file(folder / "model.safetensors")["visual_projection.weight"]
    torch.testing.assert_close(network.visual_projection.weight.data, stored.bfloat16())


def test_a_file_of_plain_tensors_is_read_where_there_is_no_safetensors(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    network = load_network(CLIPModel, weights_in(folder), CPU)
    torch.testing.assert_close(network.visual_projection.weight.data, stored["visual_projection.weight"])


class Harm:
    """What a pickle may do when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("harmed"),)


def test_a_pickle_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"visual_projection.weight": Harm()}, folder / "pytorch_model.bin")
    refusal = (
        "'small-clip' cannot be read as CLIPModel: it is damaged, or holds other things than tensors, which are never"
    )
    with pytest.raises(WeightsError, match=refusal):
        load_network(CLIPModel, weights_in(folder), CPU)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"no tensors at all", None])
def test_a_broken_file_is_one_sentence(folder: Path, content: bytes | None) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(WeightsError, match=r"the weight 'small-clip' cannot be read as CLIPModel: \w") as caught:
        load_network(CLIPModel, weights_in(folder), CPU)
    assert "\n" not in str(caught.value)


def test_parameters_that_are_missing_or_of_another_shape_are_no_network(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model.safetensors"
    stored = load_file(path)
    del stored["text_projection.weight"]
    save_file(stored, path, {"format": "pt"})
    with pytest.raises(WeightsError, match="1 of its parameters are missing or of another shape, first text"):
        load_network(CLIPModel, weights_in(folder), CPU)
    assert capfd.readouterr() == ("", "")
    save_file(stored | {"text_projection.weight": torch.zeros(3, 32)}, path, {"format": "pt"})
    with pytest.raises(WeightsError, match="1 of its parameters are missing or of another shape, first text"):
        load_network(CLIPModel, weights_in(folder), CPU)


def test_a_broken_configuration_or_tokenizer_is_one_sentence(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(WeightsError, match="cannot be read as CLIPTokenizer"):
        load_processor(CLIPTokenizer, weights_in(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as CLIPModel"):
        load_network(CLIPModel, weights_in(folder), CPU)
