"""Screening: every threshold at its limit and just beyond it, and which of several reasons is given."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from small_work import PIXELS, block, clip_row, track_of, work_of

from manifests.masks import Mask
from stages.screen import Screen, ScreenSettings
from stages.stage import Reject
from stages.work import ClipWork, Track

NOTHING = np.zeros((64, 96), np.bool_)
LENIENT = {"min_area": 0, "max_area": 1, "min_visible": 0, "min_stability": 0, "max_area_jump": 99}


def area(pixels: int) -> Mask:
    """A mask of that many pixels."""
    mask = NOTHING.copy()
    mask.reshape(-1)[:pixels] = True
    return mask


def screened(*tracks: Track, **settings: Any) -> ClipWork:
    record = work_of(clip_row(), tracks=tracks)
    Screen(ScreenSettings.model_validate(LENIENT | settings)).run([record])
    return record


def only_reject(*masks: Mask, stability: float | None = None, **settings: Any) -> Reject | None:
    """The reject of one track, None when it is kept."""
    record = screened(track_of(masks, stability=stability), **settings)
    assert len(record.tracks) + len(record.rejects) == 1
    return record.rejects[0] if record.rejects else None


# Pixels at the limit, beyond it, and the measured value there. Frames have 6144 pixels; powers of two are exact.
@pytest.mark.parametrize(
    ("reason", "limit", "at_limit", "beyond", "value"),
    [
        ("min_area", 48 / PIXELS, [32, 64], [32, 63], 47.5 / PIXELS),
        ("max_area", 0.5, [100, PIXELS // 2], [100, PIXELS // 2 + 1], 0.5 + 1 / PIXELS),
        ("min_visible", 0.5, [64, 0, 0, 64], [64, 0, 0, 64, 0], 0.4),
        ("max_area_jump", float(np.log(2)), [50, 100, 50], [50, 101], float(np.log(2.02))),
    ],
)
def test_a_value_at_its_limit_is_kept_and_one_beyond_is_not(
    reason: str, limit: float, at_limit: list[int], beyond: list[int], value: float
) -> None:
    assert only_reject(*map(area, at_limit), **{reason: limit}) is None
    reject = only_reject(*map(area, beyond), **{reason: limit})
    assert reject is not None
    assert (reject.id, reject.level, reject.state) == ("0123456789abcdef-00", "track", "filtered")
    assert (reject.stage, reject.reason, reject.value, reject.threshold) == ("screen", reason, round(value, 6), limit)


def test_stability_at_its_limit_is_kept_and_an_untracked_thing_has_none() -> None:
    assert only_reject(block(0, 0), stability=0.6, min_stability=0.6) is None
    assert only_reject(block(0, 0), stability=None, min_stability=0.6) is None
    reject = only_reject(block(0, 0), stability=0.5999, min_stability=0.6)
    assert reject is not None
    assert (reject.reason, reject.value, reject.threshold) == ("min_stability", 0.5999, 0.6)


def test_the_mean_area_is_that_of_the_frames_with_a_mask() -> None:
    assert only_reject(area(48), NOTHING, NOTHING, area(48), min_area=48 / PIXELS) is None


def test_appearing_and_vanishing_are_no_jumps() -> None:
    assert only_reject(area(10), NOTHING, area(1000), NOTHING, area(10), max_area_jump=0.01) is None
    assert only_reject(area(10), max_area_jump=0.01) is None
    shrinking = only_reject(area(100), area(20), max_area_jump=1)
    assert shrinking is not None
    assert "5.0-fold" in shrinking.message


def test_the_first_of_several_reasons_is_given() -> None:
    """Of a track that fails everything; then the reason before is forgiven, one after the other."""
    masks = [area(6), area(4000), NOTHING, NOTHING, NOTHING]
    strict = {"min_visible": 0.5, "min_area": 0.9, "max_area": 0.5, "min_stability": 0.9, "max_area_jump": 0.1}
    order = []
    while (reject := only_reject(*masks, stability=0.3, **strict)) is not None:
        order.append(reject.reason)
        strict[reject.reason] = LENIENT[reject.reason]
    assert order == ["min_visible", "min_area", "max_area", "min_stability", "max_area_jump"]


def test_a_track_that_is_never_seen_is_left_out_whatever_the_limits() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reject = only_reject(NOTHING, NOTHING)
    assert reject is not None
    assert (reject.reason, reject.value) == ("min_visible", 0)


def test_background_regions_pass_and_the_order_stays() -> None:
    small = {"stability": 0.0, "tag": "speck"}
    tracks = [
        track_of([area(2)], 0, **small),
        track_of([area(900)], 1, stability=0.9),
        track_of([area(2)], 80, "background"),
        track_of([area(2)], 3, **small),
    ]
    record = screened(*tracks, min_area=0.01, min_stability=0.5)
    assert [track.number for track in record.tracks] == [1, 80]
    assert [reject.id[-2:] for reject in record.rejects] == ["00", "03"]
    assert not record.dropped
