"""From what the user names as INPUT to one sorted, safe list of sources, each file (or interval of it) once.

An input is a folder, a pattern, a media file, a listing file or a plain tar archive, local or at any URL that fsspec
knows, as ``path`` or ``alias=path``. What cannot be taken is refused by name and never costs the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from stages.listing_files import LISTING_SUFFIXES, BadRow, Row, read_rows
from stages.listing_inputs import Input, NamedRoot, name_roots, parse_input
from stages.listing_match import Selection
from stages.listing_merge import SourceSet
from stages.listing_records import (
    Found,
    Problem,
    Refused,
    Source,
    escape_problem,
    is_url,
    printable,
    split_member,
    tidy,
)
from stages.listing_roots import Root, StoreRoot, store_errors
from stages.listing_tar import TarIndex, read_tar_index

__all__ = ["Listing", "ListingSettings", "Refused", "Source", "list_sources"]

Extension = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+$")]

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")


class ListingSettings(BaseModel, frozen=True, extra="forbid"):
    """What counts as media, and how stores are asked."""

    video_extensions: tuple[Extension, ...] = Field(
        default=(
            "3gp",
            "avi",
            "flv",
            "m2ts",
            "m4v",
            "mkv",
            "mov",
            "mp4",
            "mpeg",
            "mpg",
            "mts",
            "ogv",
            "ts",
            "webm",
            "wmv",
        ),
        description="Extensions (lower case, no dot) of the videos to take from folders, patterns and archives; "
        "a file with another one is passed over unless it is named itself.",
    )
    image_extensions: tuple[Extension, ...] = Field(
        default=("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"),
        description="Extensions (lower case, no dot) of the images to take, likewise.",
    )
    rows_per_folder_request: int = Field(
        default=16,
        ge=1,
        description="Rows in one folder of a store from which on the folder is listed once instead of asking for each "
        "row: too high and long listings take hours, too low and huge folders are listed for few rows.",
    )
    archive_block_bytes: int = Field(
        default=256 * 1024,
        ge=512,
        description="Bytes asked of a store at a time while the headers of a tar archive are read: large blocks fetch "
        "video data nobody needs yet, small ones make a request for every image.",
    )


@dataclass(frozen=True)
class Listing:
    """`sources` sorted by (root, path, interval); `refused` sorted; `roots`: alias → folder or URL.

    `ignored` counts the files of folders, patterns and archives that are no media (hidden ones are not counted).
    """

    sources: tuple[Source, ...]
    refused: tuple[Refused, ...]
    roots: dict[str, str]
    ignored: int


def list_sources(inputs: Sequence[str], settings: ListingSettings) -> Listing:
    """List every source that `inputs` name; the list may be empty.

    ValueError: an input does not exist or its protocol cannot be used, a pattern matches nothing, two roots have the
    same alias, or a listing file cannot be used (no `path` column, another encoding) and nothing else gives a source.
    """
    given = [parse_input(text) for text in inputs]
    roots = name_roots(given)
    collector = _Collector(roots, settings)
    for one, root in zip(given, roots, strict=True):
        collector.collect(one, root)
    sources = collector.kept.sources()
    if collector.bad_listings and not sources:
        raise ValueError(collector.bad_listings[0])
    return Listing(
        sources,
        tuple(sorted(collector.refused, key=lambda one: (one.root, one.path, one.reason, one.message))),
        dict(sorted((named.alias, named.root.url) for named in roots)),
        collector.ignored,
    )


class _Collector:
    def __init__(self, roots: Sequence[NamedRoot], settings: ListingSettings) -> None:
        self.refused: set[Refused] = set()
        self.ignored = 0
        self.bad_listings: list[str] = []
        self._declared = sorted(
            (root for root in roots if root.declared), key=lambda root: (len(root.root.url), root.alias)
        )
        self._settings = settings
        self._extensions = settings.video_extensions + settings.image_extensions
        self.kept = SourceSet()
        self._indexes: dict[str, TarIndex | Problem] = {}

    def collect(self, given: Input, named: NamedRoot) -> None:
        if given.is_pattern or not given.path:
            self._walk(given, named)
            return
        found = named.root.look(given.path)
        # Not as the user wrote it: manifests hold no paths of one machine.
        subject = f"{named.alias}/{printable(given.path)}"
        if isinstance(found, Problem):
            self._refuse(named, found, given.path, subject)
        else:
            self._take(named, found, subject)

    def _walk(self, given: Input, named: NamedRoot) -> None:
        selection = Selection(given.path if given.is_pattern else None, self._extensions)
        # In the order of the paths, not of the disk: of two rows about one file the earlier counts.
        found = sorted(named.root.walk(selection), key=lambda item: item.path)
        if given.is_pattern and not found and not selection.ignored:
            raise ValueError(f"no file matches the input {printable(given.text)}")
        self.ignored += selection.ignored
        for item in found:
            subject = f"{named.alias}/{printable(item.path)}"
            if isinstance(item, Problem):
                self._refuse(named, item, item.path, subject)
            elif selection.by_name:
                self._take(named, item, subject)
            else:
                self.kept.add(named, item)

    def _take(self, named: NamedRoot, found: Found, subject: str) -> None:
        """Take a file that was named itself, whatever it is."""
        if found.path.lower().endswith(LISTING_SUFFIXES):
            self._take_rows(named, found)
        else:
            self._take_media(named, found, None, found.path, subject)

    def _take_media(self, named: NamedRoot, found: Found, row: Row | None, shown: str, subject: str) -> None:
        name = found.path.lower()
        if name.endswith(_COMPRESSED):
            clause = "is a compressed archive; unpack it, or make a plain .tar of it"
            self._refuse(named, Problem(found.path, "compressed_archive", clause), shown, subject)
        elif name.endswith(".tar"):
            self._take_archive(named, found, row, shown, subject)
        else:
            self.kept.add(named, found, row)

    def _take_archive(self, named: NamedRoot, archive: Found, row: Row | None, shown: str, subject: str) -> None:
        index = self._index(named.root, archive)
        if isinstance(index, Problem):
            self._refuse(named, index, shown, subject)
            return
        for problem in index.problems:
            member = f"!{problem.path}" if problem.path else ""
            self._refuse(named, problem, shown + member, subject + printable(member))
        selection = Selection(None, self._extensions)
        for name in index.members:
            if not selection.hides(name) and selection.takes(name):
                self.kept.add(named, _member(archive, name, index), row)
        self.ignored += selection.ignored

    def _take_rows(self, named: NamedRoot, listing: Found) -> None:
        name = PurePosixPath(listing.path).name
        try:
            with store_errors(listing.path), named.root.open(listing, self._settings.archive_block_bytes) as stream:
                data = stream.read()
            rows = read_rows(name, data)
        except (OSError, ValueError) as error:
            self.bad_listings.append(str(error))
            self.refused.add(Refused(printable(listing.path), "bad_listing", str(error), named.alias))
            return
        folder = listing.path.rpartition("/")[0]
        placed = [
            (row, row.problem if isinstance(row, BadRow) else self._place(named, folder, row.path)) for row in rows
        ]
        self._look_ahead(place for _, place in placed if not isinstance(place, Problem))
        for row, place in placed:
            where = f"row {row.number} of {printable(name)}"
            if isinstance(place, Problem):
                self._refuse_row(named, place, place.path, where)
            elif isinstance(row, Row):
                self._take_row(place, row, where)

    def _take_row(self, place: tuple[NamedRoot, str], row: Row, where: str) -> None:
        named, path = place
        holder, member = split_member(path)
        found = named.root.look(holder)
        if member is not None and isinstance(found, Found):
            found = self._find_member(named.root, found, member)
        if isinstance(found, Problem):
            self._refuse_row(named, found, row.path, where)
        elif member is not None:
            self.kept.add(named, found, row)
        else:
            self._take_media(named, found, row, row.path, f"{where} ({printable(row.path)})")

    def _find_member(self, root: Root, archive: Found, member: str) -> Found | Problem:
        name = tidy(member)
        index = self._index(root, archive)
        if isinstance(index, Problem):
            return index
        missing = Problem(member, "missing", "names a member that its archive does not hold")
        return escape_problem(name) or (_member(archive, name, index) if name in index.members else missing)

    def _place(self, named: NamedRoot, folder: str, text: str) -> tuple[NamedRoot, str] | Problem:
        """The root and path that a row means: beside its listing, or absolute under a root the user declared."""
        location = text[len("file://") :] if text.startswith("file:///") else text
        if not location.startswith("/") and not is_url(location):
            path = tidy(location)
            return named, f"{folder}/{path}" if folder else path
        for root in (*self._declared, named):
            for prefix in (root.root.url, root.written):
                under = prefix.rstrip("/") + "/"
                if location.startswith(under):
                    return root, tidy(location[len(under) :].lstrip("/"))
        what = "a URL" if is_url(location) else "an absolute path"
        return Problem(
            text, "outside_root", f"is {what} under no known root; declare its folder with an input alias=path"
        )

    def _look_ahead(self, places: Iterator[tuple[NamedRoot, str]]) -> None:
        paths: dict[str, tuple[StoreRoot, list[str]]] = {}
        for named, path in places:
            if isinstance(named.root, StoreRoot):
                paths.setdefault(named.alias, (named.root, []))[1].append(split_member(path)[0])
        for root, wanted in paths.values():
            root.look_ahead(wanted, self._settings.rows_per_folder_request)

    def _index(self, root: Root, archive: Found) -> TarIndex | Problem:
        if archive.identity not in self._indexes:
            self._indexes[archive.identity] = self._read_index(root, archive)
        return self._indexes[archive.identity]

    def _read_index(self, root: Root, archive: Found) -> TarIndex | Problem:
        try:
            with store_errors(archive.path), root.open(archive, self._settings.archive_block_bytes) as stream:
                return read_tar_index(stream, archive.size)
        except (OSError, ValueError) as error:
            return Problem(archive.path, "unreadable", f"cannot be read: {printable(str(error.__cause__ or error))}")

    def _refuse_row(self, named: NamedRoot, problem: Problem, shown: str, where: str) -> None:
        self._refuse(named, problem, shown, f"{where} ({printable(shown)})" if shown else where)

    def _refuse(self, named: NamedRoot, problem: Problem, shown: str, subject: str) -> None:
        self.refused.add(Refused(printable(shown), problem.reason, f"{subject} {problem.clause}", named.alias))


def _member(archive: Found, name: str, index: TarIndex) -> Found:
    path, identity = f"{archive.path}!{name}", f"{archive.identity}!{name}"
    return replace(archive, path=path, size=index.members[name][1], identity=identity)
