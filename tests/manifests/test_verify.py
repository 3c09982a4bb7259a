"""Verifying: what is whole passes, and every kind of damage is found and named."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import pytest
from written_dataset import small_scenes, write_dataset

from manifests.commits import RUN_FILE, PartWriter, read_commits
from manifests.storage import Store, open_store
from manifests.verify import BLOCK_BYTES, Fault, Held, Inventory, take_inventory, verify


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A dataset of two scenes, and a set of latents beside it."""
    store = open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")
    write_dataset(store, *small_scenes())
    latents = open_store(f"{store.url}/latents/default")
    latents.replace(RUN_FILE, b'{"epoch": 1}')
    commit(latents, "latents", "latents.tar", b"latents")
    return store


def commit(store: Store, phase: str, name: str, content: bytes) -> str:
    """Commit one file; returns its path."""
    writer = PartWriter(store, phase, 0, 1)
    scratch = store.scratch()
    scratch.write_bytes(content)
    path = writer.add_file(scratch, name, "clips", "part", ".tar")
    writer.commit({})
    return path


def faults(store: Store) -> tuple[list[Fault], int]:
    """What is found, and the bytes that were read."""
    read: list[int] = []
    inventory = take_inventory(store)
    return [*inventory.faults, *verify(store, inventory, read.append)], sum(read)


def shard_of(store: Store) -> str:
    return next(file.path for file in read_commits(store, "compose")[0].files if file.name == "shard")


def test_a_whole_dataset_has_no_faults_and_every_byte_is_read(store: Store) -> None:
    inventory = take_inventory(store)
    assert any(held.file.name == "latents.tar" for held in inventory.files)
    assert faults(store) == ([], inventory.num_bytes)


def test_every_damage_is_named(store: Store) -> None:
    shard = shard_of(store)
    content = bytearray(store.read(shard))
    content[len(content) // 2] ^= 1
    store.replace(shard, bytes(content))
    table = next(file.path for file in read_commits(store, "layout")[0].files)
    size = len(store.read(table))
    store.replace(table, store.read(table)[:-1])
    (latents,) = [path for path in store.list("latents") if path.endswith(".tar")]
    store.remove(latents)
    found, _ = faults(store)
    assert sorted((fault.path, fault.why) for fault in found) == sorted(
        [
            (shard, "holds other bytes than were written"),
            (table, f"has {size - 1} bytes, not {size}"),
            (latents, "is gone"),
        ]
    )


def test_a_damaged_record_costs_itself_only(store: Store) -> None:
    store.replace("commits/compose/00000.json", b"{")
    store.replace("latents/default/run.json", b"")
    store.replace("commits/compose/notes.txt", b"a stranger's")
    found, _ = faults(store)
    assert [fault.path for fault in found] == ["commits/compose/00000.json", "latents/default/run.json"]
    assert all(fault.why.startswith("is damaged (") for fault in found)


def test_clips_that_were_pruned_are_no_fault(store: Store) -> None:
    path = commit(store, "donors", "clips.tar", b"normalised clips")
    assert faults(store)[0] == []
    store.replace(path, b"normalised clip!")
    assert [fault.path for fault in faults(store)[0]] == [path]
    store.remove(path)
    assert faults(store)[0] == []


def test_who_has_seen_enough_does_not_wait_for_the_rest(store: Store) -> None:
    inventory = take_inventory(store)
    gone = dataclasses.replace(inventory.files[0].file, path="shards/none.tar", name="shard")
    many = Inventory((Held(store, gone), *inventory.files * 2000), ())
    read: list[int] = []
    search = verify(store, many, read.append)
    assert next(search).why == "is gone"
    search.close()
    assert sum(read) < many.num_bytes


def test_a_large_file_is_read_in_blocks(store: Store) -> None:
    path = commit(store, "donors", "bank", bytes(BLOCK_BYTES + 3))
    blocks: list[int] = []
    assert list(verify(store, take_inventory(store), blocks.append)) == []
    assert max(blocks) == BLOCK_BYTES
    assert 3 in blocks
    store.replace(path, bytes(BLOCK_BYTES) + b"ab\0")
    assert [fault.path for fault in faults(store)[0]] == [path]
