"""Roots: the folders, local or in a store, that sources lie under. The one place that touches files and follows links.

Both kinds answer the same questions, so that the listing and the fetch apply the same checks: `walk` a folder, `look`
at one path, `open` it.
"""

# Names stay the strings that the file system gave; a Path per file would double the time of a walk.
# ruff: noqa: PTH112, PTH114, PTH118

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal, cast

import fsspec

from stages.listing_match import Selection
from stages.listing_records import Found, Problem, escape_problem, hides_dots, is_url, name_problem, printable

MODIFIED = "modified:"
"""Begins the `etag` of a file whose store has no entity tags but knows when it was modified."""

_TAG_KEYS = ("ETag", "etag")
_TIME_KEYS = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class LocalRoot:
    """A folder of this machine. Links are followed only to targets inside it."""

    def __init__(self, folder: str) -> None:
        self.url = os.path.realpath(folder)
        self._prefix = self.url.rstrip("/") + "/"
        self._real_folders: dict[str, str] = {}

    def walk(self, selection: Selection) -> Iterator[Found | Problem]:
        """The selected files, in no order. Each real folder is walked once, under its own name if that is in reach.

        So links cannot loop, and what a folder holds is listed by a link's name only where no plain name leads to it.
        """
        visited: set[str] = set()
        pending = [("", self.url)]
        while pending:
            links: list[tuple[str, str]] = []
            for path, real in pending:
                yield from self._walk_plain(path, real, selection, visited, links)
            pending = sorted(links)

    def _walk_plain(
        self, path: str, real: str, selection: Selection, visited: set[str], links: list[tuple[str, str]]
    ) -> Iterator[Found | Problem]:
        """Walk plain folders from `path` (really `real`) on; folders reached by a link are left in `links`."""
        pending = [(path, real)]
        while pending:
            path, real = pending.pop()
            if real in visited:
                continue
            visited.add(real)
            try:
                with os.scandir(real) as listing:
                    entries = list(listing)
            except OSError as error:
                yield _os_problem(path or ".", error)
                continue
            via_link = path != real[len(self._prefix) :]
            for entry in entries:
                name = f"{path}/{entry.name}" if path else entry.name
                if selection.hides(entry.name):
                    continue
                try:
                    if entry.is_symlink():
                        yield from self._follow(name, entry.path, selection, links)
                    elif not entry.is_dir(follow_symlinks=False):
                        if selection.takes(name):
                            yield self._describe(name, entry.path, via_link=via_link)
                    elif selection.may_enter(name):
                        yield from _enter(name, entry.path, pending)
                except OSError as error:
                    yield _os_problem(name, error)

    def _follow(
        self, path: str, link: str, selection: Selection, links: list[tuple[str, str]]
    ) -> Iterator[Found | Problem]:
        target = os.path.realpath(link)
        is_folder = os.path.isdir(target)
        if not (selection.may_enter(path) if is_folder else selection.takes(path)):
            return
        if not self._holds(target):
            yield _outside(path)
        elif is_folder:
            yield from _enter(path, target, links)
        else:
            yield self._describe(path, target, via_link=True)

    def look(self, path: str) -> Found | Problem:
        """The file at the relative `path` as it is now, or why it cannot be used. Never looks outside the root."""
        problem = escape_problem(path) or name_problem(path)
        if problem is not None:
            return problem
        folder, _, name = path.rpartition("/")
        try:
            if folder not in self._real_folders:
                self._real_folders[folder] = os.path.realpath(self._prefix + folder)
            real = os.path.join(self._real_folders[folder], name)
            if os.path.islink(real):
                real = os.path.realpath(real)
        except OSError as error:
            return _os_problem(path, error)
        if not self._holds(real):
            return _outside(path)
        return self._describe(path, real, via_link=real != self._prefix + path)

    def open(self, found: Found, block_bytes: int) -> BinaryIO:
        """The file that was found, to read in blocks of `block_bytes`; its links were resolved when it was found."""
        return open(found.identity, "rb", buffering=block_bytes)

    def _describe(self, path: str, real: str, *, via_link: bool) -> Found | Problem:
        problem = name_problem(path)
        if problem is not None:
            return problem
        try:
            status = os.lstat(real)
        except OSError as error:
            problem = _os_problem(path, error)
            return _dead_link(path) if via_link and problem.reason == "missing" else problem
        if stat.S_ISLNK(status.st_mode):
            return _dead_link(path)
        if not stat.S_ISREG(status.st_mode):
            what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is a device, pipe or socket"
            return Problem(path, "not_a_file", f"{what}, not a file")
        if not os.access(real, os.R_OK):
            return Problem(path, "unreadable", "cannot be read: permission denied")
        return Found(path, status.st_size, status.st_mtime_ns, None, real, via_link)

    def _holds(self, real: str) -> bool:
        return real == self.url or real.startswith(self._prefix)


class StoreRoot:
    """A folder of an object store or any other file system that fsspec knows, by URL."""

    def __init__(self, url: str) -> None:
        if hides_dots(url):
            raise ValueError(f"the URL {printable(url)} has '..' in it; write it without")
        self.url = url if url.endswith("://") else url.rstrip("/")
        with store_errors(url):
            self._store, base = fsspec.core.url_to_fs(url)
        self._base = base.rstrip("/")
        self._folders: dict[str, dict[str, dict[str, Any]]] = {}

    def kind(self) -> Literal["folder", "file"] | None:
        """What the URL names; None if nothing is there."""
        with store_errors(self.url):
            self._store.invalidate_cache()
            try:
                info = self._store.info(self._base)
            except FileNotFoundError:
                return None
        return "folder" if info["type"] == "directory" else "file"

    def walk(self, selection: Selection) -> Iterator[Found | Problem]:
        """The selected files, in no order."""
        with store_errors(self.url):
            infos = self._store.find(self._base, maxdepth=selection.max_depth, detail=True)
        prefix = self._base.strip("/") + "/" if self._base.strip("/") else ""
        for name, info in infos.items():
            plain = name.removeprefix("/")
            if not plain.startswith(prefix):
                yield Problem(name, "outside_root", "lies outside the folder that was listed")
                continue
            path = plain.removeprefix(prefix)
            is_file = info.get("type") != "directory" and not path.endswith("/")
            if is_file and not selection.hides(path) and selection.takes(path):
                yield self._describe(path, info)

    def look(self, path: str) -> Found | Problem:
        """The file at the relative `path` as it is now (or as `look_ahead` saw it), or why it cannot be used."""
        problem = escape_problem(path)
        if problem is not None:
            return problem
        if hides_dots(path):
            return Problem(path, "outside_root", "climbs out of its folder with '..'")
        folder, _, name = path.rpartition("/")
        if folder in self._folders:
            info = self._folders[folder].get(name)
            return self._describe(path, info) if info else Problem(path, "missing", "does not exist")
        full = f"{self._base}/{path}"
        try:
            with store_errors(self.url):
                # What the store remembers of earlier listings would hide a change.
                self._store.invalidate_cache(full)
                info = self._store.info(full)
        except FileNotFoundError:
            return Problem(path, "missing", "does not exist")
        except ValueError as error:
            return Problem(path, "unreadable", f"cannot be read: {error.__cause__ or error}")
        return self._describe(path, info)

    def look_ahead(self, paths: Iterable[str], minimum: int) -> None:
        """List each folder that holds at least `minimum` of `paths`: one request then answers many a `look`."""
        safe = (path for path in paths if escape_problem(path) is None and not hides_dots(path))
        wanted = Counter(path.rpartition("/")[0] for path in safe)
        for folder in sorted(folder for folder, count in wanted.items() if count >= minimum):
            full = f"{self._base}/{folder}".rstrip("/")
            try:
                with store_errors(self.url):
                    infos = self._store.ls(full, detail=True)
            except FileNotFoundError:
                infos = []
            except ValueError:
                continue
            self._folders[folder] = {info["name"].rpartition("/")[2]: info for info in infos}

    def open(self, found: Found, block_bytes: int) -> BinaryIO:
        """The file that was found, to read; the store is asked for blocks of `block_bytes`."""
        return cast("BinaryIO", self._store.open(f"{self._base}/{found.path}", "rb", block_size=block_bytes))

    def _describe(self, path: str, info: dict[str, Any]) -> Found | Problem:
        problem = escape_problem(path) or name_problem(path)
        if problem is not None:
            return problem
        if info.get("type") != "file":
            return Problem(path, "not_a_file", "is not a file")
        if info.get("size") is None:
            return Problem(path, "unreadable", "cannot be checked for changes: its store does not tell its size")
        return Found(path, int(info["size"]), None, _version(info), f"{self.url}/{path}")


Root = LocalRoot | StoreRoot


def open_root(url: str) -> Root:
    """The root at `url`, a local folder or the URL of one in a store. ValueError: unknown protocol, missing package."""
    return StoreRoot(url) if is_url(url) else LocalRoot(url)


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn what a store raises into one ValueError sentence, FileNotFoundError excepted."""
    protocol = url.partition("://")[0]
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise ValueError(f"{protocol}:// needs a package that is not installed: {error}") from error
    except Exception as error:  # every store has error classes of its own
        raise ValueError(f"{printable(url)} cannot be read: {printable(str(error)) or type(error).__name__}") from error


def _version(info: dict[str, Any]) -> str | None:
    for key in _TAG_KEYS:
        if info.get(key):
            return str(info[key]).strip('"')
    for key in _TIME_KEYS:
        value = info.get(key)
        if isinstance(value, int | float):
            value = datetime.fromtimestamp(value, UTC)
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return MODIFIED + aware.astimezone(UTC).isoformat(timespec="microseconds")
        if value:
            return MODIFIED + str(value)
    return None


def _enter(path: str, real: str, pending: list[tuple[str, str]]) -> Iterator[Problem]:
    """Queue a folder to be walked, unless its name is one no manifest could hold."""
    problem = name_problem(path)
    if problem is None:
        pending.append((path, real))
    else:
        yield problem


def _dead_link(path: str) -> Problem:
    return Problem(path, "missing", "is a link that leads nowhere")


def _outside(path: str) -> Problem:
    return Problem(path, "outside_root", "is or lies behind a link that leads out of its root folder")


def _os_problem(path: str, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Problem(path, "missing", "does not exist")
    return Problem(path, "unreadable", f"cannot be read: {(error.strerror or type(error).__name__).lower()}")
