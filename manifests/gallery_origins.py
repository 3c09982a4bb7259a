"""Which file a reject comes from. Pieces of a source that never became clips are named by a hash only.

A clip's id is a hash over its source and its interval, so a guessed interval that gives the id is the true one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import duckdb

from manifests.damage import read_table
from manifests.dataset import Dataset
from manifests.ids import ID_HEX_DIGITS, clip_id
from manifests.records import RejectRow

MICROSECONDS = 1_000_000
_ROUNDING = (0, -1, 1)
"""Microseconds by which a sum of two rounded times may be off."""

Place = tuple[str, int]
"""A source's id and the time in it where a piece begins, microseconds."""


@dataclass
class Cut:
    """A source, with the times at which pieces of it are known to begin or end, microseconds."""

    source_id: str
    root: str
    path: str
    duration_us: int | None
    times: set[int] = field(default_factory=lambda: {0})


class Origins:
    """Looks up the files behind rejects, over a connection of `Dataset.connect`."""

    def __init__(self, dataset: Dataset, db: duckdb.DuckDBPyConnection) -> None:
        self._dataset = dataset
        self._db = db

    def of(self, rejects: Sequence[RejectRow]) -> dict[str, str]:
        """Paths by the id of a source or clip, with the time where the piece begins; unknown ones are left out."""
        things = {row.id[:ID_HEX_DIGITS] for row in rejects}
        places = self._clips(things)
        places |= self._found(things - set(places)) if any(row.phase == "layout" for row in rejects) else {}
        cut = [row for row in rejects if row.level == "clip" and row.phase == "ingest" and row.id not in places]
        places |= dropped_pieces(cut, self._cuts({row.part for row in cut})) if cut else {}
        places |= {thing: (thing, 0) for thing in things - set(places)}
        paths = self.paths({source for source, _ in places.values()})
        return {
            thing: paths[source] + (f", from {start / MICROSECONDS:.1f} s" if start else "")
            for thing, (source, start) in places.items()
            if source in paths
        }

    def paths(self, sources: Iterable[str]) -> dict[str, str]:
        """Paths with their root's alias by source id."""
        sql = "SELECT source_id, root || '/' || path FROM sources WHERE source_id IN (SELECT unnest(?::VARCHAR[]))"
        return dict(self._db.execute(sql, [sorted(sources)]).fetchall())

    def _clips(self, things: Collection[str]) -> dict[str, Place]:
        sql = "SELECT clip_id, source_id, start_us FROM clips WHERE clip_id IN (SELECT unnest(?::VARCHAR[]))"
        return {clip: (source, start) for clip, source, start in self._db.execute(sql, [sorted(things)]).fetchall()}

    def _found(self, things: Collection[str]) -> dict[str, Place]:
        """Clips that were read and then not laid out in parts, such as near-duplicates."""
        places: dict[str, Place] = {}
        for commit in self._dataset.commits["ingest"].values():
            if (file := commit.file("found")) is not None:
                columns = ["clip_id", "source_id", "start_us"]
                table = read_table(self._dataset.store, file.path, columns)
                rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
                places |= {clip: (source, start) for clip, source, start in rows if clip in things}
        return places

    def _cuts(self, parts: Collection[int]) -> list[Cut]:
        """The sources of ingest parts with the times of their clips."""
        sql = (
            "SELECT s.source_id, s.root, s.path, s.duration_us, "
            "list(DISTINCT c.start_us) || list(DISTINCT c.end_us) FROM sources s "
            "LEFT JOIN clips c USING (source_id) WHERE s.ingest_part IN (SELECT unnest(?::BIGINT[])) "
            "GROUP BY ALL ORDER BY s.source_id"
        )
        return [
            Cut(source, root, path, duration, {0, *(time for time in times or () if time is not None)})
            for source, root, path, duration, times in self._db.execute(sql, [sorted(parts)]).fetchall()
        ]


def dropped_pieces(rejects: Iterable[RejectRow], cuts: Sequence[Cut]) -> dict[str, Place]:
    """Places by clip id, of those `rejects` whose interval follows from times and durations that are known.

    A piece that is found tells another time, from which the next may follow.
    """
    found: dict[str, Place] = {}
    left = list(rejects)
    while left:
        new = {row.id: place for row in left if (place := _place(row, cuts)) is not None}
        if not new:
            break
        found |= new
        left = [row for row in left if row.id not in new]
    return found


def _place(row: RejectRow, cuts: Sequence[Cut]) -> Place | None:
    for cut in cuts:
        for start, end in _intervals(row, cut):
            for kind in ("video", "image"):
                if clip_id(cut.root, cut.path, start, end, kind, "source") == row.id:
                    cut.times |= {start, end}
                    return cut.source_id, start
    return None


def _intervals(row: RejectRow, cut: Cut) -> Iterable[tuple[int, int]]:
    times = sorted(cut.times)
    yield 0, 0
    for time in times:
        if cut.duration_us is not None:
            yield time, cut.duration_us
        if row.reason == "min_duration" and row.value is not None:
            length = round(row.value * MICROSECONDS)
            for off in _ROUNDING:
                yield time, time + length + off
                yield time - length + off, time
