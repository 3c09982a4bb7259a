"""A full or read-only disk: one sentence, and the same command goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_dataset import data_files, vivid, write_config, write_inputs


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 KiB: enough to begin, not enough to end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _mount(disk, "size=96k"):
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_resumable(small_disk: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", clips=3)
    config = write_config(tmp_path / "tiny.yaml")
    reference = tmp_path / "reference"
    assert vivid("shards", inputs, "--out", reference, "--config", config, "--local").returncode == 0
    out = small_disk / "out"
    sentences = set()
    for size in ("96k", "128k", "160k", "200k"):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
        result = vivid("shards", inputs, "--out", out, "--config", config, "--local")
        assert result.returncode == 1, (size, result.stdout)
        assert "Traceback" not in result.stderr
        sentences.add(result.stderr.strip().splitlines()[-1])
    assert all("No space left on device" in sentence for sentence in sentences), sentences
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert vivid("shards", inputs, "--out", out, "--config", config, "--local").returncode == 0
    assert data_files(out) == data_files(reference)


def test_a_read_only_disk_is_one_sentence(small_disk: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", clips=1, images=0)
    config = write_config(tmp_path / "tiny.yaml")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = vivid("shards", inputs, "--out", small_disk / "out", "--config", config, "--local")
    assert result.returncode == 1
    assert "Read-only file system" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
