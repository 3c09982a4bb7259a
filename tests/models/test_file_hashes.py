"""Hashes are remembered, and not beyond a change."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from models import file_hashes
from models.file_hashes import MEMORY, FileHashes


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Files that were read for their hash."""
    seen: list[Path] = []
    plain = file_hashes.sha256_of_file
    monkeypatch.setattr(file_hashes, "sha256_of_file", lambda path: (seen.append(path), plain(path))[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights" / "net").mkdir(parents=True)
    (tmp_path / "weights" / "net" / "a.bin").write_bytes(b"content")
    return tmp_path / "weights"


def test_a_file_is_read_once_also_by_another_process(folder: Path, reads: list[Path]) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    for _ in range(2):
        assert FileHashes(folder).sha256(folder / "net" / "a.bin") == digest
    assert len(reads) == 1
    assert list(json.loads((folder / MEMORY).read_text())) == ["net/a.bin"]


def test_a_change_of_size_or_time_is_noticed(folder: Path, reads: list[Path]) -> None:
    hashes, path = FileHashes(folder), folder / "net" / "a.bin"
    before = hashes.sha256(path)
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(0, 5_000_000_000))
    assert hashes.sha256(path) != before
    path.write_bytes(b"longer content")
    os.utime(path, ns=(0, 5_000_000_000))
    assert hashes.sha256(path) == hashlib.sha256(b"longer content").hexdigest()
    assert len(reads) == 3


def test_a_read_only_folder_stays_as_it_is(folder: Path, reads: list[Path]) -> None:
    folder.chmod(0o555)
    try:
        for _ in range(2):
            FileHashes(folder).sha256(folder / "net" / "a.bin")
    finally:
        folder.chmod(0o755)
    assert len(reads) == 1
    assert not (folder / MEMORY).exists()


@pytest.mark.parametrize("rubbish", ["", "[1, 2]", '{"net/a.bin": 5}', '{"net/a.bin": [7, 1]}', "\x00"])
def test_a_spoilt_memory_is_no_memory(folder: Path, reads: list[Path], rubbish: str) -> None:
    (folder / MEMORY).write_text(rubbish)
    assert FileHashes(folder).sha256(folder / "net" / "a.bin") == hashlib.sha256(b"content").hexdigest()
    assert len(reads) == 1
