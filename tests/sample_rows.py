"""Rows of `samples` for tests that need a few."""

from __future__ import annotations

from typing import Any

from manifests.ids import sample_id
from manifests.records import SampleRow


def sample_row(clip: str = "a" * 16, track: int = 0, **given: Any) -> SampleRow:
    """A sample of a 96×64 video of 12 frames; its id follows from track, variant and caption kind."""
    variant, caption_kind = given.get("mask_variant", "original"), given.get("caption_kind", "short")
    name = f"{clip}-{track:02d}"
    values: dict[str, Any] = {
        "sample_id": sample_id(name, variant, caption_kind),
        "clip_id": clip,
        "target_clip_id": None,
        "pair_id": None,
        "track_id": name,
        "part": 0,
        "task": "add_modify",
        "kind": "video",
        "split": "train",
        "width": 96,
        "height": 64,
        "fps": 12.0,
        "num_frames": 12,
        "mask_variant": variant,
        "variant_parameters": "{}",
        "operator_version": 1,
        "area_mean": 0.1,
        "caption_kind": caption_kind,
        "caption": "a red square",
        "shard": "shards/part-00000-00000000.tar",
        "clip_member": f"{clip}.mp4",
        "clip_offset": 0,
        "clip_size": 1,
        "mask_member": f"{name}.json.gz",
        "mask_offset": 0,
        "mask_size": 1,
    }
    return SampleRow(**{**values, **given})
