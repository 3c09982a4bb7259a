"""Detection: entities and regions are asked for apart, and limited by score and number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_models import choice
from small_work import clip_row, context_in, numbered_frames, work_of

from models.protocols import Tag
from stages.detect import Detect, DetectSettings
from stages.work import ClipWork

SCORES = {"dog": (0.9, 0.5, 0.25), "cat": (0.75,), "grass": (0.25, 0.125)}


def detected(folder: Path, **settings: Any) -> tuple[ClipWork, Detect]:
    detector = choice("FakeDetector", scores=SCORES)
    stage = Detect(DetectSettings.model_validate({"detector": detector, "lookahead": 2, **settings}))
    stage.setup(context_in(folder))
    record = work_of(clip_row(), numbered_frames(5))
    record.entity_tags, record.background_tags = [Tag("dog", 1), Tag("cat", 1)], [Tag("grass", 1)]
    stage.run([record])
    return record, stage


def test_each_kind_of_tag_is_asked_for_on_the_first_frames(tmp_path: Path) -> None:
    record, stage = detected(tmp_path)
    assert stage.detector.seen == [([0, 1], ["dog", "cat"]), ([0, 1], ["grass"])]
    assert [(found.tag, found.score) for found in record.entities] == [("dog", 0.9), ("cat", 0.75), ("dog", 0.5)]
    assert [(found.tag, found.score) for found in record.regions] == [("grass", 0.25)]
    assert not record.rejects


def test_scores_at_the_limit_are_kept_and_the_best_come_first(tmp_path: Path) -> None:
    record, _ = detected(tmp_path, min_score=0.25, max_entities=80, max_regions=10)
    assert [found.score for found in record.entities] == [0.9, 0.75, 0.5, 0.25]
    assert [found.score for found in record.regions] == [0.25]
    best, _ = detected(tmp_path, max_entities=1)
    assert [found.score for found in best.entities] == [0.9]


def test_a_clip_without_entities_says_so_and_keeps_its_regions(tmp_path: Path) -> None:
    record, _ = detected(tmp_path, min_score=0.95)
    assert not record.entities
    (reject,) = record.rejects
    assert (reject.level, reject.stage, reject.reason) == ("track", "detect", "no_entity")
    assert not record.dropped
