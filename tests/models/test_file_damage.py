"""What is cut off or something else altogether is noticed without its hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.file_damage import damage

SAFE = json.dumps({"__metadata__": {}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()


def safetensors(path: Path) -> None:
    path.write_bytes(len(SAFE).to_bytes(8, "little") + SAFE + bytes(8))


def checkpoint(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(1000)}, path)


def old_checkpoint(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(10)}, path, _use_new_zipfile_serialization=False)


def settings(path: Path) -> None:
    path.write_text('{"size": 3}')


WRITERS = [("a.safetensors", safetensors), ("a.pth", checkpoint), ("a.bin", checkpoint), ("a.json", settings)]


@pytest.mark.parametrize(("name", "write"), [*WRITERS, ("a.pt", old_checkpoint)])
def test_whole_files_pass(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    assert damage(tmp_path / name) is None


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_file_that_is_cut_off_is_noticed(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-2])
    assert damage(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    assert damage(tmp_path / name) == "is empty"


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt", "a.bin", "a.json"])
@pytest.mark.parametrize("content", [b"<html>Log in</html>", b"version https://git-lfs.github.com/spec/v1\n", b"7"])
def test_something_else_is_noticed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert damage(tmp_path / name) or (name, content) == ("a.json", b"7")


@pytest.mark.parametrize(
    "header", [b"[]", b'{"a": 5}', b'{"a": {"data_offsets": []}}', b'{"a": {}}', b"{", b"\xff\xff"]
)
def test_a_header_that_makes_no_sense_is_noticed(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert damage(path) == "is not a safetensors file"


def test_a_temporary_name_does_not_hide_the_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json.part").write_text("{")
    assert damage(tmp_path / "a.json.part", "a.json") == "is not JSON"
    assert damage(tmp_path / "a.json.part") is None


def test_the_real_files_pass(shared_data: Path) -> None:
    for path in (shared_data / "weights").iterdir():
        assert damage(path) is None
