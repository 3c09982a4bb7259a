"""The tables of a dataset: one row class per manifest, the single source of its columns, types and documentation.

The Arrow schemas (`manifests.schema`) and the schema page are generated from these classes. Adding a column is a new
`TABLE_VERSION`; columns are never renamed or re-used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

TABLE_VERSION = 2

Kind = Literal["video", "image"]
Split = Literal["train", "eval"]
Level = Literal["source", "clip", "track", "sample"]
State = Literal["kept", "filtered", "failed"]


@dataclass(frozen=True, slots=True)
class ListedRow:
    """`listing`: what the user's inputs held when they were listed, and the ingest part each source belongs to."""

    source_id: Annotated[str, "16 hex digits over root alias and path"]
    ingest_part: Annotated[int, "number of the ingest part that reads this source"]
    root: Annotated[str, "alias of the input root"]
    path: Annotated[str, "POSIX path under the root; `archive.tar!member` for a tar member"]
    size: Annotated[int, "bytes"]
    mtime_ns: Annotated[int | None, "modification time, local files"]
    etag: Annotated[str | None, "version tag, object stores"]
    caption: Annotated[str | None, "caption the listing gave"]
    licence: Annotated[str | None, "licence the listing gave"]
    group: Annotated[str, "sources of one group share a split; the source itself by default"]
    start_us: Annotated[int | None, "interval the listing asked for, microseconds"]
    end_us: Annotated[int | None, "interval the listing asked for, microseconds"]


@dataclass(frozen=True, slots=True)
class SourceRow:
    """`sources`: every file that was read, with what became of it."""

    source_id: Annotated[str, "16 hex digits over root alias and path"]
    ingest_part: Annotated[int, "ingest part that read it; the newest row of a source wins"]
    root: Annotated[str, "alias of the input root"]
    path: Annotated[str, "POSIX path under the root; `archive.tar!member` for a tar member"]
    size: Annotated[int, "bytes"]
    kind: Annotated[str | None, "video or image; null when it could not be read"]
    codec: Annotated[str | None, "codec of the picture stream"]
    width: Annotated[int | None, "upright width, pixels"]
    height: Annotated[int | None, "upright height, pixels"]
    fps: Annotated[float | None, "frames per second the container claims"]
    duration_us: Annotated[int | None, "duration the container claims, microseconds"]
    num_clips: Annotated[int, "clips found in it (before the split into parts)"]
    state: Annotated[str, "kept | filtered | failed; the reason is in `rejects`"]
    licence: Annotated[str | None, "licence the listing gave"]
    group: Annotated[str, "sources of one group share a split"]


@dataclass(frozen=True, slots=True)
class FoundRow:
    """Index of one ingest tar: the normalised clips in it, in order. Becomes `clips` once laid out in parts."""

    clip_id: Annotated[str, "16 hex digits over root, path, interval, kind and origin"]
    source_id: Annotated[str, "source it was cut from"]
    group: Annotated[str, "decides the split"]
    start_us: Annotated[int, "start in the source, microseconds"]
    end_us: Annotated[int, "end in the source, microseconds"]
    kind: Annotated[str, "video | image"]
    origin: Annotated[str, "source: cut from a source as it is"]
    width: Annotated[int, "pixels"]
    height: Annotated[int, "pixels"]
    fps: Annotated[float | None, "frames per second; null for an image"]
    num_frames: Annotated[int, "frames; 1 for an image"]
    caption: Annotated[str | None, "caption the listing gave for its source"]
    licence: Annotated[str | None, "licence the listing gave for its source"]
    keyframe_hash: Annotated[str, "64-bit difference hash of the first frame, 16 hex digits"]
    mean_luma: Annotated[float, "mean brightness, 0..255"]
    frame_difference: Annotated[float, "mean absolute difference of consecutive frames, 0..255; 0 for an image"]
    member: Annotated[str, "tar member holding the clip"]
    offset: Annotated[int, "first byte of the member's data in the ingest tar"]
    size: Annotated[int, "bytes of the member's data"]


@dataclass(frozen=True, slots=True)
class ClipRow:
    """`clips`: every normalised clip, with its part and split."""

    clip_id: Annotated[str, "16 hex digits over root, path, interval, kind and origin"]
    part: Annotated[int, "part (and shard) the clip lies in; the newest row of a clip wins"]
    position: Annotated[int, "place within the part"]
    source_id: Annotated[str, "source it was cut from"]
    group: Annotated[str, "sources of one group share a split"]
    start_us: Annotated[int, "start in the source, microseconds"]
    end_us: Annotated[int, "end in the source, microseconds"]
    kind: Annotated[str, "video | image; a part holds one kind"]
    origin: Annotated[str, "source: cut from a source as it is"]
    width: Annotated[int, "pixels"]
    height: Annotated[int, "pixels"]
    fps: Annotated[float | None, "frames per second; null for an image"]
    num_frames: Annotated[int, "frames; 1 for an image"]
    caption: Annotated[str | None, "caption the listing gave for its source"]
    licence: Annotated[str | None, "licence the listing gave for its source"]
    keyframe_hash: Annotated[str, "64-bit difference hash of the first frame, 16 hex digits"]
    mean_luma: Annotated[float, "mean brightness, 0..255"]
    frame_difference: Annotated[float, "mean absolute difference of consecutive frames, 0..255; 0 for an image"]
    split: Annotated[str, "train | eval, by hash of the group"]
    ingest_part: Annotated[int, "ingest part whose tar holds the normalised clip"]


@dataclass(frozen=True, slots=True)
class TrackRow:
    """`tracks`: one thing followed through a clip, or one region of it."""

    track_id: Annotated[str, "clip_id-NN; 00–79 entities, 80–89 background, 90–99 pasted"]
    clip_id: Annotated[str, "clip it belongs to"]
    part: Annotated[int, "part (and shard) of the clip"]
    role: Annotated[str, "entity | background | pasted"]
    tag: Annotated[str, "word for it"]
    box: Annotated[list[float], "tight box of the first mask: x0, y0, x1, y1 in pixels, end exclusive"]
    score: Annotated[float, "confidence of the detector, 0..1 (a pasted track: share inside the background)"]
    num_frames: Annotated[int, "masks in the track"]
    member: Annotated[str, "tar member of the shard that holds the masks (gzipped JSON, COCO RLE)"]
    area_min: Annotated[float, "smallest mask, fraction of the frame"]
    area_mean: Annotated[float, "mean mask, fraction of the frame"]
    area_max: Annotated[float, "largest mask, fraction of the frame"]
    visible_fraction: Annotated[float, "share of frames with a non-empty mask"]
    stability: Annotated[float | None, "cycle IoU: tracked there and back against the first mask; null if not tracked"]
    foreground_motion: Annotated[float | None, "mean speed of the mask's centre, frame diagonals per second"]
    background_motion: Annotated[float | None, "mean speed of the background there, frame diagonals per second"]
    relative_motion: Annotated[float | None, "mean speed against the background, frame diagonals per second"]
    caption_short: Annotated[str | None, "bare noun phrase"]
    caption_medium: Annotated[str | None, "noun phrase with attributes"]
    caption_long: Annotated[str | None, "3–5 sentences with action and detail"]
    caption_score: Annotated[float | None, "how well a caption fits a picture of it, 0..100; null if not scored"]
    models: Annotated[str, "JSON: job → name@revision of every model that made it"]
    donor_track_id: Annotated[str | None, "pasted: the entity track its shape came from"]
    motion: Annotated[str | None, "pasted: trajectory (donor's own) | background (camera) | still (image)"]
    dx: Annotated[float | None, "pasted: shift in x, pixels of this clip"]
    dy: Annotated[float | None, "pasted: shift in y, pixels of this clip"]
    scale: Annotated[float | None, "pasted: factor from donor pixels to pixels of this clip"]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """`samples`: one logical training sample (x, m, x ⊙ (1 − m), y); clip and masks lie in the shard once."""

    sample_id: Annotated[str, "track_id-<variant code>-<caption code>"]
    clip_id: Annotated[str, "the clip x"]
    target_clip_id: Annotated[str | None, "clip to be produced when it is not x itself (edit pairs)"]
    pair_id: Annotated[str | None, "edit pair it belongs to"]
    track_id: Annotated[str, "track whose masks are m"]
    part: Annotated[int, "part of the shard"]
    task: Annotated[str, "add_modify | delete"]
    kind: Annotated[str, "video | image"]
    split: Annotated[str, "train | eval"]
    width: Annotated[int, "pixels"]
    height: Annotated[int, "pixels"]
    fps: Annotated[float | None, "frames per second; null for an image"]
    num_frames: Annotated[int, "frames, equal to the number of masks"]
    mask_variant: Annotated[str, "original | expand | hull | box | hull_expand | box_expand"]
    variant_parameters: Annotated[str, "JSON: drawn parameters, enough to recompute the variant from the track"]
    operator_version: Annotated[int, "version of the mask operators"]
    area_mean: Annotated[float, "mean area of the variant's masks, fraction of the frame"]
    caption_kind: Annotated[str, "short | medium | long | fixed (deletion)"]
    caption: Annotated[str, "local caption y"]
    shard: Annotated[str, "tar with the clip and the masks, relative to the dataset's folder"]
    clip_member: Annotated[str, "member holding the clip"]
    clip_offset: Annotated[int, "first byte of its data in the tar"]
    clip_size: Annotated[int, "bytes of its data"]
    mask_member: Annotated[str, "member holding the masks"]
    mask_offset: Annotated[int, "first byte of its data in the tar"]
    mask_size: Annotated[int, "bytes of its data"]


@dataclass(frozen=True, slots=True)
class RejectRow:
    """`rejects`: everything that was left out, with the reason. The newest row of an id wins."""

    id: Annotated[str, "source_id, clip_id, track_id or sample_id (a refused listing entry: root/path)"]
    level: Annotated[str, "source | clip | track | sample"]
    phase: Annotated[str, "listing | ingest | layout | annotate | compose"]
    part: Annotated[int, "part of the phase"]
    stage: Annotated[str, "stage that decided"]
    state: Annotated[str, "filtered | failed; kept: an earlier failure was retried with success"]
    reason: Annotated[str, "short code"]
    value: Annotated[float | None, "measured value, when a threshold decided"]
    threshold: Annotated[float | None, "the threshold"]
    message: Annotated[str, "one sentence for a person"]


@dataclass(frozen=True, slots=True)
class DonorRow:
    """Donor bank: entity tracks lent to other clips as shapes to delete."""

    track_id: Annotated[str, "the entity track"]
    clip_id: Annotated[str, "its clip"]
    source_id: Annotated[str, "its source; never lent to clips of the same source"]
    group: Annotated[str, "its group; never lent to clips of the same group"]
    split: Annotated[str, "lent to clips of the same split only"]
    kind: Annotated[str, "video | image"]
    tag: Annotated[str, "word for it"]
    fps: Annotated[float | None, "frames per second of its clip"]
    masks: Annotated[bytes, "gzipped JSON, COCO RLE"]


TABLES: dict[str, type] = {
    "sources": SourceRow,
    "clips": ClipRow,
    "tracks": TrackRow,
    "samples": SampleRow,
    "rejects": RejectRow,
}
"""The public manifests, by folder name under `manifests/`."""

INTERNAL_TABLES: dict[str, type] = {"listing": ListedRow, "found": FoundRow, "donors": DonorRow}
"""Tables the pipeline keeps for itself."""
