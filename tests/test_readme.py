"""The README's examples, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_dataset import vivid, write_config, write_inputs

from manifests.dataset import Dataset
from manifests.schema import schema_page

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a dataset in ``out``."""
    folder = tmp_path_factory.mktemp("readme")
    config = write_config(folder / "tiny.yaml")
    inputs = write_inputs(folder / "in", clips=2)
    result = vivid("shards", inputs, "--out", folder / "out", "--config", config, "--local")
    assert result.returncode == 0, result.stderr
    return folder


def test_every_sql_example_has_an_answer(folder: Path) -> None:
    queries = [query for block in blocks("sql") for query in block.split(";") if "SELECT" in query]
    assert len(queries) >= 3
    for query in queries:
        _, rows = Dataset(folder / "out").query(query)
        assert rows, query


def test_every_python_example_runs(folder: Path) -> None:
    examples = blocks("python")
    assert len(examples) >= 2
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_make_target_exists() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    for target in named - {"help"}:
        assert re.search(rf"^{target}\s", listed, flags=re.MULTILINE), target


def test_every_command_exists() -> None:
    listed = vivid("--help").stdout
    for command in set(re.findall(r"vivid (shards|retry|inspect|prune|[a-z]+) (?:out|--)", README)):
        assert re.search(rf"\b{command}\b", listed), command


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_schema_page_is_current() -> None:
    assert (ROOT / "manifests" / "SCHEMA.md").read_text() == schema_page()
