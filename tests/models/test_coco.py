"""The names and how they stand in a caption."""

from __future__ import annotations

import re

import pytest

from models.caption_templates import Shape
from models.coco import COCO_NAMES, RIDDEN, RIDER
from models.nouns import Noun
from models.phrasing import Description, write_captions


def test_there_are_eighty_names_by_number() -> None:
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    known = {0: "person", 14: "bird", 16: "dog", 17: "horse", 39: "bottle", 56: "chair", 79: "toothbrush"}
    assert {number: COCO_NAMES[number] for number in known} == known


def test_who_rides_what_is_named_so() -> None:
    assert RIDER in COCO_NAMES
    assert set(COCO_NAMES) > RIDDEN
    assert "car" not in RIDDEN


def test_number_and_article_of_every_name() -> None:
    nouns = [Noun.from_tag(name) for name in COCO_NAMES]
    assert {noun.text for noun in nouns if noun.plural} == {"skis", "scissors"}
    assert {noun.text for noun in nouns if noun.person} == {"person"}
    phrases = [noun.phrase() for noun in nouns]
    with_an = {"an airplane", "an elephant", "an umbrella", "an apple", "an orange", "an oven"}
    assert {phrase for phrase in phrases if phrase.startswith("an ")} == with_an
    assert {phrase for phrase in phrases if not phrase.startswith(("a ", "an "))} == {"skis", "scissors", "broccoli"}


@pytest.mark.parametrize("colours", [("orange",), ("black", "white"), ()])
@pytest.mark.parametrize("shape", ["wide", None])
def test_every_name_makes_english_captions(colours: tuple[str, ...], shape: Shape | None) -> None:
    for name in COCO_NAMES:
        said = Description(
            name, colours, not colours, False, "small", shape, "on the left side of the frame", 0.02, (), None
        )
        captions = write_captions(said, 0, name)
        for text in (captions.short, captions.medium, captions.long):
            assert name in text.lower()
            assert not re.search(r"\ba [aeio]|\ban [^aeiouh]", text, re.IGNORECASE), text
        wrong = "is|has|takes|covers|fills|makes" if Noun.from_tag(name).plural else "are|have|take|cover|fill|make"
        # Only as a subject: "the main colour of the skis is red" is right.
        assert not re.search(rf"(^|[.,] )(the |an? )?{name} ({wrong})\b", captions.long, re.IGNORECASE), captions.long
