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
from io import TextIOWrapper

from manifests.storage import LocalStore, StorageError, Store, storage_errors

LOCK_FILE = ".lock"
LEASE_FILE = "lease.json"
HEARTBEAT_S = 10.0
LEASE_EXPIRY_S = 60.0
"""A lease is dead after this long without a heartbeat: six missed ones."""
SETTLE_S = 2.0
"""After taking over a dead lease, wait this long for another run that found it dead at the same moment."""


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
    with storage_errors("write to", store.url):
        store.root.mkdir(parents=True, exist_ok=True)
        file = (store.root / LOCK_FILE).open("a+")
    with file:
        with storage_errors("lock", store.url):
            _take(file, store.url)
        yield


def _take(file: TextIOWrapper, url: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise _refusal(url, _parse(file.read())) from error
    file.seek(0)
    file.truncate()
    # On a full disk the lock holds all the same; only its holder's name is missing.
    with contextlib.suppress(OSError):
        os.write(file.fileno(), json.dumps(_holder()).encode())


def _parse(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@contextlib.contextmanager
def _lease(
    store: Store, heartbeat_s: float = HEARTBEAT_S, expiry_s: float = LEASE_EXPIRY_S, settle_s: float = SETTLE_S
) -> Iterator[None]:
    token = uuid.uuid4().hex

    def content() -> bytes:
        return json.dumps({**_holder(), "token": token, "beat": time.time()}).encode()

    def held_by() -> dict[str, object]:
        try:
            return _parse(store.read(LEASE_FILE).decode())
        except FileNotFoundError:
            return {}

    def take_over() -> None:
        holder = held_by()
        beat = holder.get("beat")
        if isinstance(beat, int | float) and time.time() - beat < expiry_s:
            raise _refusal(store.url, holder)
        if holder:
            store.remove(LEASE_FILE)
        if store.create(LEASE_FILE, content(), "lease"):
            # Another run may have read the same dead lease and now replace ours by its own: the one that stays has won.
            time.sleep(settle_s)
        if (holder := held_by()).get("token") != token:
            raise _refusal(store.url, holder)

    def beat_on() -> None:
        while not stop.wait(heartbeat_s):
            # A beat that the store refuses is one missed beat. A run that lost its lease must not steal it back; the
            # epoch keeps it from committing.
            with contextlib.suppress(StorageError):
                if held_by().get("token") == token:
                    store.replace(LEASE_FILE, content())

    if not store.create(LEASE_FILE, content(), "lease"):
        take_over()
    stop = threading.Event()
    thread = threading.Thread(target=beat_on, name="lease heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        # A lease that cannot be given back expires.
        with contextlib.suppress(StorageError):
            if held_by().get("token") == token:
                store.remove(LEASE_FILE)
