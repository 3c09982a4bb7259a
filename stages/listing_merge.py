"""Each file, or interval of it, once: the best of its names, and what any row said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stages.listing_files import Row
from stages.listing_inputs import NamedRoot
from stages.listing_records import Found, Source, make_id

_NO_ROW = Row(0, "")


@dataclass(frozen=True, slots=True)
class _Kept:
    rank: tuple[bool, bool, int, str, str]
    alias: str
    found: Found
    row: Row


class SourceSet:
    """Sources by what they are, not by how they are called.

    A file with several names goes by the one under a declared alias, then by one that passes no link, then by that of
    the outermost root. Each of caption, licence and group is the first that was given.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int | None, int | None], _Kept] = {}

    def add(self, named: NamedRoot, found: Found, row: Row | None = None) -> None:
        """Take the file that was `found` under `named`, with what a row of a listing says about it."""
        row = row or _NO_ROW
        key = (found.identity, row.start_us, row.end_us)
        rank = (not named.declared, found.via_link, len(named.root.url), named.alias, found.path)
        new = _Kept(rank, named.alias, found, row)
        old = self._kept.get(key)
        if old is not None:
            best = min(old, new, key=lambda kept: kept.rank)
            facts = {name: getattr(old.row, name) or getattr(row, name) for name in ("caption", "licence", "group")}
            new = replace(best, row=replace(best.row, **facts))
        self._kept[key] = new

    def sources(self) -> tuple[Source, ...]:
        """All of them by root, path and interval: a whole file before its intervals, "to the end" before any end."""
        sources = [_source(kept) for kept in self._kept.values()]
        sources.sort(
            key=lambda source: (source.root, source.path, _or_first(source.start_us), _or_first(source.end_us))
        )
        return tuple(sources)


def _source(kept: _Kept) -> Source:
    found, row = kept.found, kept.row
    return Source(
        source_id=make_id(kept.alias, found.path, row.start_us, row.end_us),
        root=kept.alias,
        path=found.path,
        size=found.size,
        mtime_ns=found.mtime_ns,
        etag=found.etag,
        caption=row.caption,
        licence=row.licence,
        group=row.group,
        start_us=row.start_us,
        end_us=row.end_us,
    )


def _or_first(microseconds: int | None) -> int:
    return -1 if microseconds is None else microseconds
