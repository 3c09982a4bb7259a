"""Tagging: what the tagger is shown, and where its words go."""

from __future__ import annotations

from pathlib import Path

from fake_models import choice
from small_work import clip_row, context_in, numbered_frames, work_of

from models.protocols import Tag
from stages.tag import Tagging, TagSettings


def test_the_tagger_sees_the_first_frames_and_its_words_are_kept_apart(tmp_path: Path) -> None:
    tagger = choice("FakeTagger", entities=["dog", "cat"], regions=["grass"])
    stage = Tagging(TagSettings.model_validate({"tagger": tagger, "lookahead": 4}))
    stage.setup(context_in(tmp_path))
    long, short = work_of(clip_row(), numbered_frames(9)), work_of(clip_row(), numbered_frames(1))
    stage.run([long, short])
    assert stage.tagger.seen == [[0, 1, 2, 3], [0]]
    for record in (long, short):
        assert record.entity_tags == [Tag("dog", 0.9), Tag("cat", 0.9)]
        assert record.background_tags == [Tag("grass", 0.8)]
