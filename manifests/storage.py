"""One folder of files, on a disk or in an object store, with writes that are whole or absent.

Paths are POSIX and relative to the folder. A data file is first complete under a temporary name, then moved (object
store: put in one piece); a commit record is created only if absent. Failures of the medium (full, read-only, gone)
come out as `StorageError` with one sentence.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from manifests.killpoints import reach

SCRATCH = ".tmp"
"""Folder of temporary files inside a local dataset folder."""


class StorageError(Exception):
    """The medium refused: full, read-only, no permission, unreachable. The text is one sentence."""


@contextlib.contextmanager
def storage_errors(action: str, where: str) -> Iterator[None]:
    """Turn an OSError into StorageError "cannot <action> <where>: …"; for a reader, a missing file stays one."""
    try:
        yield
    except OSError as error:
        if action == "read" and isinstance(error, FileNotFoundError):
            raise
        advice = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "; free some space and run the same command again, it goes on where it stopped"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            advice = "; choose a folder you may write to"
        reason = error.strerror or str(error) or type(error).__name__
        raise StorageError(f"cannot {action} {where}: {reason}{advice}") from error


class Store(Protocol):
    """A folder of immutable data files and small records."""

    url: str
    is_local: bool

    def read(self, path: str) -> bytes:
        """Whole content. Raises FileNotFoundError."""
        ...

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. Raises FileNotFoundError, StorageError when the file is shorter."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        ...

    def size(self, path: str) -> int | None:
        """Its bytes, or None when the file is not there."""
        ...

    def list(self, folder: str) -> list[str]:
        """Every file under `folder`, sorted; empty when there is no such folder."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; no error when it is gone already."""
        ...

    def scratch(self) -> Path:
        """A new local temporary file's path; what is written there is moved in by `publish`."""
        ...

    def publish(self, scratch: Path, path: str, label: str) -> None:
        """Move a complete scratch file to `path`, durably. `label` names the kill points."""
        ...

    def create(self, path: str, data: bytes, label: str) -> bool:
        """Write `path` only if absent, whole or not at all. False when somebody else was first."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write or overwrite a small file atomically."""
        ...

    def clear_scratch(self) -> None:
        """Remove temporary files of runs that are over."""
        ...


def open_store(url: str | Path) -> Store:
    """The store at a local path or any fsspec URL. Nothing is created yet."""
    text = str(url)
    try:
        system, root = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise StorageError(f"{text} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise StorageError(f"{text} is not a place to store files: {error}") from error
    if isinstance(system, LocalFileSystem):
        return LocalStore(Path(root))
    return ObjectStore(system, root, text)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each durably entered in its own parent."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalStore:
    """A folder on a disk (or a shared file system with atomic rename and link)."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(self.root)

    def _path(self, path: str) -> Path:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{path} leaves the dataset's folder")
        return self.root / relative

    def read(self, path: str) -> bytes:
        with storage_errors("read", path):
            return self._path(path).read_bytes()

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        with storage_errors("read", path), self._path(path).open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        return _whole(data, size, path)

    def exists(self, path: str) -> bool:
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        with storage_errors("read", path):
            try:
                found = self._path(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def list(self, folder: str) -> list[str]:
        def refuse(error: OSError) -> None:
            # A folder that cannot be read must not pass for an empty one: the sweep would take all data for rubbish.
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        with storage_errors("list", folder or self.url):
            return sorted(
                Path(parent, name).relative_to(self.root).as_posix()
                for parent, _folders, names in os.walk(self._path(folder), onerror=refuse)
                for name in names
            )

    def remove(self, path: str) -> None:
        with storage_errors("remove", path):
            self._path(path).unlink(missing_ok=True)

    def scratch(self) -> Path:
        folder = self.root / SCRATCH
        with storage_errors("write to", self.url):
            _make_folder(folder)
        return folder / uuid.uuid4().hex

    def publish(self, scratch: Path, path: str, label: str) -> None:
        target = self._path(path)
        with storage_errors("write to", self.url):
            reach(f"{label}:written")
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            reach(f"{label}:synced")
            _make_folder(target.parent)
            scratch.replace(target)
            reach(f"{label}:moved")
            _fsync_folder(target.parent)
            reach(f"{label}:durable")

    def create(self, path: str, data: bytes, label: str) -> bool:
        target = self._path(path)
        with storage_errors("write to", self.url):
            _make_folder(target.parent)
            scratch = self._write_scratch(data)
            reach(f"{label}:before")
            # A hard link fails if the name exists and shows the whole content at once: create-if-absent, atomically.
            try:
                os.link(scratch, target)
            except FileExistsError:
                return False
            finally:
                scratch.unlink(missing_ok=True)
            reach(f"{label}:after")
            _fsync_folder(target.parent)
        return True

    def replace(self, path: str, data: bytes) -> None:
        target = self._path(path)
        with storage_errors("write to", self.url):
            _make_folder(target.parent)
            self._write_scratch(data).replace(target)
            _fsync_folder(target.parent)

    def clear_scratch(self) -> None:
        # A worker of a killed run may still be writing here; what cannot go now goes at the next start.
        shutil.rmtree(self.root / SCRATCH, ignore_errors=True)

    def _write_scratch(self, data: bytes) -> Path:
        scratch = self.scratch()
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return scratch


class ObjectStore:
    """A prefix in an object store, through fsspec. A put is atomic there: no temporary objects are needed."""

    is_local = False

    def __init__(self, system: Any, root: str, url: str) -> None:
        self.system = system
        self.root = root.rstrip("/")
        self.url = url

    def _path(self, path: str) -> str:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path} leaves the dataset's folder")
        return f"{self.root}/{path}"

    def read(self, path: str) -> bytes:
        with storage_errors("read", path):
            return bytes(self.system.cat_file(self._path(path)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        with storage_errors("read", path):
            data = bytes(self.system.cat_file(self._path(path), start=offset, end=offset + size))
        return _whole(data, size, path)

    def exists(self, path: str) -> bool:
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        self.system.invalidate_cache()
        # Not `isfile`: there any failure, also of the network, passes for "no".
        try:
            with storage_errors("read", path):
                found = self.system.info(self._path(path))
        except FileNotFoundError:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def list(self, folder: str) -> list[str]:
        self.system.invalidate_cache()
        base = self._path(folder)
        with storage_errors("list", folder or self.url):
            try:
                found = [name for name in self.system.find(base) if name != base]
            except FileNotFoundError:
                found = []
        prefix = self._path("")
        return sorted(str(name)[str(name).index(prefix) + len(prefix) :] for name in found)

    def remove(self, path: str) -> None:
        with storage_errors("remove", path), contextlib.suppress(FileNotFoundError):
            self.system.rm_file(self._path(path))

    def scratch(self) -> Path:
        return Path(tempfile.gettempdir()) / f"vivid-{uuid.uuid4().hex}"

    def publish(self, scratch: Path, path: str, label: str) -> None:
        try:
            with storage_errors("write to", self.url):
                reach(f"{label}:written")
                self.system.put_file(str(scratch), self._path(path))
                reach(f"{label}:moved")
        finally:
            scratch.unlink(missing_ok=True)

    def create(self, path: str, data: bytes, label: str) -> bool:
        with storage_errors("write to", self.url):
            reach(f"{label}:before")
            try:
                self.system.pipe_file(self._path(path), data, mode="create")
            except FileExistsError:
                return False
            reach(f"{label}:after")
        return True

    def replace(self, path: str, data: bytes) -> None:
        with storage_errors("write to", self.url):
            self.system.pipe_file(self._path(path), data)

    def clear_scratch(self) -> None:
        """Nothing to clear: puts leave no partial objects."""


def _whole(data: bytes, size: int, path: str) -> bytes:
    if len(data) != size:
        raise StorageError(f"{path} ended {size - len(data)} bytes early")
    return data
