"""What holds for every stage: rejects, and chains whose fields are all written before they are read."""

from __future__ import annotations

import pytest
from small_work import clip_row, work_of

from stages.detect import Detect
from stages.segment import Segment
from stages.stage import NoSettings, Reject, Stage, check_chain
from stages.tag import Tagging
from stages.work import ClipWork


class Idle(Stage[ClipWork]):
    name = "idle"


def test_a_chain_is_checked_field_by_field() -> None:
    check_chain([Tagging, Detect, Segment], ["frames"])
    check_chain([], [])
    with pytest.raises(ValueError, match="stage 'tag' reads 'frames', which no stage before it writes"):
        check_chain([Tagging, Detect], ["clip"])
    with pytest.raises(ValueError, match="stage 'detect' reads 'entity_tags', which no stage before it writes"):
        check_chain([Detect, Tagging], ["frames"])
    with pytest.raises(ValueError, match="stage 'segment' reads 'entities', which"):
        check_chain([Tagging, Segment], ["frames"])


def test_a_stage_does_not_write_what_it_reads_itself() -> None:
    class Circular(Idle):
        reads = ("echo",)
        writes = ("echo",)

    with pytest.raises(ValueError, match="reads 'echo'"):
        check_chain([Circular], [])
    check_chain([Circular, Circular], ["echo"])


def test_dropping_a_record_filters_it_and_a_reject_of_a_part_keeps_it() -> None:
    record = work_of(clip_row())
    record.reject(f"{record.id}-00", "track", "screen", "min_area", "too small", value=0.1, threshold=0.2)
    assert not record.dropped
    record.drop("pack", "no_sample", "nothing in it")
    assert record.dropped
    assert record.rejects == [
        Reject(f"{record.id}-00", "track", "screen", "filtered", "min_area", "too small", 0.1, 0.2),
        Reject(record.id, "clip", "pack", "filtered", "no_sample", "nothing in it", None, None),
    ]


def test_a_stage_that_does_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="stage idle does nothing"):
        Idle(NoSettings()).run([work_of(clip_row())])


def test_frames_before_decoding_are_a_mistake_of_the_chain() -> None:
    with pytest.raises(AssertionError, match="no decode stage"):
        work_of(clip_row()).decoded()
