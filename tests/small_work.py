"""One small clip and its tracks, as the stages and phases hand them on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from manifests.masks import Mask, MaskTrack
from manifests.records import ClipRow
from manifests.storage import open_store
from models.protocols import Image
from stages.stage import Context
from stages.work import ClipWork, Location, Track

HEIGHT, WIDTH, FPS = 64, 96, 12.0
PIXELS = HEIGHT * WIDTH
CLIP = "0123456789abcdef"


def clip_row(clip_id: str = CLIP, **given: Any) -> ClipRow:
    """The row of a 64×96 video of 12 frames, or what is given instead."""
    row: dict[str, Any] = {
        "part": 0,
        "position": 0,
        "source_id": f"source of {clip_id}",
        "group": f"group of {clip_id}",
        "start_us": 0,
        "end_us": 1_000_000,
        "kind": "video",
        "origin": "source",
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "num_frames": 12,
        "caption": None,
        "licence": None,
        "keyframe_hash": "0" * 16,
        "mean_luma": 100.0,
        "frame_difference": 1.0,
        "split": "train",
        "ingest_part": 0,
    }
    return ClipRow(clip_id=clip_id, **(row | given))


def image_row(clip_id: str = CLIP, **given: Any) -> ClipRow:
    """The row of an image."""
    still: dict[str, Any] = {"kind": "image", "fps": None, "num_frames": 1, "end_us": 0}
    return clip_row(clip_id, **(still | given))


def work_of(clip: ClipRow, frames: list[Image] | None = None, tracks: Sequence[Track] = ()) -> ClipWork:
    """The record of a clip."""
    return ClipWork(clip.clip_id, clip, Location("clips/none.tar", 0, 0), frames=frames, tracks=list(tracks))


def block(x: int, y: int, width: int = 16, height: int = 16, frame: tuple[int, int] = (HEIGHT, WIDTH)) -> Mask:
    """A mask of one rectangle."""
    mask = np.zeros(frame, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def track_of(masks: Iterable[Mask], number: int = 0, role: str = "entity", tag: str = "ball", **given: Any) -> Track:
    """A track with these masks."""
    coded = MaskTrack.from_masks(masks)
    x0, y0, x1, y1 = (float(value) for value in coded.boxes()[0])
    return Track(number, role, tag, (x0, y0, x1, y1), 0.5, coded, **given)


def numbered_frames(count: int) -> list[Image]:
    """Frames that carry their number as grey level."""
    return [np.full((HEIGHT, WIDTH, 3), index, np.uint8) for index in range(count)]


def context_in(folder: Path, **given: Any) -> Context:
    """Surroundings of a stage whose store is `folder`."""
    return replace(Context(open_store(folder), folder, seed=5, roots={}), **given)
