"""The dry run tells what a run would do, from the folder as it is, and touches nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from stand_in_network import STAND_IN
from tiny_dataset import write_clip

from manifests.storage import open_store
from pipeline.binding import bind
from pipeline.config import load_config
from pipeline.drive import Options
from pipeline.dry_run import plan_text
from pipeline.ingest_phase import commit_listing, ingest_items
from stages.listing import list_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, and a file of another kind."""
    for index in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"clip{index}.mp4").write_bytes(b"not looked into")
    (tmp_path / "in" / "notes.xyz").write_text("notes")
    return tmp_path / "in"


def plan(folder: Path, *overrides: str, **options: object) -> list[str]:
    config = load_config("cpu", ("ingest_slice=2", *overrides))
    options_ = Options(**options)  # type: ignore[arg-type]
    return plan_text([str(folder)], str(folder.parent / "out"), config, options_).splitlines()


def begin(folder: Path, limit: int | None = None) -> None:
    """List the sources, as a run that was ended after that."""
    store = open_store(folder.parent / "out")
    config = load_config("cpu", ("ingest_slice=2",))
    epoch = bind(store, config, Console(file=io.StringIO()))
    commit_listing(store, epoch, list_sources([str(folder)], config.listing), config.ingest_slice, limit)


def test_a_new_folder_stays_unmade(folder: Path) -> None:
    lines = plan(folder)
    assert f"{folder.parent}/out: new folder" in lines
    assert "inputs: 3 sources (3 new)" in lines
    assert "  pool annotate: decode → tag → detect → segment → propagate → measure → screen → caption" in lines
    assert "  ingest: 2 parts of up to 2 sources" in lines
    assert not (folder.parent / "out").exists()


def test_a_folder_that_was_begun_counts_what_is_left(folder: Path) -> None:
    begin(folder, limit=2)
    before = {path: path.read_bytes() for path in (folder.parent / "out").rglob("*") if path.is_file()}
    lines = plan(folder)
    assert "inputs: 3 sources (1 new)" in lines
    assert f"{folder.parent}/out: run 1, 2 sources listed" in lines
    # The two listed ones are one part, the new one another.
    assert "  ingest: 2 parts of up to 2 sources" in lines
    assert {path: path.read_bytes() for path in (folder.parent / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_what_it_says_of_a_limit_is_what_a_run_does(folder: Path, limit: int) -> None:
    (said,) = (line for line in plan(folder, limit=limit) if line.startswith("  ingest:"))
    begin(folder, limit=limit)
    assert said == f"  ingest: {len(ingest_items(open_store(folder.parent / 'out')))} parts of up to 2 sources"
    assert said in plan(folder, limit=limit)


def test_changes_of_source_and_configuration_are_named(folder: Path) -> None:
    begin(folder)
    write_clip(folder / "clip1.mp4", 1)
    lines = plan(folder, "stages.screen.min_area=0.01")
    assert "  changed since listed: in/clip1.mp4" in lines
    assert "  other configuration: chains.annotate.screen.settings.min_area: 0.002 → 0.01" in lines


def test_pools_show_the_actors_they_would_get(folder: Path) -> None:
    pools = ("pools.annotate.0.min_actors=3", "pools.annotate.0.max_actors=6", "pools.annotate.0.num_gpus=0.5")
    assert "    1 CPU, 0.5 GPU each, 3 to 6 actors, deadline 900 s" in plan(folder, *pools)
    assert "    1 CPU, 0.5 GPU each, 1 to 2 actors, deadline 900 s" in plan(folder, *pools, workers=2)
    assert "    1 CPU each, 1 actors or more, as many as there are cores, deadline 600 s" in plan(folder)
    assert "    1 CPU each, in this process, deadline 600 s" in plan(folder, local=True)


def test_weights_are_there_or_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIVID_WEIGHTS", str(folder.parent))
    (folder.parent / "weights.json").write_text('{"net": {"files": {"words.txt": {}}}}')
    tagger = f"stages.tag.tagger.name={STAND_IN}"
    assert "weights net unknown-unlocked: missing: words.txt (see `vivid weights net`)" in plan(folder, tagger)
    (folder.parent / "words.txt").write_text("joy")
    assert f"weights net unknown-unlocked: in {folder.parent}" in plan(folder, tagger)
    assert not [line for line in plan(folder, tagger, phases=("compose",)) if line.startswith("weights")]
