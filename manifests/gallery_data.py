"""What the gallery shows of a dataset: chosen clips with their rows, pictures and masks, and examples of rejects."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from pydantic import BaseModel, Field

from manifests.dataset import Dataset
from manifests.gallery_names import entity_names
from manifests.gallery_origins import MICROSECONDS, Origins
from manifests.gallery_pictures import Image
from manifests.ids import ID_HEX_DIGITS, draw_order
from manifests.masks import Mask, MaskTrack
from manifests.records import ClipRow, RejectRow, SampleRow, TrackRow
from manifests.schema import arrow_schema, from_table

Row = TypeVar("Row")
Decode = Callable[[bytes, Sequence[int]], list[Image]]
"""A clip's bytes and frame numbers → those frames, uint8 RGB (height, width, 3)."""
ApplyVariant = Callable[[Mask, Any], Mask]
"""A mask and a variant's stored parameters → the variant's mask."""


class GallerySettings(BaseModel, frozen=True, extra="forbid"):
    """How much the gallery shows, and how heavy its pictures are."""

    large_width: int = Field(default=440, ge=64, le=480, description="keyframes, pixels; a 16:9 one weighs about 30 KB")
    small_width: int = Field(default=224, ge=64, le=480, description="all other pictures, pixels; about 9 KB each")
    jpeg_quality: int = Field(default=85, ge=1, le=100, description="below about 75 outlines get coloured fringes")
    strip_frames: int = Field(default=6, ge=2, le=6, description="frames of a clip shown over time")
    entities: int = Field(
        default=2, ge=1, description="entities of a clip shown with their mask variants; the rest without them"
    )
    low_stability: float = Field(
        default=0.75, ge=0, le=1, description="a track's stability below it is set off: such a mask deserves a look"
    )
    examples: int = Field(default=8, ge=1, description="examples of every reason for leaving something out")


class ShardClip:
    """One clip as its shard holds it; read when asked for, frames decoded in one pass."""

    def __init__(self, dataset: Dataset, sample: SampleRow, decode: Decode) -> None:
        self._dataset = dataset
        self._sample = sample
        self._decode = decode

    def frames(self, indices: Iterable[int]) -> dict[int, Image]:
        """Frames by number."""
        wanted = sorted(set(indices))
        data = self._dataset.clip_bytes(self._sample)
        return dict(zip(wanted, self._decode(data, wanted), strict=True))

    @cached_property
    def masks(self) -> dict[str, MaskTrack]:
        """Masks of every track by track id.

        Background regions make no samples, so no manifest says where theirs lie: the tar's headers after the clip's own
        member are followed until another clip's begin.
        """
        sample, found = self._sample, {}
        tracks = f"{sample.clip_id}.track-"
        end = sample.clip_offset + sample.clip_size
        while (member := self._member_after(end)) is not None:
            info, offset = member
            if info.name.startswith(tracks):
                number = info.name.removeprefix(tracks).split(".")[0]
                data = self._dataset.read_range(sample.shard, offset, info.size)
                found[f"{sample.clip_id}-{number}"] = MaskTrack.from_bytes(data)
            end = offset + info.size
        return found

    def _member_after(self, end: int) -> tuple[tarfile.TarInfo, int] | None:
        block = tarfile.BLOCKSIZE
        start = -(-end // block) * block
        header = self._dataset.read_range(self._sample.shard, start, block)
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return None
        return (info, start + block) if info.name.startswith(f"{self._sample.clip_id}.") else None


@dataclass(frozen=True)
class ShownClip:
    """A clip of the contact sheet with all its rows.

    `source` is its file's path, `from_video` whether that file is a video; `names` are those of its entities by track
    id; `dropped`: its rejected tracks and variants by id, a variant's being ``track_id-<variant code>``.
    """

    clip: ClipRow
    source: str
    from_video: bool
    names: dict[str, str]
    tracks: tuple[TrackRow, ...]
    samples: tuple[SampleRow, ...]
    dropped: dict[str, RejectRow]
    content: ShardClip

    def of_role(self, role: str) -> list[TrackRow]:
        """Tracks of a role, in order."""
        return [track for track in self.tracks if track.role == role]


@dataclass(frozen=True)
class Lender:
    """An entity that lends its shape to a deletion: its `name` among its clip's entities, the `file` and the time in it
    where that clip begins."""

    name: str
    file: str
    start_s: float


@dataclass(frozen=True)
class Example:
    """Something left out. `origin`: its source's path, if known; `clip_id`: its clip, if that is in a shard."""

    reject: RejectRow
    origin: str | None
    clip_id: str | None


@dataclass(frozen=True)
class Reason:
    """One reason for leaving things out, with how many it took and some of them."""

    level: str
    stage: str
    state: str
    reason: str
    count: int
    examples: tuple[Example, ...]


class GalleryData:
    """Queries over one dataset. Use as a context manager."""

    def __init__(self, dataset: Dataset, decode: Decode) -> None:
        self._dataset = dataset
        self._decode = decode
        self._db = dataset.connect()
        self._origins = Origins(dataset, self._db)
        self._contents: dict[str, ShardClip] = {}

    def __enter__(self) -> GalleryData:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def shown_clips(self, max_clips: int) -> list[ShownClip]:
        """Up to `max_clips` clips that have samples, videos first; the choice depends on the clips' ids only.

        Every split and kind that exists is there when `max_clips` allows.
        """
        chosen = self._choose(max_clips)
        clips = self._rows(ClipRow, "clips", chosen, "kind DESC, part, position")
        tracks = self._rows(TrackRow, "tracks", chosen, "track_id")
        samples = self._rows(SampleRow, "samples", chosen, "sample_id")
        dropped = self._dropped(chosen)
        self._open([*chosen, *(track.donor_track_id[:ID_HEX_DIGITS] for track in tracks if track.donor_track_id)])
        sources = {clip.source_id for clip in clips}
        paths, videos = self._origins.paths(sources), self._videos(sources)
        own = {clip.clip_id: [track for track in tracks if track.clip_id == clip.clip_id] for clip in clips}
        return [
            ShownClip(
                clip,
                paths.get(clip.source_id, clip.source_id),
                clip.source_id in videos,
                entity_names(track for track in own[clip.clip_id] if track.role == "entity"),
                tuple(own[clip.clip_id]),
                tuple(sample for sample in samples if sample.clip_id == clip.clip_id),
                {key: row for key, row in dropped.items() if key.startswith(clip.clip_id)},
                self._contents[clip.clip_id],
            )
            for clip in clips
        ]

    def lender(self, track: str) -> Lender | None:
        """The entity of that track id, if the dataset holds it."""
        clips = self._rows(ClipRow, "clips", [track[:ID_HEX_DIGITS]], "clip_id")
        tracks = self._rows(TrackRow, "tracks", [track[:ID_HEX_DIGITS]], "track_id")
        name = entity_names(row for row in tracks if row.role == "entity").get(track)
        if not clips or name is None:
            return None
        path = self._origins.paths([clips[0].source_id]).get(clips[0].source_id, clips[0].source_id)
        return Lender(name, path.rpartition("/")[2], clips[0].start_us / MICROSECONDS)

    def content(self, clip_id: str) -> ShardClip | None:
        """A clip by id, if `shown_clips` or `reasons` has met it and it lies in a shard."""
        return self._contents.get(clip_id)

    def reasons(self, examples: int) -> list[Reason]:
        """Why things were left out, level by level, the most frequent reason first."""
        order = "list_position(['source', 'clip', 'track', 'sample'], level), count DESC, state, stage, reason"
        found = self._db.execute(
            "SELECT level, stage, state, reason, count(*) AS count FROM rejects "
            f"GROUP BY level, stage, state, reason ORDER BY {order}"
        ).fetchall()
        rows = self._rejects(
            "SELECT * FROM rejects QUALIFY row_number() OVER "
            "(PARTITION BY level, stage, state, reason ORDER BY id) <= ? ORDER BY id",
            [examples],
        )
        self._open({row.id[:ID_HEX_DIGITS] for row in rows if row.level != "source"})
        origins = self._origins.of(rows)
        grouped: dict[tuple[str, ...], list[Example]] = {}
        for row in rows:
            thing = row.id[:ID_HEX_DIGITS]
            clip = thing if row.level != "source" and thing in self._contents else None
            key = (row.level, row.stage, row.state, row.reason)
            grouped.setdefault(key, []).append(Example(row, origins.get(thing), clip))
        return [
            Reason(level, stage, state, reason, count, tuple(grouped[level, stage, state, reason]))
            for level, stage, state, reason, count in found
        ]

    def _choose(self, max_clips: int) -> list[str]:
        rows = self._db.execute("SELECT DISTINCT clip_id, split, kind FROM samples").fetchall()
        group = {clip: (split, kind) for clip, split, kind in rows}
        order = draw_order(0, "gallery", list(group))
        first = {group[clip]: clip for clip in reversed(order)}
        ahead = sorted(first.values())
        return [*ahead, *(clip for clip in order if clip not in ahead)][:max_clips]

    def _rows(self, row: type[Row], table: str, clips: Iterable[str], order: str) -> list[Row]:
        sql = f"SELECT * FROM {table} WHERE clip_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY {order}"
        return _as_rows(row, self._db.sql(sql, params=[sorted(clips)]))

    def _rejects(self, sql: str, parameters: list[Any]) -> list[RejectRow]:
        return _as_rows(RejectRow, self._db.sql(sql, params=parameters))

    def _dropped(self, clips: Iterable[str]) -> dict[str, RejectRow]:
        sql = (
            "SELECT * FROM rejects WHERE level IN ('track', 'sample') AND id[:16] IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY id"
        )
        return {row.id: row for row in self._rejects(sql, [sorted(clips)])}

    def _open(self, clips: Iterable[str]) -> None:
        """Make the contents of clips available; those that are in no shard stay unknown."""
        new = sorted(set(clips) - set(self._contents))
        sql = (
            "SELECT * FROM samples WHERE clip_id IN (SELECT unnest(?::VARCHAR[])) "
            "QUALIFY row_number() OVER (PARTITION BY clip_id ORDER BY sample_id) = 1"
        )
        for sample in _as_rows(SampleRow, self._db.sql(sql, params=[new])):
            self._contents[sample.clip_id] = ShardClip(self._dataset, sample, self._decode)

    def _videos(self, sources: Iterable[str]) -> set[str]:
        sql = "SELECT source_id FROM sources WHERE kind = 'video' AND source_id IN (SELECT unnest(?::VARCHAR[]))"
        return {source for (source,) in self._db.execute(sql, [sorted(sources)]).fetchall()}


def _as_rows(row: type[Row], result: duckdb.DuckDBPyRelation) -> list[Row]:
    table: pa.Table = result.to_arrow_table()
    return from_table(row, table.cast(arrow_schema(row)))
