"""Reject reasons in words."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from manifests.reasons import has_words, reason_words, share_statistic
from stages.clip_builder import DroppedClip
from stages.deletion import FAULTS
from stages.dull import Dull
from stages.ingest import FETCH_REASONS
from stages.listing_records import Reason

CODES = (
    *get_args(Reason),
    *get_args(get_type_hints(DroppedClip)["reason"]),
    *get_args(get_type_hints(Dull)["reason"]),
    *FAULTS,
    *FETCH_REASONS.values(),
)


@pytest.mark.parametrize("code", sorted(set(CODES)))
def test_every_code_that_the_stages_declare_has_words(code: str) -> None:
    assert has_words(code)
    assert reason_words(code) != code.replace("_", " ") or code == "outside_root"


def test_an_unknown_code_is_readable() -> None:
    assert reason_words("too_blue") == "too blue"
    assert not has_words("too_blue")


def test_which_statistic_is_compared() -> None:
    assert share_statistic("mask_too_large") == "in its largest frame"
    assert share_statistic("mask_too_small") == "mean over the clip"
    assert share_statistic("min_duration") is None
