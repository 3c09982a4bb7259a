"""The commit log: a part is there whole or not at all, whoever wrote it and whenever it was killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from part_writing import add_shard, set_epoch, tracks, write_part

from manifests.commits import (
    RUN_FILE,
    Commit,
    CommittedFile,
    PartWriter,
    StaleEpoch,
    commit_path,
    current_epoch,
    read_commit,
    read_commits,
    read_rows,
    sweep,
)
from manifests.records import ClipRow, TrackRow
from manifests.storage import StorageError, Store, open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path: Path) -> Store:
    store = open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")
    set_epoch(store, 1)
    return store


def data_files(store: Store) -> list[str]:
    return sorted(path for folder in ("shards", "manifests", "clips", "masks") for path in store.list(folder))


def test_a_commit_names_what_was_written(store: Store):
    commit, ours = write_part(store, 7)
    assert ours
    digest = hashlib.sha256(b"shard").hexdigest()
    assert commit.file("shard") == CommittedFile(f"shards/part-00007-{digest[:8]}.tar", "shard", digest, 5, None)
    table = commit.file("tracks")
    assert table.rows == 2
    data = store.read(table.path)
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (table.sha256, table.size)
    assert table.path == f"manifests/tracks/compose-00007-{table.sha256[:8]}.parquet"
    assert commit.file("rejects") is None
    assert read_commit(store, "compose", 7) == commit
    assert (commit.counts, commit.timings, commit.facts) == ({"kept": 2}, {"pack": 0.5}, {"bank": "donors/x"})
    assert (commit.epoch, commit.path) == (1, "commits/compose/00007.json")
    assert read_rows(store, commit, "tracks", TrackRow) == tracks("a", "b")
    assert read_rows(store, commit, "clips", ClipRow) == []


def test_a_commit_comes_back_from_its_bytes(store: Store):
    commit, _ = write_part(store, 0)
    assert Commit.read(store, commit.path) == commit
    assert Commit.read(store, commit.path).to_bytes() == commit.to_bytes()


def test_nothing_is_visible_before_the_commit(store: Store):
    writer = PartWriter(store, "compose", 0, 1)
    add_shard(writer, b"shard")
    assert read_commits(store, "compose") == {}
    with pytest.raises(FileNotFoundError):
        read_commit(store, "compose", 0)


def test_a_part_may_be_empty_and_a_table_without_rows_is_no_file(store: Store):
    writer = PartWriter(store, "annotate", 3, 1)
    assert writer.add_table("tracks", TrackRow, []) is None
    commit, ours = writer.commit({})
    assert ours
    assert commit.files == ()
    assert read_rows(store, commit, "tracks", TrackRow) == []
    assert data_files(store) == []


def test_parts_are_read_in_number_order(store: Store):
    for part in (10, 2, 123_456, 0):
        PartWriter(store, "annotate", part, 1).commit({})
    assert list(read_commits(store, "annotate")) == [0, 2, 10, 123_456]
    assert read_commits(store, "compose") == {}
    assert commit_path("annotate", 2) == "commits/annotate/00002.json"


def test_the_loser_with_the_same_content_removes_nothing(store: Store):
    first, _ = write_part(store, 0)
    before = data_files(store)
    winner, ours = write_part(store, 0)
    assert (winner, ours) == (first, False)
    assert data_files(store) == before


def test_the_loser_removes_only_what_the_winner_does_not_name(store: Store):
    first, _ = write_part(store, 0, b"shard")
    loser = PartWriter(store, "compose", 0, 1)
    own = add_shard(loser, b"another shard")
    loser.add_table("tracks", TrackRow, tracks("a", "b"))
    assert store.exists(own)
    assert loser.commit({}) == (first, False)
    assert not store.exists(own)
    assert data_files(store) == sorted(file.path for file in first.files)
    assert read_commit(store, "compose", 0) == first


def test_a_stale_run_cannot_commit_and_leaves_its_files_to_the_sweep(store: Store):
    writer = PartWriter(store, "compose", 0, 1)
    own = add_shard(writer, b"shard")
    set_epoch(store, 2)
    with pytest.raises(StaleEpoch, match="run 2 has taken over the folder from run 1"):
        writer.commit({})
    assert read_commits(store, "compose") == {}
    assert store.exists(own)
    assert sweep(store) == [own]


class PausedStore:
    """A store whose next commit is held up while something else happens."""

    def __init__(self, store: Store, meanwhile) -> None:
        self._store = store
        self._meanwhile = meanwhile

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def create(self, path: str, data: bytes, label: str) -> bool:
        self._meanwhile()
        return self._store.create(path, data, label)


def test_a_run_that_slept_through_a_takeover_and_its_sweep_withdraws_its_commit(store: Store):
    def take_over() -> None:
        set_epoch(store, 2)
        sweep(store)

    with pytest.raises(StaleEpoch, match="run 2"):
        write_part(PausedStore(store, take_over), 0)
    assert read_commits(store, "compose") == {}
    commit, ours = write_part(store, 0, epoch=2)
    assert ours
    assert all(store.exists(file.path) for file in commit.files)


def test_a_commit_that_the_new_run_has_seen_stays(store: Store):
    """Taken over between check and record, but before the sweep: the files are there, so the part is whole."""
    commit, ours = write_part(PausedStore(store, lambda: set_epoch(store, 2)), 0)
    assert ours
    assert sweep(store) == []
    assert read_commit(store, "compose", 0) == commit


def test_the_epoch_of_a_new_folder_is_zero(tmp_path: Path):
    assert current_epoch(open_store(tmp_path)) == 0


def test_the_sweep_removes_exactly_what_no_commit_names(store: Store):
    commit, _ = write_part(store, 0)
    named = sorted(file.path for file in commit.files)
    orphans = ["clips/part-00000-00000000.tar", "manifests/tracks/compose-00000-00000000.parquet", "shards/x/y"]
    keep = ["summary.json", "gallery/index.html", "weights/own.bin"]
    for path in orphans + keep:
        store.replace(path, b"")
    scratch = store.scratch()
    scratch.write_bytes(b"")
    assert sorted(sweep(store)) == orphans
    assert data_files(store) == named
    assert all(store.exists(path) for path in [*keep, RUN_FILE, commit.path])
    assert scratch.exists() is not store.is_local
    assert sweep(store) == []
    scratch.unlink(missing_ok=True)


def test_a_folder_of_commits_that_cannot_be_read_stops_the_sweep(store: Store, monkeypatch):
    write_part(store, 0)
    before = data_files(store)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if store.is_local:
            patch.setattr(os, "scandir", refuse)
        else:
            for name in ("find", "ls", "info"):
                patch.setattr(type(store.system), name, refuse)
        with pytest.raises(StorageError, match="Input/output error"):
            sweep(store)
    assert data_files(store) == before


def test_a_disk_that_fills_up_while_writing_a_table_is_one_sentence(tmp_path: Path, monkeypatch):
    store = open_store(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        PartWriter(store, "compose", 0, 1).add_table("tracks", TrackRow, tracks("a"))


STEPS = {"local": ["written", "synced", "moved", "durable"], "object": ["written", "moved"]}
POINTS = {
    kind: [
        *(f"compose/00007/{name}:{step}" for name in ("shard", "tracks") for step in steps),
        "compose/00007/commit:before",
        "compose/00007/commit:after",
    ]
    for kind, steps in STEPS.items()
}


def run_parts(jobs: list[tuple[str, Path, dict[str, str]]], scratch: Path) -> list[int]:
    """Exit codes of processes that each write part 7 in a folder, with the given environment variables."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("part_writing.py"))],
        input=json.dumps([(kind, str(folder), variables) for kind, folder, variables in jobs]),
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["local", "object"])
def test_a_kill_at_any_point_leaves_a_whole_part_or_none(kind: str, tmp_path: Path):
    points = POINTS[kind]
    folders = {point: tmp_path / str(number) for number, point in enumerate(points)}
    jobs = [(kind, folder, {"VIVID_KILL_POINT": point}) for point, folder in folders.items()]
    unharmed = (kind, tmp_path / "whole", {"VIVID_KILL_LOG": str(tmp_path / "points.log")})
    codes = run_parts([unharmed, *jobs], tmp_path)
    assert codes == [0] + [-signal.SIGKILL] * len(points)
    assert (tmp_path / "points.log").read_text().split() == points

    whole = open_store(tmp_path / "whole")
    commit = read_commit(whole, "compose", 7)
    for point, folder in folders.items():
        store = open_store(folder)
        visible = read_commits(store, "compose")
        assert visible == ({7: commit} if point == points[-1] else {}), point
        assert all(
            hashlib.sha256(store.read(f.path)).hexdigest() == f.sha256 for c in visible.values() for f in c.files
        )
        sweep(store)
        assert data_files(store) == (data_files(whole) if visible else []), point
        assert write_part(store, 7) == (commit, not visible), point
        assert store.list("") == whole.list(""), point
        assert all(store.read(path) == whole.read(path) for path in whole.list("")), point
