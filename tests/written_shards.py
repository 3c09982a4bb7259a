"""Shards and samples written directly, part by part: a dataset with pixels and masks in a tenth of a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from sample_rows import sample_row
from small_work import block, clip_row, image_row
from tiny_dataset import FPS, FRAMES, HEIGHT, WIDTH, moving_square

from manifests.commits import RUN_FILE, PartWriter
from manifests.ids import track_id
from manifests.masks import MaskTrack
from manifests.records import ClipRow, SampleRow
from manifests.storage import open_store
from manifests.tars import TarWriter
from stages.augment import AugmentSettings, draw_variants
from stages.media import ClipWriter, MediaSettings, encode_image

DELETION = "Remove objects."
VARIANTS = ("original", "hull_expand")


def write_part(folder: Path, part: int, clips: Sequence[str], kind: str = "video", split: str = "train") -> None:
    """Lay out and compose one part with the clips of these letters: a moving square, and a still shape to delete."""
    store = open_store(folder)
    store.replace(RUN_FILE, json.dumps({"epoch": 1, "roots": {}}).encode())
    make = image_row if kind == "image" else clip_row
    rows = [make(letter * 16, part=part, position=place, split=split) for place, letter in enumerate(clips)]
    layout = PartWriter(store, "layout", part, 1)
    layout.add_table("clips", ClipRow, rows)
    layout.commit({"clips": len(rows)}, ingest_parts=[part])
    compose = PartWriter(store, "compose", part, 1)
    scratch = store.scratch()
    samples: list[SampleRow] = []
    with TarWriter(scratch) as tar:
        for row in rows:
            samples += _add_clip(tar, row)
    shard = compose.add_file(scratch, "shard", "shards", "part", ".tar")
    compose.add_table("samples", SampleRow, [_in_shard(sample, shard) for sample in samples])
    compose.commit({"kept": len(rows), "samples": len(samples)})


def _add_clip(tar: TarWriter, row: ClipRow) -> list[SampleRow]:
    seed = ord(row.clip_id[0]) - ord("a")
    frames = moving_square(seed)[: row.num_frames]
    still = row.kind == "image"
    pixels = tar.add(f"{row.clip_id}.{'jpg' if still else 'mp4'}", encode_image(frames[0]) if still else _mp4(frames))
    samples = []
    for number, corners in ((0, [(8 + 4 * i, 20 + seed % 3 * 6) for i in range(FRAMES)]), (90, [(60, 8)] * FRAMES)):
        masks = MaskTrack.from_masks(block(x, y, 18, 18) for x, y in corners[: row.num_frames])
        member = tar.add(f"{row.clip_id}.track-{number:02d}.json.gz", masks.to_bytes())
        drawn = draw_variants(0, track_id(row.clip_id, number), AugmentSettings())
        captions = {"fixed": DELETION} if number else {"short": "a square", "long": f"A square named {row.clip_id[0]}."}
        samples += [
            sample_row(
                row.clip_id,
                number,
                part=row.part,
                task="delete" if number else "add_modify",
                kind=row.kind,
                split=row.split,
                fps=row.fps,
                num_frames=row.num_frames,
                mask_variant=variant,
                variant_parameters=json.dumps(drawn[variant]),
                caption_kind=caption_kind,
                caption=caption,
                clip_offset=pixels.offset,
                clip_size=pixels.size,
                mask_offset=member.offset,
                mask_size=member.size,
            )
            for variant in VARIANTS
            for caption_kind, caption in captions.items()
        ]
    return samples


def _mp4(frames: Sequence[np.ndarray]) -> bytes:
    writer = ClipWriter(WIDTH, HEIGHT, Fraction(FPS), MediaSettings())
    for frame in frames:
        writer.add(frame)
    return bytes(writer.finish())


def _in_shard(sample: SampleRow, shard: str) -> SampleRow:
    return SampleRow(**{name: getattr(sample, name) for name in SampleRow.__dataclass_fields__} | {"shard": shard})
