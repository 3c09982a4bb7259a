"""Which phases have work left, at every step of a small dataset's making."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_dataset import vivid, write_config, write_inputs

from manifests.storage import open_store
from pipeline.config import WORK_PHASES
from pipeline.work_left import phases_left


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and a dataset in which phase after phase is made."""
    base = tmp_path_factory.mktemp("left")
    write_inputs(base / "in", clips=2, images=0)
    write_config(base / "tiny.yaml")
    return base


def run(folder: Path, phase: str) -> None:
    arguments = ("shards", folder / "in", "--out", folder / "out", "--config", folder / "tiny.yaml", "--local")
    result = vivid(*arguments, "--phases", phase)
    assert result.returncode == 0, result.stderr


def left(folder: Path, phases: tuple[str, ...] = WORK_PHASES, more: bool = False) -> tuple[str, ...]:
    return phases_left(open_store(str(folder / "out")), phases, more)


def test_what_is_done_needs_no_model(folder: Path) -> None:
    assert left(folder, more=True) == WORK_PHASES
    run(folder, "ingest")
    assert left(folder) == ("annotate", "compose")
    assert left(folder, ("ingest", "compose")) == ("compose",)
    assert left(folder, more=True) == WORK_PHASES
    for layout in (folder / "out" / "commits" / "layout").iterdir():
        kept = layout.read_bytes()
        layout.unlink()
        assert left(folder) == ("annotate", "compose"), "clips that are in no part yet"
        layout.write_bytes(kept)
    run(folder, "annotate")
    assert left(folder) == ("compose",)
    assert left(folder, ("annotate",)) == ()
    run(folder, "compose")
    assert left(folder) == ()
    assert left(folder, more=True) == WORK_PHASES
