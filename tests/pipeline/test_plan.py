"""The plan of a run is the finished one, times its size."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.plan import plan_text

MIB = 2**20
DONE: dict[str, Any] = {
    "clips": {"image": 2, "video": 8},
    "samples": {"add_modify": 150, "delete": 50},
    "stage_seconds": {"caption": 5.0, "propagate": 35.0},
    "bytes": {"clips": 20 * MIB, "shards": 30 * MIB},
}


def words(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.split()[0] == name).split()


def test_times_and_bytes_grow_with_the_clips() -> None:
    text = plan_text(DONE, 36_000)
    assert text.startswith("36,000 clips, scaled from 10 (2 images, 8 videos)")
    assert words(text, "propagate") == ["propagate", "3.500", "s", "per", "clip", "35.0", "hours"]
    assert words(text, "all") == ["all", "4.000", "s", "per", "clip", "40.0", "hours"]
    assert words(text, "shards") == ["shards", "3.00", "MiB", "per", "clip", "105.5", "GiB"]
    assert words(text, "samples")[-1] == "720,000"
    # The dearest first.
    assert text.index("propagate") < text.index("caption")


def test_actors_share_the_time() -> None:
    assert "with 8 actors: 5.0 hours when none ever waits" in plan_text(DONE, 36_000, actors=8)


def test_an_empty_dataset_has_nothing_to_scale() -> None:
    with pytest.raises(ValueError, match="no clips to scale from"):
        plan_text({**DONE, "clips": {}}, 5)
