"""What a listing is made of: a source, a refusal, and the rules a path must obey to become a source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from manifests.ids import source_id

Reason = Literal[
    "outside_root",
    "missing",
    "unreadable",
    "not_a_file",
    "bad_name",
    "bad_row",
    "bad_interval",
    "bad_listing",
    "damaged_archive",
    "compressed_archive",
]

MEMBER_MARK = re.compile(r"\.tar!", re.IGNORECASE)
"""What separates an archive from its member in a path: ``archive.tar!inner/name.mp4``."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Source:
    """One video or image to ingest, or one interval of it.

    `path` is POSIX and relative to the root called `root`; a tar member is ``archive.tar!inner/name.mp4``. `size` is
    the bytes of the file, of the member in a tar; `mtime_ns` and `etag` are those of the file that holds it, for a
    member the archive. `etag` is the store's entity tag, or ``modified:<UTC time>`` where the store has none.
    `start_us` and `end_us` are the interval in microseconds, end exclusive; both None for the whole file, `end_us` None
    for "to the end".
    """

    source_id: str
    root: str
    path: str
    size: int
    mtime_ns: int | None = None
    etag: str | None = None
    caption: str | None = None
    licence: str | None = None
    group: str | None = None
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something named or found that is not taken, and why.

    `path` is printable: as the user wrote it (an input, a row of a listing), or relative to `root` for what a walk met.
    `message` is one sentence; `root` is the alias it was met under.
    """

    path: str
    reason: Reason
    message: str
    root: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as its root sees it. `identity` is equal for two names of one file; `via_link`: named through a link."""

    path: str
    size: int
    mtime_ns: int | None
    etag: str | None
    identity: str
    via_link: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a path cannot be used; `clause` completes the sentence that begins with the path."""

    path: str
    reason: Reason
    clause: str


def make_id(root: str, path: str, start_us: int | None, end_us: int | None) -> str:
    """The id of a source: of its name alone for a whole file, of its name and interval otherwise."""
    if start_us is None and end_us is None:
        return source_id(root, path)
    # No path holds a NUL, so an interval of "a.mp4" can never share its key with a file of another name.
    return source_id(root, f"{path}\0{start_us}-{'' if end_us is None else end_us}")


def is_url(text: str) -> bool:
    """Whether `text` begins with a protocol, as in ``s3://``."""
    return _URL.match(text) is not None


def split_member(path: str) -> tuple[str, str | None]:
    """``a/b.tar!c/d.mp4`` → ``("a/b.tar", "c/d.mp4")``; any other path → ``(path, None)``."""
    mark = MEMBER_MARK.search(path)
    if mark is None:
        return path, None
    return path[: mark.end() - 1], path[mark.end() :]


def tidy(path: str) -> str:
    """`path` without the ``./``, ``//`` and final ``/`` that mean nothing; a leading ``/`` and ``..`` stay."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def escape_problem(path: str) -> Problem | None:
    """The problem of a path that does not stay under the root it is relative to, or that cannot be a path at all."""
    if "\0" in path:
        return Problem(path, "bad_name", "holds a NUL character")
    if not is_utf8(path):
        return Problem(path, "bad_name", "is not valid UTF-8")
    if path.startswith("/"):
        return Problem(path, "outside_root", "is an absolute path outside every root")
    if is_url(path):
        return Problem(path, "outside_root", "is a URL outside every root")
    parts = path.split("/")
    if ".." in parts:
        return Problem(path, "outside_root", "climbs out of its folder with '..'")
    if "" in parts or "." in parts:
        return Problem(path, "bad_name", "is not a plain relative path (it is empty, or has an empty or '.' component)")
    return None


def name_problem(path: str) -> Problem | None:
    """The problem of a file name that could not be written to a manifest or would read as a tar member."""
    if not is_utf8(path):
        return Problem(path, "bad_name", "is not valid UTF-8, so no manifest can hold its name; rename it")
    if MEMBER_MARK.search(path):
        return Problem(path, "bad_name", "holds '.tar!', which marks the members of archives; rename it")
    return None


def hides_dots(url: str) -> bool:
    """Whether the path of an HTTP URL holds ``..`` that only the server would see (``%2e%2e``)."""
    return ".." in unquote(url).split("/")


def is_utf8(text: str) -> bool:
    """False for names read from undecodable bytes (surrogate escapes) and for lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    r"""`text` on one line: undecodable bytes as ``\xff``, control characters escaped, very long ones cut."""
    shown = "".join(map(_printable_character, text[:_SHOWN_CHARACTERS]))
    return shown + "…" if len(text) > _SHOWN_CHARACTERS else shown


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
