"""Segmentation: numbers, boxes, empty masks and duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fake_models import choice
from small_work import block, clip_row, context_in, numbered_frames, work_of

from models.protocols import Box, Detection, ModelInfo
from stages.segment import Segment, SegmentSettings
from stages.work import ClipWork


def segmented(
    folder: Path, entities: Sequence[Detection], regions: Sequence[Detection] = (), **settings: Any
) -> ClipWork:
    segmenter = choice("FakeSegmenter", invisible=["ghost"])
    stage = Segment(SegmentSettings.model_validate({"segmenter": segmenter, **settings}))
    stage.setup(context_in(folder))
    record = work_of(clip_row(), numbered_frames(2))
    record.entities, record.regions = list(entities), list(regions)
    record.found_by = {"tagger": ModelInfo("words", "1"), "detector": ModelInfo("boxes", "2")}
    stage.run([record])
    return record


def thing(*box: float, tag: str = "ball") -> Detection:
    x0, y0, x1, y1 = box
    return Detection((x0, y0, x1, y1), tag, 0.5)


def test_entities_count_from_0_and_regions_from_80_each_with_its_first_mask(tmp_path: Path) -> None:
    # The box of the first mask, not of the detection, which may lie between pixels and outside of the frame.
    entities = [thing(10.2, 8.4, 25.8, 24.1), thing(60, 8, 200, 24, tag="car")]
    record = segmented(tmp_path, entities, [thing(0, 40, 96, 64, tag="grass")])
    boxes: list[Box] = [(10, 8, 26, 24), (60, 8, 96, 24), (0, 40, 96, 64)]
    assert [(track.number, track.role, track.tag) for track in record.tracks] == [
        (0, "entity", "ball"),
        (1, "entity", "car"),
        (80, "background", "grass"),
    ]
    for track, box in zip(record.tracks, boxes, strict=True):
        assert track.box == box
        assert len(track.masks) == 1
        assert track.models == {"tagger": "words@1", "detector": "boxes@2", "segmenter": "fake_segmenter@7"}
        assert track.score == 0.5
        np.testing.assert_array_equal(
            track.masks.mask(0), block(int(box[0]), int(box[1]), int(box[2] - box[0]), int(box[3] - box[1]))
        )


def test_an_empty_mask_leaves_a_reject_and_its_number_free(tmp_path: Path) -> None:
    record = segmented(tmp_path, [thing(0, 0, 8, 8, tag="ghost"), thing(0, 0, 8, 8)])
    assert [track.number for track in record.tracks] == [1]
    (reject,) = record.rejects
    assert (reject.id, reject.reason) == (f"{record.id}-00", "empty_mask")
    assert "no ghost" in reject.message


def test_a_mask_that_shares_more_than_the_limit_with_a_better_one_is_a_duplicate(tmp_path: Path) -> None:
    better, at_limit, beyond = thing(0, 0, 16, 16), thing(4, 0, 20, 16), thing(1, 0, 17, 16)
    kept = segmented(tmp_path, [better, at_limit], max_overlap=0.75)
    assert len(kept.tracks) == 2
    record = segmented(tmp_path, [better, beyond, at_limit], max_overlap=0.75)
    # The third shares too much with the second one only, which is not there any more.
    assert [track.number for track in record.tracks] == [0, 2]
    (reject,) = record.rejects
    assert (reject.id, reject.reason, reject.value, reject.threshold) == (
        f"{record.id}-01",
        "duplicate",
        0.9375,
        0.75,
    )


def test_an_entity_may_lie_on_a_region(tmp_path: Path) -> None:
    record = segmented(tmp_path, [thing(10, 10, 20, 20)], [thing(0, 0, 96, 64, tag="grass")])
    assert [track.number for track in record.tracks] == [0, 80]
    assert not record.rejects
