"""Is a dataset still what its commits say: every file there, of its length and with its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from manifests.commits import RUN_FILE, Commit, CommittedFile, commit_paths, read_run, size_fault
from manifests.damage import GONE, DatasetDamaged
from manifests.latents import LATENTS_FOLDER, latents_url
from manifests.storage import StorageError, Store, open_store

AT_ONCE = 8
"""Files read side by side: a bucket answers late, and hashing leaves Python's lock."""
BLOCK_BYTES = 16 * 2**20
PRUNED = "clips.tar"
"""What a commit calls the file that `vivid prune` takes away."""


@dataclass(frozen=True)
class Held:
    """A file as its commit names it, and the store it lies in."""

    store: Store
    file: CommittedFile


@dataclass(frozen=True)
class Fault:
    """A file of a dataset that is not as it was written: `path` under the dataset's folder, `why` a clause."""

    path: str
    why: str


@dataclass(frozen=True)
class Inventory:
    """What the commits of a dataset and of its latents name; `faults` are records that cannot be read."""

    files: tuple[Held, ...]
    faults: tuple[Fault, ...]

    @property
    def num_bytes(self) -> int:
        return sum(held.file.size for held in self.files)


def take_inventory(store: Store) -> Inventory:
    """Read every commit record of a dataset and of the sets of latents beside it."""
    files: list[Held] = []
    faults: list[Fault] = []
    for each in (store, *_latents(store)):
        try:
            read_run(each)
        except DatasetDamaged as error:
            faults.append(_fault(store, each, RUN_FILE, error.why))
        for path in commit_paths(each):
            try:
                files += [Held(each, file) for file in Commit.read(each, path).files]
            except DatasetDamaged as error:
                faults.append(_fault(store, each, path, error.why))
    return Inventory(tuple(files), tuple(faults))


def verify(store: Store, inventory: Inventory, report: Callable[[int], None]) -> Iterator[Fault]:
    """Hash every file and yield those that are gone, of another length or of other content, in the commits' order.

    Normalised clips that are not there count as pruned, since the shards hold them too. `report` is called with the
    bytes of every block that was read, from several threads.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        found = pool.map(lambda held: _why(held, report), inventory.files)
        for held, why in zip(inventory.files, found, strict=True):
            if why is not None:
                yield _fault(store, held.store, held.file.path, why)
    finally:
        # Who interrupts does not wait for the files that have not begun.
        pool.shutdown(cancel_futures=True)


def _why(held: Held, report: Callable[[int], None]) -> str | None:
    """What is wrong with a file, None when nothing is."""
    file = held.file
    try:
        if why := size_fault(held.store, file):
            return None if why == GONE and file.name == PRUNED else why
        digest = hashlib.sha256()
        for block in _blocks(held.store, file):
            digest.update(block)
            report(len(block))
    except (FileNotFoundError, StorageError) as error:
        return f"cannot be read ({error})"
    return None if digest.hexdigest() == file.sha256 else "holds other bytes than were written"


def _blocks(store: Store, file: CommittedFile) -> Iterable[bytes]:
    for offset in range(0, file.size, BLOCK_BYTES):
        yield store.read_range(file.path, offset, min(BLOCK_BYTES, file.size - offset))


def _latents(store: Store) -> list[Store]:
    runs = [path.split("/") for path in store.list(LATENTS_FOLDER) if path.endswith(f"/{RUN_FILE}")]
    return [open_store(latents_url(store.url, parts[1])) for parts in runs if len(parts) == 3]


def _fault(dataset: Store, store: Store, path: str, why: str) -> Fault:
    return Fault(f"{store.url.removeprefix(dataset.url).lstrip('/')}/{path}".lstrip("/"), why)
