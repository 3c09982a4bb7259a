"""One run per folder, and never a folder that stays locked."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests import lock
from manifests.lock import LEASE_FILE, LOCK_FILE, FolderLocked, run_lock
from manifests.storage import StorageError, Store, open_store

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
"""How long to wait for what must happen; never how long it may take."""

HOLDER = """
import sys
from manifests.lock import run_lock
from manifests.storage import open_store
with run_lock(open_store(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def other_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path: Path):
    store = open_store(tmp_path / "out")
    with other_run(tmp_path / "out") as process:
        with pytest.raises(FolderLocked) as caught, run_lock(store):
            pytest.fail("two runs hold the folder")
        text = str(caught.value)
        assert text.startswith(f"{store.url} is in use by another run (process {process.pid} on ")
        assert text.endswith("wait for it or stop it")
        process.communicate("go\n")
        assert process.returncode == 0
    with run_lock(store):
        assert json.loads(store.read(LOCK_FILE))["pid"] == os.getpid()


def test_a_killed_holder_releases_the_folder(tmp_path: Path):
    store = open_store(tmp_path)
    with other_run(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with run_lock(store):
            assert json.loads(store.read(LOCK_FILE))["pid"] == os.getpid()


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path):
    store = open_store(tmp_path)
    command = [sys.executable, "-c", "print(); input()"]
    with run_lock(store):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout.readline() == b"\n"
    try:
        with run_lock(store):
            pass
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "{}"])
def test_a_holder_that_left_no_name_still_refuses(tmp_path: Path, text: str):
    store = open_store(tmp_path)
    with run_lock(store):
        (tmp_path / LOCK_FILE).write_text(text)
        with pytest.raises(FolderLocked, match=r"process \? on \?"), run_lock(store):
            pytest.fail("two runs hold the folder")


def make_stores(tmp_path: Path) -> list[Store]:
    return [open_store(tmp_path / "out"), open_store(f"memory://{uuid.uuid4().hex}/out")]


def test_a_lock_is_given_back_after_success_and_failure(tmp_path: Path):
    for store in make_stores(tmp_path):
        with run_lock(store):
            pass
        with pytest.raises(KeyError), run_lock(store):
            raise KeyError
        with run_lock(store), pytest.raises(FolderLocked, match=f"process {os.getpid()} on "), run_lock(store):
            pytest.fail("two runs hold the folder")


def test_two_folders_do_not_hinder_each_other(tmp_path: Path):
    with run_lock(open_store(tmp_path / "a")), run_lock(open_store(tmp_path / "b")):
        pass


@pytest.mark.parametrize("call", ["mkdir", "flock"])
def test_a_folder_that_cannot_be_locked_is_one_sentence(tmp_path: Path, monkeypatch, call: str):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((os, call) if call == "mkdir" else (lock.fcntl, call)), refuse)
    with pytest.raises(StorageError, match="Permission denied; choose a folder you may write to"):  # noqa: SIM117
        with run_lock(open_store(tmp_path / "out")):
            pytest.fail("held without a lock")


def test_a_full_disk_does_not_keep_a_run_from_its_folder(tmp_path: Path, monkeypatch):
    """The run may have come to free space, as `vivid prune` does."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = open_store(tmp_path)
    monkeypatch.setattr(os, "write", refuse)
    with run_lock(store), pytest.raises(FolderLocked), run_lock(store):
        pytest.fail("two runs hold the folder")


@pytest.fixture
def bucket() -> Store:
    return open_store(f"memory://{uuid.uuid4().hex}/out")


class Clock:
    """Stands in for the wall clock; sleeping only calls `while_asleep`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.while_asleep = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.while_asleep()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock)
    return clock


def lease(store: Store) -> dict[str, object]:
    return json.loads(store.read(LEASE_FILE))


def dead_lease(store: Store, beat: object = 0.0) -> None:
    store.replace(
        LEASE_FILE, json.dumps({"host": "gone", "pid": 4711, "since": "then", "token": "x", "beat": beat}).encode()
    )


def test_a_lease_names_its_holder_and_goes_with_it(bucket: Store, clock: Clock):
    with run_lock(bucket):
        assert (lease(bucket)["pid"], lease(bucket)["beat"]) == (os.getpid(), 1000.0)
    assert not bucket.exists(LEASE_FILE)


def test_a_live_lease_is_respected_to_its_last_second(bucket: Store, clock: Clock):
    dead_lease(bucket, beat=1000.0)
    clock.now += lock.LEASE_EXPIRY_S - 1
    with pytest.raises(FolderLocked, match="process 4711 on gone since then"), run_lock(bucket):
        pytest.fail("two runs hold the folder")
    assert lease(bucket)["token"] == "x"


@pytest.mark.parametrize("beat", [1000.0, None, "soon"])
def test_a_dead_lease_is_taken_over(bucket: Store, clock: Clock, beat: object):
    dead_lease(bucket, beat)
    clock.now += lock.LEASE_EXPIRY_S
    with run_lock(bucket):
        assert lease(bucket)["pid"] == os.getpid()
        assert lease(bucket)["beat"] == clock.now
    assert not bucket.exists(LEASE_FILE)


def test_of_two_runs_that_find_a_dead_lease_the_last_one_stays(bucket: Store, clock: Clock):
    dead_lease(bucket)

    def another_takes_over_too() -> None:
        bucket.remove(LEASE_FILE)
        dead_lease(bucket, beat=clock.now)

    clock.while_asleep = another_takes_over_too
    with pytest.raises(FolderLocked, match="process 4711"), run_lock(bucket):
        pytest.fail("two runs hold the folder")
    assert lease(bucket)["token"] == "x", "the other one's lease is not ours to remove"


def test_a_lease_that_somebody_creates_first_refuses_us(bucket: Store, clock: Clock, monkeypatch):
    dead_lease(bucket)
    real = bucket.remove

    def remove_and_lose(path: str) -> None:
        real(path)
        dead_lease(bucket, beat=clock.now)

    monkeypatch.setattr(bucket, "remove", remove_and_lose)
    with pytest.raises(FolderLocked, match="process 4711"), run_lock(bucket):
        pytest.fail("two runs hold the folder")


class Watched:
    """A store that says when the lease is renewed, and may fail to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.renewed = threading.Event()
        self.failed = threading.Event()
        self.fails = False

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def replace(self, path: str, data: bytes) -> None:
        if self.fails:
            self.failed.set()
            raise StorageError("the bucket does not answer")
        self._store.replace(path, data)
        self.renewed.set()


def test_the_heartbeat_keeps_a_lease_for_as_long_as_the_run_lives(bucket: Store, clock: Clock):
    watched = Watched(bucket)
    with lock._lease(watched, heartbeat_s=0.005):
        for _ in range(3):
            clock.now += lock.LEASE_EXPIRY_S / 2
            # The first renewal after this may have read the clock before it moved on.
            for _ in range(2):
                watched.renewed.clear()
                assert watched.renewed.wait(PATIENCE_S)
            with pytest.raises(FolderLocked), run_lock(bucket):
                pytest.fail("two runs hold the folder")
    watched.renewed.clear()
    assert not watched.renewed.wait(0.05), "the heartbeat ends with the run"
    assert not bucket.exists(LEASE_FILE)


def test_a_heartbeat_survives_a_store_that_fails_for_a_while(bucket: Store):
    watched = Watched(bucket)
    watched.fails = True
    with lock._lease(watched, heartbeat_s=0.005):
        assert watched.failed.wait(PATIENCE_S)
        watched.fails = False
        assert watched.renewed.wait(PATIENCE_S)


def test_a_run_that_lost_its_lease_neither_renews_nor_removes_the_new_one(bucket: Store, clock: Clock):
    with lock._lease(bucket, heartbeat_s=0.005):
        dead_lease(bucket, beat=clock.now)
        first = bucket.read(LEASE_FILE)
        threading.Event().wait(0.05)
        assert bucket.read(LEASE_FILE) == first
    assert bucket.read(LEASE_FILE) == first


def test_a_lease_that_cannot_be_given_back_does_not_fail_a_finished_run(bucket: Store, monkeypatch):
    def refuse(_path: str) -> None:
        raise StorageError("the bucket does not answer")

    with run_lock(bucket):
        monkeypatch.setattr(bucket, "remove", refuse)
