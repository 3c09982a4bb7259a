"""One run per folder: a lock that dies with its holder.

On a disk it is an flock, which the kernel releases with the process. In an object store it is a lease object that is
renewed by a heartbeat; a lease whose heartbeat stopped may be taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from manifests.storage import LocalStore, StorageError, Store

LOCK_FILE = ".lock"
LEASE_FILE = "lease.json"
HEARTBEAT_S = 10.0
LEASE_EXPIRY_S = 60.0
"""A lease is dead after this long without a heartbeat: six missed ones."""


class FolderLocked(Exception):
    """Another live run holds the folder. The text says who."""


def _holder() -> dict[str, str | int]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def _refusal(url: str, holder: dict[str, object]) -> FolderLocked:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    return FolderLocked(f"{url} is in use by another run ({who}); wait for it or stop it")


@contextlib.contextmanager
def run_lock(store: Store) -> Iterator[None]:
    """Hold the folder for the length of a run. Raises FolderLocked at once when another run has it."""
    with _flock(store) if isinstance(store, LocalStore) else _lease(store):
        yield


@contextlib.contextmanager
def _flock(store: LocalStore) -> Iterator[None]:
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        file = (store.root / LOCK_FILE).open("a+")
    except OSError as error:
        raise StorageError(
            f"cannot write to {store.url}: {error.strerror}; choose a folder you may write to"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _refusal(store.url, _parse(file.read())) from error
        file.seek(0)
        file.truncate()
        file.write(json.dumps(_holder()))
        file.flush()
        yield


def _parse(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@contextlib.contextmanager
def _lease(store: Store, heartbeat_s: float = HEARTBEAT_S, expiry_s: float = LEASE_EXPIRY_S) -> Iterator[None]:
    token = uuid.uuid4().hex

    def content() -> bytes:
        return json.dumps({**_holder(), "token": token, "beat": time.time()}).encode()

    def held_by() -> dict[str, object]:
        try:
            return _parse(store.read(LEASE_FILE).decode())
        except FileNotFoundError:
            return {}

    if not store.create(LEASE_FILE, content(), "lease"):
        holder = held_by()
        beat = holder.get("beat")
        if isinstance(beat, int | float) and time.time() - beat < expiry_s:
            raise _refusal(store.url, holder)
        store.remove(LEASE_FILE)
        if not store.create(LEASE_FILE, content(), "lease"):
            raise _refusal(store.url, held_by())
    stop = threading.Event()

    def beat_on() -> None:
        while not stop.wait(heartbeat_s):
            # A run that lost its lease must not steal it back; the epoch keeps it from committing.
            if held_by().get("token") == token:
                store.replace(LEASE_FILE, content())

    thread = threading.Thread(target=beat_on, name="lease heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if held_by().get("token") == token:
            store.remove(LEASE_FILE)
