"""`vivid weights`: by name or by profile, fetched, verified, locked; and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_network import STAND_IN
from tiny_dataset import vivid
from weight_server import WeightServer, weight_server

from models.weights import WEIGHTS_FILE


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as site:
        site.files["/words.txt"] = b"joy rush"
        yield site


@pytest.fixture
def folder(server: WeightServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"words.txt": {"url": f"{server.url}/words.txt"}}
    (tmp_path / WEIGHTS_FILE).write_text(json.dumps({"net": {"revision": "v1", "files": files}}))
    return tmp_path


def test_the_weights_of_a_configuration_are_fetched_and_locked(server: WeightServer, folder: Path) -> None:
    of_it = ("--profile", "cpu", "--set", f"stages.tag.tagger.name={STAND_IN}")
    result = vivid("weights", *of_it)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "net v1-unlocked: fetched words.txt; verified; 1 file unlocked\n"
    result = vivid("weights", *of_it, "--lock")
    assert result.stderr.startswith("net v1-")
    assert result.stderr.endswith(": all there; verified; locked 2 values\n")
    assert vivid("weights", "net", "--lock").stderr.endswith(": all there; verified; locked\n")
    assert server.paths_asked() == ["/words.txt"]

    (folder / "net" / "words.txt").write_text("rush joy")
    result = vivid("weights", "net")
    assert result.returncode == 1
    assert "is not the one in the list" in result.stderr
    assert listed()["net"].split()[1:3] == ["wrong", "content"]


def test_what_is_in_the_cache_is_not_fetched_again(
    server: WeightServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror"
    monkeypatch.setenv("VIVID_WEIGHTS", str(mirror))
    cache = tmp_path / "cache" / "vivid" / "weights"
    (cache / "net").mkdir(parents=True)
    (folder / WEIGHTS_FILE).rename(cache / WEIGHTS_FILE)
    (cache / "net" / "words.txt").write_text("joy rush")
    result = vivid("weights", "net")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "net v1-unlocked: all there; verified; 1 file unlocked\n"
    assert server.paths_asked() == []
    assert "present" in listed()["net"]
    # The mirror is where the rest goes.
    mirror.mkdir()
    (cache / WEIGHTS_FILE).rename(mirror / WEIGHTS_FILE)
    (cache / "net" / "words.txt").unlink()
    assert vivid("weights", "net").returncode == 0
    assert (mirror / "net" / "words.txt").read_text() == "joy rush"


def listed() -> dict[str, str]:
    """Lines of `vivid weights --list` by the weight's name."""
    return {line.split()[0]: line for line in vivid("weights", "--list").stdout.splitlines()}


def test_the_list_shows_every_weight(folder: Path) -> None:
    lines = listed()
    assert {"net", "ram-swin-large", "yolox-nano"} <= set(lines)
    assert "missing" in lines["net"]
    assert "127.0.0.1" in lines["net"]
    assert "IDEA-Research/grounding-dino-tiny" in lines["grounding-dino-tiny"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name weights, or a profile"),
        (("nett",), 1, "there is no weight 'nett'; did you mean 'net'?"),
        (("--profile", "nett"), 1, "there is no profile"),
    ],
)
def test_wrong_use_is_one_sentence(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = vivid("weights", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
