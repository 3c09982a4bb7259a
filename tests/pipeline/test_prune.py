"""Pruning: only what nothing needs any more, and only once every part is committed."""

from __future__ import annotations

from pathlib import Path

import pytest
from committed_parts import (
    EPOCH,
    begin,
    commit_annotate,
    commit_clips,
    commit_ingest,
    commit_layout,
    commit_listing,
    row_of,
)

from manifests.commits import PartWriter, read_commit
from manifests.lock import FolderLocked, run_lock
from manifests.storage import Store, open_store
from pipeline.donor_bank import commit_bank
from pipeline.drive import RunError
from pipeline.prune import prune
from stages.donors import DonorSettings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "out")


def complete(store: Store) -> None:
    commit_clips(store, [row_of("a"), row_of("b")])
    commit_annotate(store, 0)
    commit_bank(store, EPOCH, DonorSettings(), 0)
    PartWriter(store, "compose", 0, EPOCH).commit({})


def tars(store: Store) -> list[str]:
    return store.list("clips")


def test_a_complete_dataset_loses_its_normalised_clips(store: Store) -> None:
    complete(store)
    clips = read_commit(store, "ingest", 0).file("clips.tar")
    assert clips is not None
    others = {name for name in store.list("") if name != clips.path}
    assert prune(store.url) == clips.size
    assert {name for name in store.list("") if not name.startswith(".")} >= others
    assert not store.exists(clips.path)
    assert prune(store.url) == 0


def test_a_bank_of_appended_parts_can_still_be_drawn(store: Store) -> None:
    complete(store)
    prune(store.url)
    rows = [row_of("c", 1, ingest_part=1)]
    commit_ingest(store, 1, rows)
    commit_layout(store, 1, rows, [1])
    commit_annotate(store, 1)
    assert commit_bank(store, EPOCH, DonorSettings(), 0)
    assert read_commit(store, "donors", 1).counts == {"donors": 3}


def test_a_missing_part_of_any_phase_keeps_everything(store: Store) -> None:
    rows = [row_of("a"), row_of("b", 1)]
    begin(store)
    commit_listing(store, [0])
    steps = [
        lambda: commit_ingest(store, 0, rows),
        lambda: commit_layout(store, 0, rows, [0]),
        lambda: commit_annotate(store, 0),
        lambda: commit_annotate(store, 1),
        lambda: PartWriter(store, "compose", 0, EPOCH).commit({}),
        lambda: PartWriter(store, "compose", 1, EPOCH).commit({}),
    ]
    for step in steps:
        before = tars(store)
        with pytest.raises(RunError, match="still missing"):
            prune(store.url)
        assert tars(store) == before
        step()
    assert prune(store.url) > 0


def test_a_folder_without_a_run_or_with_a_live_one_is_refused(store: Store) -> None:
    with pytest.raises(RunError, match="holds no dataset"):
        prune(store.url)
    complete(store)
    with run_lock(store), pytest.raises(FolderLocked):
        prune(store.url)
    assert tars(store)
