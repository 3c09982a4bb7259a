"""The doctor's page: what is there, where it would run, and what it takes, with nothing invented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stand_in_network import SERVICE, STAND_IN, StandIn
from tiny_dataset import vivid

from models.placement import Placement
from models.weights import WEIGHTS_FILE, Weights
from pipeline.config import load_config
from pipeline.doctor import examine, memory_text, parameter_bytes


def write_safetensors(path: Path, **tensors: tuple[str, list[int]]) -> Path:
    """A file with the header that those tensors have, and room for them."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = int(np.prod(shape)) * {"F32": 4, "F16": 2, "I64": 8}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))
    return path


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"words.txt": {"size": 3}, "net.safetensors": {}}
    (tmp_path / WEIGHTS_FILE).write_text(json.dumps({"net": {"revision": "v1", "files": files}}))
    write_safetensors(tmp_path / "net" / "net.safetensors", weight=("F32", [512, 1024]), ids=("I64", [131072]))
    (tmp_path / "net" / "words.txt").write_text("joy")
    return tmp_path


def page(**overrides: str) -> tuple[list[str], bool]:
    given = {"stages.tag.tagger.name": STAND_IN, **overrides}
    text, sound = examine(load_config("cpu", [f"{key}={value}" for key, value in given.items()]))
    return text.splitlines(), sound


def row(lines: list[str], stage: str) -> str:
    return next(line for line in lines if line.startswith(stage))


def test_a_machine_with_everything(mirror: Path) -> None:
    lines, sound = page()
    tagger = row(lines, "tag.tagger")
    # 512 × 1024 parameters of 4 bytes, and 131072 whole numbers of 8.
    for cell in ("net", "present, 2 files unlocked", "v1-", "3.0 MiB", "cpu float32", "3.0 MiB + work unknown"):
        assert cell in tagger
    assert "needs none" in row(lines, "segment.segmenter")
    assert lines[-1] == "profile cpu: all there"
    assert sound
    for name in ("weights", "python", "libraries", "CUDA", "av", "ray"):
        assert row(lines, f"{name} ")


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda folder: (folder / "words.txt").unlink(), "missing words.txt"),
        (lambda folder: (folder / "words.txt").write_text("four"), "wrong content"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "missing"),
    ],
)
def test_what_is_not_as_it_should_be(mirror: Path, spoil, state: str) -> None:
    spoil(mirror / "net")
    lines, sound = page()
    assert state in row(lines, "tag.tagger")
    assert "+ work" not in row(lines, "tag.tagger")
    assert ("to fetch   vivid weights net" in lines) == state.startswith("missing")
    assert lines[-1] == "profile cpu: not all there"
    assert not sound


def test_a_device_that_is_not_there(mirror: Path) -> None:
    lines, sound = page(devices=f"{{'{STAND_IN}': {{device: 'cuda:63'}}}}")
    assert "the device 'cuda:63' is not there" in row(lines, "tag.tagger")
    assert not sound


def test_a_service_that_answers_or_not(mirror: Path) -> None:
    choice = {"stages.caption.captioner.name": SERVICE}
    assert "answers" in row(page(**choice)[0], "caption.captioner")
    lines, sound = page(**choice, **{"stages.caption.captioner.settings.up": "false"})
    assert "the service does not answer" in row(lines, "caption.captioner")
    assert not sound


def test_parameters_are_counted_in_the_format_they_run_in(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", a=("F32", [10, 10]), b=("F16", [100]), c=("I64", [5]))
    assert parameter_bytes(path, "float32") == 100 * 4 + 100 * 4 + 5 * 8
    assert parameter_bytes(path, "bfloat16") == 100 * 2 + 100 * 2 + 5 * 8
    (tmp_path / "a.pth").write_bytes(bytes(1000))
    assert parameter_bytes(tmp_path / "a.pth", "float16") == 500
    (tmp_path / "tokenizer.json").write_bytes(bytes(1000))
    assert parameter_bytes(tmp_path / "tokenizer.json", "float32") == 0
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    assert parameter_bytes(tmp_path / "broken.safetensors", "float32") == 0


def test_the_memory_of_the_work_is_stated_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(bytes(2**20))
    weights, placement = Weights("net", "1", {"a.pth": tmp_path / "a.pth"}), Placement("cpu", "float32")
    assert memory_text(StandIn, weights, placement) == "≤ 1.0 MiB + work unknown"
    measured = type("Measured", (StandIn,), {"working_bytes": 3 * 2**20})
    assert memory_text(measured, weights, placement) == "≤ 1.0 MiB + work 3 MiB"


def test_the_command_fails_when_something_is_missing(mirror: Path) -> None:
    (mirror / "net" / "words.txt").unlink()
    result = vivid("doctor", "--set", f"stages.tag.tagger.name={STAND_IN}")
    assert result.returncode == 1
    assert result.stdout.endswith("profile cpu: not all there\n")
