"""Near-duplicates: the same material in two sources, told by the difference hash of the first frame and a few measures.

Copies of a clip (re-encoded, resized, brightened, cropped a little, with a watermark) keep most bits of its keyframe's
hash. Every pair of clips within the distance asked for is found: the 64 bits are cut into three bands, of which one
differs by at most a third of the distance, so that looking up each band with every such change (multi-index hashing)
misses none. A million clips take minutes, not 10¹² comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.records import ClipRow, FoundRow

HASH_BITS = 64
_BANDS = ((42, 22), (21, 21), (0, 21))
"""Lowest bit and width."""
_BLOCK = 1024
"""Clips decided on together: all pairs among as many equal ones fit in memory. Copies found are compared no more."""
_CHUNK = 1 << 21
"""Candidate pairs looked at together."""

Numbers = npt.NDArray[np.int64]


class NearDuplicateSettings(BaseModel, frozen=True, extra="forbid"):
    """When a clip repeats one of another source. A video must agree in all measures, an image in those it has."""

    enabled: bool = Field(default=True, description="off: copies are kept, in training and evaluation alike")
    max_distance: int = Field(
        default=8,
        ge=0,
        le=11,
        description="bits of 64 in which the first frames' hashes of two videos may differ; 97 of 100 copies resized, "
        "brightened, recompressed and cropped by 3 % at once lie within 8, different photographs around 32",
    )
    image_max_distance: int = Field(
        default=6,
        ge=0,
        le=11,
        description="the same for an image and an earlier image or video's first frame; smaller, for less confirms it",
    )
    min_set_bits: int = Field(
        default=8,
        ge=0,
        le=32,
        description="a hash with fewer ones or fewer zeros is that of an empty picture, as in a fade from black, and "
        "matches nothing",
    )
    max_duration_difference: float = Field(
        default=0.25, ge=0, description="seconds two videos may differ in length; re-encoding moves the end by a frame"
    )
    max_luma_difference: float = Field(
        default=32, ge=0, le=255, description="difference in mean brightness (0..255); copies may be brightened"
    )
    max_motion_ratio: float = Field(
        default=2.0,
        ge=1,
        description="how many times larger one video's mean frame difference may be; compression takes up to 40 % off",
    )
    motion_slack: float = Field(
        default=0.5,
        ge=0,
        description="frame difference (0..255) that is allowed on top: in a quiet clip it is mostly grain, which a "
        "copy may have lost",
    )
    max_aspect_ratio: float = Field(
        default=1.08, ge=1, description="how many times wider for its height one may be; cropping changes it a little"
    )


@dataclass(frozen=True)
class NearDuplicate:
    """A clip that repeats a kept one of another source; `distance` of at most `threshold` bits between their hashes."""

    row: FoundRow
    kept_clip_id: str
    distance: int
    threshold: int

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return f"It repeats clip {self.kept_clip_id} of another file ({self.distance} of {HASH_BITS} bits differ)."


def find_near_duplicates(
    before: Sequence[ClipRow], new: Sequence[FoundRow], settings: NearDuplicateSettings
) -> list[NearDuplicate]:
    """The clips of `new` that repeat a clip of another source: one of `before`, or one kept earlier in `new`.

    Both are in layout order; of several clips it may repeat, the nearest is named, then the first. Clips of `before`
    are never removed. A video repeats videos only, an image also the first frame of a video.
    """
    if not settings.enabled:
        return []
    clips = _Measures([*before, *new])
    kept = clips.tells_apart(settings.min_set_bits)
    copies: list[NearDuplicate] = []
    for start in range(len(before), len(kept), _BLOCK):
        end = min(start + _BLOCK, len(kept))
        queries = start + np.flatnonzero(kept[start:end])
        for copy, original, distance in _near_pairs(clips, queries, np.flatnonzero(kept[:end]), settings):
            if kept[copy] and kept[original]:
                kept[copy] = False
                row = new[copy - len(before)]
                limit = settings.max_distance if row.kind == "video" else settings.image_max_distance
                copies.append(NearDuplicate(row, clips.ids[original], distance, limit))
    return copies


class _Measures:
    """What is compared, one array entry per clip."""

    def __init__(self, rows: Sequence[ClipRow | FoundRow]) -> None:
        self.ids = [row.clip_id for row in rows]
        self.hashes = np.array([int(row.keyframe_hash, 16) for row in rows], dtype=np.uint64)
        numbers: dict[str, int] = {}
        self.sources = np.array([numbers.setdefault(row.source_id, len(numbers)) for row in rows], dtype=np.int64)
        self.is_video = np.array([row.kind == "video" for row in rows], dtype=np.bool_)
        self.seconds = np.array([(row.end_us - row.start_us) / 1e6 for row in rows], dtype=np.float64)
        self.luma = np.array([row.mean_luma for row in rows], dtype=np.float64)
        self.motion = np.array([row.frame_difference for row in rows], dtype=np.float64)
        self.aspect = np.array([row.width / row.height for row in rows], dtype=np.float64)

    def tells_apart(self, min_set_bits: int) -> npt.NDArray[np.bool_]:
        """Which hashes are not those of an empty picture."""
        ones = np.bitwise_count(self.hashes)
        return np.asarray((ones >= min_set_bits) & (ones <= HASH_BITS - min_set_bits), dtype=np.bool_)

    def repeats(self, copies: Numbers, originals: Numbers, settings: NearDuplicateSettings) -> npt.NDArray[np.bool_]:
        """Of pairs, whether the first repeats the second, which is earlier and of another source."""
        distance = self.distance(copies, originals)
        is_video, of_video = self.is_video[copies], self.is_video[originals]
        near = distance <= np.where(is_video, settings.max_distance, settings.image_max_distance)
        aspects = self.aspect[copies], self.aspect[originals]
        same_shape = np.maximum(*aspects) <= settings.max_aspect_ratio * np.minimum(*aspects)
        # A video's brightness is that of all its frames, and nothing can be said of its first.
        as_bright = np.abs(self.luma[copies] - self.luma[originals]) <= settings.max_luma_difference
        as_long = np.abs(self.seconds[copies] - self.seconds[originals]) <= settings.max_duration_difference
        motions = self.motion[copies], self.motion[originals]
        moves_alike = np.maximum(*motions) <= settings.max_motion_ratio * np.minimum(*motions) + settings.motion_slack
        like_a_video = of_video & as_bright & as_long & moves_alike
        like_an_image = of_video | as_bright
        return np.asarray(near & same_shape & np.where(is_video, like_a_video, like_an_image), dtype=np.bool_)

    def distance(self, ones: Numbers, others: Numbers) -> npt.NDArray[np.uint8]:
        """Hamming distances of the hashes."""
        return np.asarray(np.bitwise_count(self.hashes[ones] ^ self.hashes[others]), dtype=np.uint8)


def _near_pairs(
    clips: _Measures, queries: Numbers, among: Numbers, settings: NearDuplicateSettings
) -> Iterator[tuple[int, int, int]]:
    """(copy, original, distance) of all pairs that agree, by copy, then distance, then original."""
    copies: list[Numbers] = [np.empty(0, np.int64)]
    originals: list[Numbers] = [np.empty(0, np.int64)]
    for query, other in _candidates(
        clips.hashes, queries, among, max(settings.max_distance, settings.image_max_distance)
    ):
        possible = (other < query) & (clips.sources[other] != clips.sources[query])
        query, other = query[possible], other[possible]
        agreed = clips.repeats(query, other, settings)
        copies.append(query[agreed])
        originals.append(other[agreed])
    copy, original = np.concatenate(copies), np.concatenate(originals)
    distance = clips.distance(copy, original)
    order = np.lexsort((original, distance, copy))
    return zip(copy[order].tolist(), original[order].tolist(), distance[order].tolist(), strict=True)


def _candidates(
    hashes: npt.NDArray[np.uint64], queries: Numbers, among: Numbers, radius: int
) -> Iterator[tuple[Numbers, Numbers]]:
    """Arrays of (query, other) with every pair of hashes within `radius`, and others; a pair may come once per band."""
    for shift, width in _BANDS:
        bands = ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)
        keys = bands[among]
        others = among[np.argsort(keys)]
        first_of = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << width))])
        for flips in _flips(width, radius // len(_BANDS)):
            wanted = bands[queries] ^ flips
            yield from _members(queries, others, first_of[wanted], first_of[wanted + 1])


def _flips(width: int, most: int) -> Iterator[int]:
    """All numbers of `width` bits of which at most `most` are set."""
    for count in range(most + 1):
        for places in combinations(range(width), count):
            yield sum(1 << place for place in places)


def _members(queries: Numbers, others: Numbers, first: Numbers, end: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Each query with the others from `first` to `end`, a bounded number of pairs at a time."""
    some = np.flatnonzero(end > first)
    total = np.cumsum(end[some] - first[some])
    while some.size:
        taken = max(1, int(np.searchsorted(total, _CHUNK, side="right")))
        part, some = some[:taken], some[taken:]
        counts = end[part] - first[part]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(queries[part], counts), others[np.repeat(first[part], counts) + within]
        total = total[taken:] - total[taken - 1]
