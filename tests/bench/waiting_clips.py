"""A dataset's folder in which any number of tiny clips wait for ANNOTATE, committed without any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_dataset import FPS, FRAMES, HEIGHT, WIDTH, write_clip

from manifests.commits import RUN_FILE, PartWriter
from manifests.records import ClipRow, FoundRow
from manifests.storage import Store
from manifests.tars import TarWriter

EPOCH = 1
DIFFERENT = 8
"""Clips that are not alike; the others repeat them under names of their own."""


def write_waiting_clips(store: Store, scratch: Path, parts: int, clips_per_part: int) -> None:
    """Commit an ingest part of tiny clips and a layout that spreads them over `parts` parts."""
    store.replace(RUN_FILE, json.dumps({"epoch": EPOCH}).encode())
    names = [f"{number:016x}" for number in range(parts * clips_per_part)]
    tar_file = store.scratch()
    with TarWriter(tar_file) as tar:
        members = [
            tar.add(f"{number}.mp4", write_clip(scratch / f"{number}.mp4", number).read_bytes())
            for number in range(DIFFERENT)
        ]
    found = []
    for number, name in enumerate(names):
        member = members[number % DIFFERENT]
        found.append(FoundRow(**_described(name), member=member.name, offset=member.offset, size=member.size))
    ingest = PartWriter(store, "ingest", 0, EPOCH)
    ingest.add_file(tar_file, "clips.tar", "clips", "part", ".tar")
    ingest.add_table("found", FoundRow, found, folder="clips")
    ingest.commit({})
    layout = PartWriter(store, "layout", 0, EPOCH)
    layout.add_table("clips", ClipRow, [_clip_row(name, *divmod(n, clips_per_part)) for n, name in enumerate(names)])
    layout.commit({}, ingest_parts=[0])


def _described(clip_id: str) -> dict[str, Any]:
    """What both tables say of a clip."""
    return {
        "clip_id": clip_id,
        "source_id": clip_id,
        "group": clip_id,
        "start_us": 0,
        "end_us": 10**6 * FRAMES // FPS,
        "kind": "video",
        "origin": "source",
        "width": WIDTH,
        "height": HEIGHT,
        "fps": float(FPS),
        "num_frames": FRAMES,
        "caption": None,
        "licence": None,
        "keyframe_hash": "0" * 16,
        "mean_luma": 90.0,
        "frame_difference": 5.0,
    }


def _clip_row(clip_id: str, part: int, position: int) -> ClipRow:
    return ClipRow(**_described(clip_id), part=part, position=position, split="train", ingest_part=0)
