"""What a run says at its end."""

from __future__ import annotations

from typing import Any

from pipeline.report import failed_count, funnel_text, last_line


def reject(count: int, level: str, state: str, stage: str, reason: str) -> dict[str, Any]:
    return {"count": count, "level": level, "state": state, "stage": stage, "reason": reason}


FILTERED = reject(30, "sample", "filtered", "augment", "mask_too_large")
BROKEN = reject(2, "source", "failed", "ingest", "unreadable")
REFUSED = reject(1, "source", "failed", "listing", "missing")
WORDLESS = reject(4, "track", "failed", "caption", "no_caption")


def summary(*rejects: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "sources": {"failed": 2, "kept": 7},
        "clips": {"image": 1, "video": 9},
        "tracks": {"entity": 12},
        "samples": {"add_modify": 180, "delete": 60},
        "clips_with_samples": 10,
        "parts": {"compose": 6},
        "shards": 5,
        "rejects": list(rejects),
        "other_tags": {"total": 0, "distinct": 0, "most_frequent": {}},
    } | given


def test_the_funnel_adds_up_each_level_and_then_names_what_is_left_out() -> None:
    assert funnel_text(summary(BROKEN, FILTERED)).splitlines() == [
        "sources        9  (failed 2, kept 7)",
        "clips         10  (image 1, video 9)",
        "tracks        12  (entity 12)",
        "samples      240  (add_modify 180, delete 60)",
        "left out:",
        "       2 source failed   ingest: unreadable (cannot be read)",
        "      30 sample filtered augment: mask_too_large (this mask variant covers too much)",
    ]
    assert funnel_text(summary(samples={})).splitlines()[-1] == "samples        0"


def test_a_reason_of_a_stage_of_ones_own_stands_as_it_is() -> None:
    own = reject(1, "clip", "filtered", "my_stage", "too_blue")
    assert funnel_text(summary(own)).splitlines()[-1] == "       1 clip   filtered my_stage: too_blue"


def test_the_last_line_says_what_is_there_and_what_the_run_did() -> None:
    assert last_line(summary(FILTERED), "out", 12, 3.21) == (
        "out: 240 samples from 10 clips in 5 shards; 12 parts in 3.2 s"
    )
    assert last_line(summary(), "out", 0, 0.04) == "out: 240 samples from 10 clips in 5 shards; nothing to do (0.0 s)"


def test_failed_records_are_counted_and_what_can_be_retried_is_said() -> None:
    assert failed_count(summary(FILTERED, BROKEN, REFUSED, WORDLESS)) == 7
    assert "7 failed (see `vivid inspect out`; `vivid retry out` tries them again)" in last_line(
        summary(FILTERED, BROKEN, REFUSED, WORDLESS), "out", 1, 1
    )
    # Entries that were never listed and single tracks are not taken again.
    assert "5 failed (see `vivid inspect out`);" in last_line(summary(REFUSED, WORDLESS), "out", 1, 1)


def test_words_of_neither_vocabulary_are_named() -> None:
    text = funnel_text(summary(other_tags={"total": 9, "distinct": 4, "most_frequent": {"joy": 6, "rush": 1}}))
    assert text.splitlines()[-1] == "tags of neither vocabulary: 9 (4 words; most often joy 6, rush 1)"
