"""One part written and committed; as a script, in processes that are killed on the way."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem
from manifest_rows import example

from manifests import killpoints
from manifests.commits import RUN_FILE, Commit, PartWriter
from manifests.records import TrackRow
from manifests.storage import ObjectStore, Store, open_store


def set_epoch(store: Store, epoch: int) -> None:
    store.replace(RUN_FILE, json.dumps({"epoch": epoch}).encode())


def add_shard(writer: PartWriter, data: bytes) -> str:
    scratch = writer.store.scratch()
    scratch.write_bytes(data)
    return writer.add_file(scratch, "shard", "shards", "part", ".tar")


def tracks(*names: str) -> list[TrackRow]:
    return [example(TrackRow, track_id=name) for name in names]


def write_part(store: Store, part: int, shard: bytes = b"shard", epoch: int = 1) -> tuple[Commit, bool]:
    writer = PartWriter(store, "compose", part, epoch)
    add_shard(writer, shard)
    writer.add_table("tracks", TrackRow, tracks("a", "b"))
    return writer.commit({"kept": 2}, {"pack": 0.5}, bank="donors/x")


def store_on_disk(kind: str, folder: Path) -> Store:
    """A store of either kind whose files outlive the process."""
    if kind == "local":
        return open_store(folder)
    return ObjectStore(LocalFileSystem(auto_mkdir=True), str(folder), f"object://{folder}")


def run_forked(kind: str, folder: Path, environment: dict[str, str]) -> int:
    """Write part 7 in a process of its own; returns its exit code, negative for a signal."""
    process = os.fork()
    if process == 0:
        os.environ.update(environment)
        importlib.reload(killpoints)
        store = store_on_disk(kind, folder)
        set_epoch(store, 1)
        write_part(store, 7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    print(json.dumps([run_forked(kind, Path(folder), variables) for kind, folder, variables in json.load(sys.stdin)]))
