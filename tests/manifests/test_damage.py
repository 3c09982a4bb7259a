"""A dataset that was copied by halves: each reader names the file that is not as it was written."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from manifest_rows import example

from manifests.commits import RUN_FILE, PartWriter, current_epoch, read_commits, read_rows, read_run
from manifests.damage import DatasetDamaged, read_table
from manifests.dataset import Dataset
from manifests.records import ClipRow, SampleRow
from manifests.storage import LocalStore, Store, open_store

SHARD = "shards/part-00000-00000000.tar"
SAMPLE = example(SampleRow, shard=SHARD, clip_offset=0, clip_size=8, mask_offset=8, mask_size=8)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One committed part with a table of clips, and a shard of 16 bytes."""
    store = open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")
    store.replace(RUN_FILE, b'{"epoch": 1}')
    writer = PartWriter(store, "layout", 0, 1)
    writer.add_table("clips", ClipRow, [example(ClipRow)])
    writer.commit({})
    store.replace(SHARD, bytes(16))
    return store


def table_of(store: Store) -> str:
    (path,) = Dataset(store).files("clips")
    return path


def test_the_error_leaves_a_process() -> None:
    error = DatasetDamaged("/data/out", "run.json", "is gone")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.why) == (str(error), "is gone")
    assert str(error).startswith("run.json in /data/out is gone: copy the dataset again")


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(DatasetDamaged) as caught:
        read()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\0\0\0", b"[1]", b"\xff\xfe"])
def test_a_record_that_is_no_json_object_is_named(store: Store, content: bytes) -> None:
    store.replace(RUN_FILE, content)
    for read in (lambda: read_run(store), lambda: Dataset(store).run, lambda: current_epoch(store)):
        assert refusal(read).startswith(f"run.json in {store.url} is damaged (")
    store.replace("commits/layout/00000.json", content)
    assert refusal(lambda: Dataset(store)).startswith(f"commits/layout/00000.json in {store.url} is damaged (")


@pytest.mark.parametrize("content", [b"{}", b'{"files": 3}', b'{"files": [{"path": "a"}]}', b'{"files": []}'])
def test_a_commit_that_lacks_something_is_named(store: Store, content: bytes) -> None:
    store.replace("commits/layout/00000.json", content)
    assert "commits/layout/00000.json" in refusal(lambda: read_commits(store, "layout"))


def test_a_table_that_is_gone_is_named(store: Store) -> None:
    path, (commit,) = table_of(store), read_commits(store, "layout").values()
    store.remove(path)
    for read in (lambda: Dataset(store).table("clips"), lambda: read_rows(store, commit, "clips", ClipRow)):
        assert refusal(read).startswith(f"{path} in {store.url} is gone: copy the dataset again")


@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_a_table_that_is_cut_off_is_named(store: Store, kept: int) -> None:
    path, (commit,) = table_of(store), read_commits(store, "layout").values()
    whole = store.read(path)
    store.replace(path, whole[:kept])
    said = refusal(lambda: Dataset(store).query("SELECT 1"))
    if isinstance(store, LocalStore):
        assert f"{path} in {store.url} has {kept} bytes, not {len(whole)}" in said
    else:
        assert f"{path} in {store.url} is damaged (" in said
    for read in (lambda: read_table(store, path), lambda: read_rows(store, commit, "clips", ClipRow)):
        assert f"{path} in {store.url} is damaged (" in refusal(read)


def test_a_shard_that_is_gone_or_holds_no_masks_is_named(store: Store) -> None:
    dataset = Dataset(store)
    assert dataset.clip_bytes(SAMPLE) == bytes(8)
    assert f"{SHARD} in {store.url} is damaged (" in refusal(lambda: dataset.masks(SAMPLE))
    store.remove(SHARD)
    for read in (dataset.clip_bytes, dataset.masks):
        assert f"{SHARD} in {store.url} is gone" in refusal(lambda read=read: read(SAMPLE))
