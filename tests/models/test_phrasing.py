"""Sentences from descriptions: right words, right number of sentences, variety, and nothing that was not given."""

from __future__ import annotations

import itertools
import re
import string
from dataclasses import replace

import pytest

from models import caption_templates
from models.movement import OneWay, Roaming, Still, ThereAndBack, ToAndFro
from models.phrasing import Action, Description, share_words, write_captions

IMAGE = Description(
    tag="object",
    colours=("red",),
    many_colours=False,
    patterned=False,
    size="small",
    shape=None,
    place="in the upper left of the frame",
    share=0.02,
    edges=(),
    action=None,
)
NOTHING = Action(movement=None, growth=None, absence=None, later_place=None, appears_late=False)
KEYS = [f"{number:016x}-00" for number in range(60)]


def written(description, keys=KEYS):
    return [write_captions(description, 7, key) for key in keys]


def sentences(text):
    return re.findall(r"[^.]+\.", text)


def test_short_is_the_bare_noun_phrase():
    assert {captions.short for captions in written(IMAGE)} == {"an object"}
    assert {captions.short for captions in written(replace(IMAGE, tag="dogs"))} == {"dogs"}


def test_medium_adds_drawn_attributes_but_always_the_colour():
    description = replace(IMAGE, shape="round", patterned=True)
    found = {captions.medium for captions in written(description)}
    assert len(found) == 8
    assert {"a red object", "a small round patterned red object"} <= found
    assert all(medium.endswith("red object") for medium in found)


def test_two_and_many_colours_in_medium():
    two = replace(IMAGE, colours=("orange", "white"), size=None)
    assert {captions.medium for captions in written(two)} == {"an orange and white object"}
    many = replace(IMAGE, colours=(), many_colours=True, size=None)
    assert {captions.medium for captions in written(many)} == {"a multicoloured object"}


def test_people_get_tones_not_colour_and_size():
    found = {captions.medium for captions in written(replace(IMAGE, tag="woman"))}
    assert found == {"a woman in mainly red tones"}
    for captions in written(replace(IMAGE, tag="woman")):
        assert re.search(r"tones.* red|red tones", captions.long)
        assert "small" not in captions.long


def test_an_image_has_three_sentences_and_no_time():
    for captions in written(IMAGE):
        assert len(sentences(captions.long)) == 3
        assert not re.search(r"clip|move|first|start|later|begin|stay|still", captions.long)


def test_same_key_same_words_and_many_different_ones():
    moving = replace(IMAGE, action=replace(NOTHING, movement=OneWay("left", "slowly")))
    assert written(moving) == written(moving)
    assert len({captions.long for captions in written(moving)}) >= 50
    assert write_captions(moving, 7, KEYS[0]) != write_captions(moving, 8, KEYS[0])


@pytest.mark.parametrize(
    ("movement", "needed"),
    [
        (Still(), r"stays in place|keeps to one spot|hardly changes position|same spot"),
        (OneWay("left", "slowly"), r"slowly.*left|left.*slowly"),
        (OneWay("up right", "quickly"), r"\bup (and to|towards) the right"),
        (OneWay("down", None), r"downwards"),
        (ThereAndBack("right", "left", None), r"the right.*back.* the left"),
        (ToAndFro("vertical", "quickly"), r"quickly.*up and down"),
        (ToAndFro("horizontal", None), r"side to side|back and forth"),
        (Roaming(None), r"\b(about|around)\b"),
    ],
)
def test_movement_is_said_as_measured(movement, needed):
    for captions in written(replace(IMAGE, action=replace(NOTHING, movement=movement))):
        assert re.search(needed, captions.long), captions.long
        if not (hasattr(movement, "speed") and movement.speed):
            assert not re.search(r"slowly|quickly", captions.long)


def test_absence_growth_and_later_place_are_said_before_looks():
    action = Action(OneWay("right", None), "larger", "at the end", "in the lower right of the frame", False)
    for captions in written(replace(IMAGE, shape="tall", patterned=True, action=action)):
        assert re.search(r"no longer|out of view", captions.long)
        assert 3 <= len(sentences(captions.long)) <= 5
        assert not re.search(r"patterned surface|outline|later", captions.long)


def test_a_late_entity_is_not_placed_at_the_start():
    for captions in written(replace(IMAGE, action=replace(NOTHING, appears_late=True))):
        assert not re.search(r"At first|at first|start|begins", captions.long)


def test_plural_nouns_agree():
    action = Action(OneWay("left", None), None, "between", None, False)
    for captions in written(replace(IMAGE, tag="cups", shape="wide", action=action)):
        spoken = re.sub(r"(colour|outline|area) of the cups", r"\1", captions.long).replace("than it is", "")
        assert not re.search(r"\b(cups|they|They) (is|has|[a-z]+[a-rt-z]s)\b", spoken), spoken
        assert not re.search(r"\b(it|It)\b", spoken)


def test_edges_are_listed():
    found = " ".join(captions.long for captions in written(replace(IMAGE, edges=("left", "top", "bottom"))))
    assert "left, top and bottom edges of the frame" in found
    found = " ".join(captions.long for captions in written(replace(IMAGE, edges=("right",))))
    assert "the right edge of the frame" in found


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0001, "less than 1 percent"),
        (0.012, "about 1 percent"),
        (0.07, "about 7 percent"),
        (0.1, "about a tenth"),
        (0.26, "about a quarter"),
        (0.4, "about 40 percent"),
        (0.51, "about half"),
        (0.99, "nearly all"),
    ],
)
def test_shares_in_words(share, words):
    assert share_words(share) == words


def test_every_template_is_one_sentence_with_known_slots():
    tables = [value for name, value in vars(caption_templates).items() if name.isupper()]
    assert len(tables) >= 15
    rows = itertools.chain.from_iterable(
        itertools.chain.from_iterable(table.values()) if isinstance(table, dict) else table for table in tables
    )
    given = {"a", "the", "subject", "place", "colours", "share", "edges", "speed", "way", "back", "change", "later"}
    for row in rows:
        if "{" not in row:
            continue
        assert row.endswith(".")
        assert row.count(".") == 1
        for _, slot, _, _ in string.Formatter().parse(row):
            assert slot is None or slot.lower() in given or slot == "is_" or slot.endswith("s")


def test_a_wordless_tag_is_refused():
    with pytest.raises(ValueError, match="holds no word"):
        write_captions(replace(IMAGE, tag=""), 1, "key")
