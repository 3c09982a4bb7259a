"""One source as a local file: in place if it is one, else streamed to scratch; refused if it changed since listed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field

from stages.listing_records import Found, Source, printable, split_member
from stages.listing_roots import MODIFIED, LocalRoot, Root, open_root, store_errors
from stages.listing_tar import TarIndex, read_tar_index

_SUFFIX_CHARACTERS = 10


class SourceChanged(ValueError):
    """The file is not the one that was listed: its size, modification time or entity tag differs."""


class SourceMissing(ValueError):
    """The file, or the archive or member it names, is gone."""


class SourceUnreadable(ValueError):
    """The file is there but cannot be read, or now lies behind a link out of its root."""


class FetchSettings(BaseModel, frozen=True, extra="forbid"):
    """How much of a remote file or archive is held in memory."""

    chunk_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=512,
        description="Bytes read from a store or archive at a time: the memory a fetch takes; less costs more requests.",
    )
    archive_block_bytes: int = Field(
        default=256 * 1024,
        ge=512,
        description="Bytes asked of a store at a time while the headers of a tar archive are read, once per archive.",
    )


_DEFAULTS = FetchSettings()


@contextmanager
def open_local(
    source: Source, roots: Mapping[str, str], scratch: Path, settings: FetchSettings = _DEFAULTS
) -> Iterator[Path]:
    """Give `source` as a local file for the time of the block; `roots`: alias → folder or URL, as in `Listing`.

    A plain local file is used in place, links resolved; anything else is copied to a file of its own in `scratch`,
    which is removed afterwards. Raises SourceChanged, SourceMissing or SourceUnreadable; OSError only where `scratch`
    cannot be written.
    """
    name = f"{source.root}/{printable(source.path)}"
    if source.root not in roots:
        raise ValueError(f"the root of {name} is not among the known roots: {', '.join(sorted(roots)) or 'none'}")
    root = open_root(roots[source.root])
    holder, member = split_member(source.path)
    found = _look(root, holder, name)
    _require_unchanged(source, found, name)
    if member is None and isinstance(root, LocalRoot):
        yield Path(found.identity)
        return
    offset = 0 if member is None else _find_member(root, found, member, source.size, name, settings)
    copy = _new_file(scratch, source)
    try:
        _copy(root, found, offset, source.size, copy, name, settings)
        # What was replaced while it was being read would be a mixture of old and new.
        _require_unchanged(source, _look(root, holder, name), name)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _look(root: Root, path: str, name: str) -> Found:
    found = root.look(path)
    if isinstance(found, Found):
        return found
    sentence = f"{name} {found.clause}" if found.reason != "missing" else f"{name} is gone: it {found.clause}"
    raise (SourceMissing if found.reason == "missing" else SourceUnreadable)(sentence)


def _require_unchanged(source: Source, found: Found, name: str) -> None:
    facts: list[tuple[str, object, object]] = []
    if split_member(source.path)[1] is None:
        facts.append(("size", source.size, found.size))
    facts.append(("modification time", _time(source.mtime_ns), _time(found.mtime_ns)))
    if _is_time(source.etag) == _is_time(found.etag):
        facts.append(("entity tag", source.etag, found.etag))
    for what, listed, now in facts:
        if listed is not None and now is not None and listed != now:
            raise SourceChanged(f"{name} changed since it was listed: its {what} was {listed} and is {now}")


def _time(mtime_ns: int | None) -> str | None:
    """A modification time in UTC, to the nanosecond; None stays None."""
    if mtime_ns is None:
        return None
    seconds, fraction = divmod(mtime_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{fraction:09} UTC"


def _is_time(etag: str | None) -> bool:
    # Some stores tell the entity tag in one answer and only the time in another: these cannot be compared.
    return etag is not None and etag.startswith(MODIFIED)


def _find_member(root: Root, archive: Found, member: str, size: int, name: str, settings: FetchSettings) -> int:
    """The offset of the member's first byte in its archive."""
    with _reading(name):
        members = _tar_index(root.url, archive, settings.archive_block_bytes).members
    if member not in members:
        raise SourceMissing(f"{name} is gone: its archive has no such member")
    offset, now = members[member]
    if now != size:
        raise SourceChanged(f"{name} changed since it was listed: its size was {size} and is {now}")
    return offset


@lru_cache(maxsize=4)
def _tar_index(url: str, archive: Found, block_bytes: int) -> TarIndex:
    """Kept between fetches, which go through an archive member by member; a changed archive is another `archive`."""
    with open_root(url).open(archive, block_bytes) as stream:
        return read_tar_index(stream, archive.size)


def _new_file(scratch: Path, source: Source) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    suffix = PurePosixPath(source.path).suffix
    # Nothing of a stranger's file name but a plain extension goes into ours.
    plain = suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= _SUFFIX_CHARACTERS else ""
    handle, path = tempfile.mkstemp(dir=scratch, prefix=f"{source.source_id}-", suffix=plain)
    os.close(handle)
    return Path(path)


def _copy(root: Root, found: Found, offset: int, size: int, copy: Path, name: str, settings: FetchSettings) -> None:
    """Copy `size` bytes from `offset` on. Only what reading raises is the source's fault; a full disk is not."""
    with _reading(name):
        stream = root.open(found, settings.chunk_bytes)
    with stream, copy.open("wb") as target:
        with _reading(name):
            stream.seek(offset)
        remaining = size
        while remaining:
            with _reading(name):
                chunk = stream.read(min(settings.chunk_bytes, remaining))
            if not chunk:
                raise SourceChanged(f"{name} changed since it was listed: it ends {remaining} bytes early")
            target.write(chunk)
            remaining -= len(chunk)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        with store_errors(name):
            yield
    except FileNotFoundError as error:
        raise SourceMissing(f"{name} is gone: it does not exist") from error
    except ValueError as error:
        raise SourceUnreadable(str(error)) from error
