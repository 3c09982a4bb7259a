"""A dataset that was copied by halves: one sentence from every command, and `--verify` names all the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_dataset import vivid


@pytest.fixture
def copy(tiny_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_shards, tmp_path / "out"))


def one(folder: Path, pattern: str) -> Path:
    """The first file under the dataset that fits."""
    return sorted(folder.glob(pattern))[0]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def scratch(path: Path) -> None:
    """Other bytes where a Parquet file's columns lie."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[4:middle] = b"\xff" * (middle - 4)
    path.write_bytes(content)


def test_a_whole_dataset_is_said_to_be_so(copy: Path) -> None:
    result = vivid("inspect", copy, "--verify")
    assert result.returncode == 0, result.stderr
    assert f" files of {copy}, " in result.stdout
    assert result.stdout.strip().endswith(": all as they were written")


@pytest.mark.parametrize(
    ("pattern", "damage", "why"),
    [
        ("run.json", shorten, "is damaged ("),
        ("commits/compose/*.json", shorten, "is damaged ("),
        ("manifests/samples/*.parquet", shorten, " bytes, not "),
        ("manifests/tracks/*.parquet", Path.unlink, "is gone"),
        ("manifests/samples/*.parquet", scratch, "holds other bytes than were written"),
        ("shards/*.tar", Path.unlink, "is gone"),
        ("shards/*.tar", shorten, " bytes, not "),
    ],
)
def test_damage_is_one_sentence_and_verify_names_the_file(
    copy: Path, pattern: str, damage: Callable[[Path], None], why: str
) -> None:
    path = one(copy, pattern)
    damage(path)
    result = vivid("inspect", copy, "--verify")
    assert result.returncode == 1
    (fault, total) = result.stdout.strip().splitlines()
    assert fault.startswith(f"{path.relative_to(copy)} ")
    assert why in fault
    assert ": 1 not as written; copy these again" in total
    if damage is not shorten or path.suffix != ".tar":  # What the end of a tar holds, nothing reads.
        result = vivid("retry" if pattern == "run.json" else "inspect", copy)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "copy the dataset again from where it is whole" in result.stderr
