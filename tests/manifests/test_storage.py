"""Both kinds of store: whole or absent, first come only, nothing outside the folder, one sentence per failure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from manifests import storage
from manifests.storage import LocalStore, ObjectStore, StorageError, Store, open_store, sha256_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path: Path) -> Store:
    return open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    store = open_store(tmp_path / "out")
    assert isinstance(store, LocalStore)
    return store


def publish(store: Store, path: str, data: bytes) -> Path:
    scratch = store.scratch()
    scratch.write_bytes(data)
    store.publish(scratch, path, "label")
    return scratch


def test_the_url_says_which_store_it_is(tmp_path: Path):
    for url in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        store = open_store(url)
        assert (type(store), store.url, store.is_local) == (LocalStore, str(tmp_path), True)
    remote = open_store("memory://bucket/out/")
    assert (type(remote), remote.is_local) == (ObjectStore, False)
    assert not list(tmp_path.iterdir()), "opening creates nothing"


def test_a_url_that_is_no_place_is_one_sentence():
    with pytest.raises(StorageError, match="nosuchscheme://bucket/out is not a place to store files"):
        open_store("nosuchscheme://bucket/out")


def test_a_store_whose_package_is_missing_is_one_sentence(monkeypatch):
    def refuse(url: str) -> object:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(StorageError, match=r"s3://b/o needs a package that is not installed: Install s3fs"):
        open_store("s3://b/o")


def test_a_published_file_is_there_and_its_scratch_is_not(store: Store):
    scratch = publish(store, "a/b/c.bin", b"content")
    assert store.read("a/b/c.bin") == b"content"
    assert store.exists("a/b/c.bin")
    assert not scratch.exists()
    assert store.list("a") == ["a/b/c.bin"]


def test_publishing_the_same_content_again_is_no_error(store: Store):
    publish(store, "a.bin", b"content")
    publish(store, "a.bin", b"content")
    assert store.read("a.bin") == b"content"


def test_only_the_first_creates(store: Store):
    assert store.create("commits/00000.json", b"first", "label") is True
    assert store.create("commits/00000.json", b"second", "label") is False
    assert store.read("commits/00000.json") == b"first"
    assert store.list("commits") == ["commits/00000.json"]


def test_an_object_store_is_asked_to_refuse_a_second_object(monkeypatch):
    """Only the store itself can decide which of two machines came first."""
    store = open_store(f"memory://{uuid.uuid4().hex}")
    modes: list[object] = []
    real = type(store.system).pipe_file

    def note(system: object, path: str, value: bytes, mode: str = "overwrite", **more: object) -> None:
        modes.append(mode)
        real(system, path, value, mode=mode, **more)

    monkeypatch.setattr(type(store.system), "pipe_file", note)
    store.create("a", b"", "label")
    assert modes == ["create"]


def test_a_loser_leaves_no_scratch(local: LocalStore):
    local.create("a.json", b"first", "label")
    local.create("a.json", b"second", "label")
    assert local.list("") == ["a.json"]


def test_replace_writes_and_overwrites(store: Store):
    store.replace("folder/run.json", b"one, which is long")
    store.replace("folder/run.json", b"two")
    assert store.read("folder/run.json") == b"two"
    assert store.list("folder") == ["folder/run.json"]


def test_listing_is_sorted_deep_and_only_of_that_folder(store: Store):
    for path in ("a/z", "a/b/y", "a/B", "ab/x", "top"):
        store.replace(path, b"")
    assert store.list("a") == ["a/B", "a/b/y", "a/z"]
    assert store.list("a/b") == ["a/b/y"]
    assert store.list("nothing") == []
    assert store.list("top") == []
    assert store.list("") == ["a/B", "a/b/y", "a/z", "ab/x", "top"]


def test_removing_twice_is_no_error(store: Store):
    store.replace("a/b", b"")
    store.remove("a/b")
    store.remove("a/b")
    assert not store.exists("a/b")
    assert store.list("a") == []


def test_a_missing_file_is_missing(store: Store):
    store.replace("folder/file", b"")
    assert not store.exists("folder/other")
    assert not store.exists("folder")
    for path in ("folder/other", "nothing/at/all"):
        with pytest.raises(FileNotFoundError):
            store.read(path)
        with pytest.raises(FileNotFoundError):
            store.read_range(path, 0, 1)


def test_ranges(store: Store):
    store.replace("data", b"0123456789")
    assert store.read_range("data", 3, 4) == b"3456"
    assert store.read_range("data", 0, 10) == b"0123456789"
    assert store.read_range("data", 4, 0) == b""
    with pytest.raises(StorageError, match=r"^data ended 3 bytes early$"):
        store.read_range("data", 8, 5)
    with pytest.raises(StorageError, match=r"^data ended 2 bytes early$"):
        store.read_range("data", 50, 2)


@pytest.mark.parametrize("path", ["../other", "a/../../other", "/etc/passwd", "a/.."])
def test_a_path_that_leaves_the_folder_is_refused(store: Store, path: str):
    scratch = store.scratch()
    attempts: list[Callable[[], object]] = [
        lambda: store.read(path),
        lambda: store.read_range(path, 0, 1),
        lambda: store.exists(path),
        lambda: store.list(path),
        lambda: store.remove(path),
        lambda: store.publish(scratch, path, "label"),
        lambda: store.create(path, b"", "label"),
        lambda: store.replace(path, b""),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="leaves the dataset's folder"):
            attempt()


def test_scratch_names_are_new_each_time_and_cleared(store: Store):
    first, second = store.scratch(), store.scratch()
    assert first != second
    first.write_bytes(b"")
    store.clear_scratch()
    store.clear_scratch()
    assert first.exists() is not store.is_local
    first.unlink(missing_ok=True)


def test_one_of_many_threads_creates(local: LocalStore):
    barrier = threading.Barrier(4)
    wins: list[int] = []

    def race() -> None:
        for turn in range(20):
            barrier.wait()
            if local.create(f"commits/{turn}", b"", "label"):
                wins.append(turn)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(20))


RACER = """
import sys
from manifests.storage import open_store
store, name = open_store(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(*[turn for turn in range(60) if store.create(f"commits/{turn}", name.encode() * 1000, "label")])
"""


def test_one_of_several_processes_creates(local: LocalStore):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, local.url, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n", "ready\n"]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    wins = [{int(turn) for turn in racer.communicate()[0].split()} for racer in racers]
    assert wins[0] | wins[1] == set(range(60))
    assert not wins[0] & wins[1]
    for turn in range(60):
        assert local.read(f"commits/{turn}") == (b"a" if turn in wins[0] else b"b") * 1000


def test_what_is_written_is_synced_and_so_is_every_folder_it_made(local: LocalStore, monkeypatch):
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    scratch = publish(local, "a/b/c", b"")
    folders = [str(local.root.parent), local.url, f"{local.url}/a", f"{local.url}/a/b"]
    assert set(folders) | {str(scratch)} == set(synced)
    assert synced.index(str(scratch)) < synced.index(f"{local.url}/a/b"), "the content before its name"
    synced.clear()
    local.create("a/b/d", b"", "label")
    assert synced[-1] == f"{local.url}/a/b"
    assert synced[0].startswith(f"{local.url}/.tmp/")


REFUSALS = [
    (errno.ENOSPC, "No space left on device; free some space and run the same command again"),
    (errno.EDQUOT, "Disk quota exceeded; free some space"),
    (errno.EROFS, "Read-only file system; choose a folder you may write to"),
    (errno.EACCES, "Permission denied; choose a folder you may write to"),
    (errno.EIO, "Input/output error"),
    (errno.ENOENT, "No such file or directory"),
]


@pytest.mark.parametrize(("number", "sentence"), REFUSALS)
@pytest.mark.parametrize("call", ["fsync", "link", "mkdir", "replace"])
def test_a_disk_that_refuses_is_one_sentence(local: LocalStore, monkeypatch, call: str, number: int, sentence: str):
    publish(local, "there", b"before")
    scratch = local.scratch()
    scratch.write_bytes(b"after")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    writers: dict[str, Callable[[], object]] = {
        "fsync": lambda: local.replace("there", b"after"),
        "link": lambda: local.create("new", b"after", "label"),
        "mkdir": lambda: local.publish(scratch, "folder/new", "label"),
        "replace": lambda: local.publish(scratch, "there", "label"),
    }
    with pytest.raises(StorageError) as caught:
        writers[call]()
    assert str(caught.value).startswith(f"cannot write to {local.url}: {sentence}")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert local.read("there") == b"before"
    assert not local.exists("new")
    assert not local.exists("folder/new")


def test_a_scratch_file_that_is_gone_is_a_storage_error(store: Store):
    with pytest.raises(StorageError, match="No such file or directory"):
        store.publish(store.scratch(), "path", "label")
    assert not store.exists("path")


@pytest.mark.parametrize("call", ["read", "list", "exists"])
def test_a_disk_that_fails_does_not_look_empty(local: LocalStore, monkeypatch, call: str):
    """A sweep that took an unreadable folder of commits for an empty one would remove every data file."""
    local.replace("commits/layout/00000.json", b"{}")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("scandir", "stat", "open"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("io.open", refuse)
    path = "commits" if call == "list" else "commits/layout/00000.json"
    with pytest.raises(StorageError, match="Input/output error"):
        getattr(local, call)(path)


@pytest.mark.parametrize("call", ["read", "list", "exists", "remove"])
def test_an_object_store_that_fails_does_not_look_empty(monkeypatch, call: str):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    store.replace("commits/a", b"{}")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("the bucket does not answer")

    for name in ("cat_file", "find", "ls", "info", "rm_file"):
        monkeypatch.setattr(type(store.system), name, refuse)
    with pytest.raises(StorageError, match="the bucket does not answer"):
        getattr(store, call)("commits" if call == "list" else "commits/a")


def test_a_put_that_fails_is_one_sentence_and_leaves_no_temporary_file(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Access Denied")

    for name in ("put_file", "pipe_file"):
        monkeypatch.setattr(type(store.system), name, refuse)
    scratch = store.scratch()
    scratch.write_bytes(b"content")
    for write in (
        lambda: store.publish(scratch, "a", "label"),
        lambda: store.create("a", b"", "label"),
        lambda: store.replace("a", b""),
    ):
        with pytest.raises(StorageError, match=f"cannot write to {store.url}: Access Denied; choose a folder"):
            write()
    assert not scratch.exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_space(tiny_disk: Path):
    store = open_store(tiny_disk / "out")
    publish(store, "shards/first", b"x" * 30_000)
    with pytest.raises(StorageError, match="No space left on device; free some space and run the same command again"):
        store.create("commits/00000.json", b"x" * 50_000, "label")
    assert not store.exists("commits/00000.json")
    assert store.read("shards/first") == b"x" * 30_000
    store.clear_scratch()
    store.remove("shards/first")
    assert store.create("commits/00000.json", b"x" * 50_000, "label")


def test_a_read_only_disk_is_one_sentence(tiny_disk: Path):
    store = open_store(tiny_disk / "out")
    store.replace("run.json", b"{}")
    scratch = store.scratch()
    scratch.write_bytes(b"")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    for write in (
        lambda: store.publish(scratch, "a", "label"),
        lambda: store.create("a", b"", "label"),
        lambda: store.replace("run.json", b"other"),
        lambda: store.remove("run.json"),
    ):
        with pytest.raises(StorageError, match="Read-only file system; choose a folder you may write to"):
            write()
    store.clear_scratch()
    assert store.read("run.json") == b"{}"


def test_sha256_of_a_file(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_worker_that_still_writes_does_not_stop_the_clearing(local: LocalStore, monkeypatch):
    """rmdir finds a file that was not there when the folder was listed."""
    scratch = local.scratch()
    real = os.rmdir
    monkeypatch.setattr(os, "rmdir", lambda path, **more: (scratch.write_bytes(b"late"), real(path, **more)))
    local.clear_scratch()
    assert scratch.read_bytes() == b"late"
    assert storage.SCRATCH in str(scratch)
