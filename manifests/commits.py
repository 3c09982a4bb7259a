"""The commit log: a data file exists only once a commit record names it.

``commits/<phase>/<part>.json`` names the files of one part with their hashes and row counts. It is created only if
absent, by the run whose epoch is current: of two attempts at a part one wins, and the loser removes what only it wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from manifests.damage import GONE, intact, read_document, read_table
from manifests.schema import from_table, to_parquet
from manifests.storage import Store, sha256_of, storage_errors

Row = TypeVar("Row")

PHASES = ("listing", "ingest", "layout", "annotate", "donors", "compose")
"""In the order they run."""
RUN_FILE = "run.json"
DATA_FOLDERS = ("listing", "clips", "manifests", "masks", "donors", "shards")
"""Folders in which a file that no commit names is rubbish."""


class StaleEpoch(Exception):
    """A newer run has taken over the folder; this one may not commit any more."""


@dataclass(frozen=True)
class CommittedFile:
    """One data file: path under the dataset's folder, name within the commit, hash, size in bytes, rows (tables)."""

    path: str
    name: str
    sha256: str
    size: int
    rows: int | None


@dataclass(frozen=True)
class Commit:
    """One committed part of one phase.

    `counts` are the numbers a summary adds up; `facts` are small things later phases need; `timings` are seconds and
    may differ from run to run.
    """

    phase: str
    part: int
    epoch: int
    files: tuple[CommittedFile, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return commit_path(self.phase, self.part)

    def file(self, name: str) -> CommittedFile | None:
        """The file of that name (a table's name, or "shard", "masks", "clips"), or None when the part has none."""
        return next((f for f in self.files if f.name == name), None)

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def read(cls, store: Store, path: str) -> Commit:
        """A commit record. Raises FileNotFoundError, DatasetDamaged."""
        document = read_document(store, path)
        with intact(store, path):
            document["files"] = tuple(CommittedFile(**f) for f in document["files"])
            return cls(**document)


def commit_path(phase: str, part: int) -> str:
    """Where the commit record of a part lies."""
    return f"commits/{phase}/{part:05d}.json"


def commit_paths(store: Store, folder: str = "commits") -> list[str]:
    """Where the commit records of a phase's folder lie, or those of all phases."""
    return [path for path in store.list(folder) if path.endswith(".json")]


def size_fault(store: Store, file: CommittedFile) -> str | None:
    """`GONE`, or a clause about a file of another length than was committed; None when it has that length."""
    size = store.size(file.path)
    if size is None:
        return GONE
    return None if size == file.size else f"has {size} bytes, not {file.size}"


def read_commits(store: Store, phase: str) -> dict[int, Commit]:
    """All committed parts of a phase by number."""
    commits = [Commit.read(store, path) for path in commit_paths(store, f"commits/{phase}")]
    return {commit.part: commit for commit in sorted(commits, key=lambda c: c.part)}


def read_commit(store: Store, phase: str, part: int) -> Commit:
    """The commit of one part. Raises FileNotFoundError when it is not committed."""
    return Commit.read(store, commit_path(phase, part))


def read_rows(store: Store, commit: Commit, name: str, row: type[Row]) -> list[Row]:
    """Rows of a table that a commit names; none when the part wrote no such file. Raises DatasetDamaged."""
    file = commit.file(name)
    if file is None:
        return []
    return from_table(row, read_table(store, file.path))


def read_run(store: Store) -> dict[str, Any] | None:
    """The folder's run.json (configuration, versions, epoch), or None in a new folder. Raises DatasetDamaged."""
    try:
        return read_document(store, RUN_FILE)
    except FileNotFoundError:
        return None


def current_epoch(store: Store) -> int:
    """The epoch of the run that holds the folder; 0 before the first."""
    document = read_run(store)
    return int(document["epoch"]) if document is not None else 0


class PartWriter:
    """Writes the files of one part and commits them together.

    Every file's name carries the first 8 hex digits of its sha256, so a name is never written with two contents.
    """

    def __init__(self, store: Store, phase: str, part: int, epoch: int) -> None:
        self.store = store
        self.phase = phase
        self.part = part
        self.epoch = epoch
        self._files: list[CommittedFile] = []

    def add_file(self, scratch: Path, name: str, folder: str, stem: str, suffix: str, rows: int | None = None) -> str:
        """Publish a finished scratch file (see `Store.scratch`) as ``folder/stem-<part>-<sha8><suffix>``.

        `name` is what the commit calls it (see `Commit.file`).
        """
        with storage_errors("write to", self.store.url):
            digest = sha256_of(scratch)
            size = scratch.stat().st_size
        path = f"{folder}/{stem}-{self.part:05d}-{digest[:8]}{suffix}"
        self.store.publish(scratch, path, f"{self.phase}/{self.part:05d}/{name}")
        self._files.append(CommittedFile(path, name, digest, size, rows))
        return path

    def add_table(self, name: str, row: type, rows: Iterable[Any], *, folder: str | None = None) -> str | None:
        """Publish rows as Parquet, under ``manifests/<name>`` unless a folder is given.

        A part without rows writes no file and returns None.
        """
        material = list(rows)
        if not material:
            return None
        scratch = self.store.scratch()
        with storage_errors("write to", self.store.url):
            scratch.write_bytes(to_parquet(row, material))
        return self.add_file(scratch, name, folder or f"manifests/{name}", self.phase, ".parquet", len(material))

    def commit(
        self, counts: Mapping[str, int], timings: Mapping[str, float] | None = None, **facts: Any
    ) -> tuple[Commit, bool]:
        """Commit the files. Returns the part's commit and whether it is ours.

        Raises StaleEpoch when a newer run holds the folder. Its files are left to that run's sweep: removing them here
        could remove a file of the same name and content that it has just committed.
        """
        commit = Commit(self.phase, self.part, self.epoch, tuple(self._files), dict(counts), facts, dict(timings or {}))
        if self._taken_over():
            raise self._stale()
        label = f"{self.phase}/{self.part:05d}/commit"
        if self.store.create(commit.path, commit.to_bytes(), label):
            # A process that slept since the check above may wake up after the new run's sweep.
            if self._taken_over() and not all(self.store.exists(file.path) for file in commit.files):
                self.store.remove(commit.path)
                raise self._stale()
            return commit, True
        winner = Commit.read(self.store, commit.path)
        kept = {file.path for file in winner.files}
        for file in self._files:
            if file.path not in kept:
                self.store.remove(file.path)
        return winner, False

    def _taken_over(self) -> bool:
        return current_epoch(self.store) != self.epoch

    def _stale(self) -> StaleEpoch:
        return StaleEpoch(f"run {current_epoch(self.store)} has taken over the folder from run {self.epoch}")


def sweep(store: Store, phases: Iterable[str] = PHASES, folders: Iterable[str] = DATA_FOLDERS) -> list[str]:
    """Remove temporary files and every data file that no commit names; returns what was removed.

    Only for the run that holds the lock, while nothing of it is being written. `phases` and `folders` are those of what
    the store holds: a dataset unless said otherwise.
    """
    store.clear_scratch()
    named = {file.path for phase in phases for commit in read_commits(store, phase).values() for file in commit.files}
    orphans = [path for folder in folders for path in store.list(folder) if path not in named]
    for path in orphans:
        store.remove(path)
    return orphans
