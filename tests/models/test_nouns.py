"""Articles, number and agreement."""

from __future__ import annotations

import pytest

from models.nouns import Noun, capitalised, with_article


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("object", "an object"),
        ("dog", "a dog"),
        ("orange dog", "an orange dog"),
        ("umbrella", "an umbrella"),
        ("unicycle", "a unicycle"),
        ("hourglass", "an hourglass"),
        ("horse", "a horse"),
        ("SUV", "an SUV"),
        ("TV", "a TV"),
        ("European bison", "a European bison"),
        ("elephant", "an elephant"),
    ],
)
def test_article_by_sound(words, phrase):
    assert with_article(words) == phrase


@pytest.mark.parametrize("tag", ["scissors", "people", "cups", "glasses", "potted plants", "skis", "children"])
def test_plurals_take_no_article_and_a_plural_verb(tag):
    noun = Noun.from_tag(tag)
    assert noun.plural
    assert noun.phrase("red") == f"red {tag}"
    assert [noun.verb(verb) for verb in ("is_", "has", "moves", "goes", "touches", "changes")] == [
        "are",
        "have",
        "move",
        "go",
        "touch",
        "change",
    ]


@pytest.mark.parametrize(
    "tag", ["bus", "wine glass", "lens", "tennis", "cactus", "canvas", "fire hydrant", "rhinoceros"]
)
def test_singulars_that_end_in_s(tag):
    noun = Noun.from_tag(tag)
    assert not noun.plural
    assert noun.phrase() == f"a {tag}"
    assert noun.verb("is_") == "is"
    assert noun.verb("moves") == "moves"


def test_mass_nouns_take_no_article_but_a_singular_verb():
    noun = Noun.from_tag("furniture")
    assert noun.phrase("brown") == "brown furniture"
    assert noun.verb("is_") == "is"


@pytest.mark.parametrize(
    ("tag", "pronoun"),
    [("object", "it"), ("dog", "it"), ("man", "he"), ("woman", "she"), ("person", None), ("cups", "they")],
)
def test_pronouns(tag, pronoun):
    assert Noun.from_tag(tag).pronoun == pronoun


def test_people_are_known_in_both_numbers():
    assert all(Noun.from_tag(tag).person for tag in ("person", "skiers", "young woman", "people"))
    assert not any(Noun.from_tag(tag).person for tag in ("object", "dog", "cups", "bus"))


def test_a_tag_is_tidied_and_needs_a_word():
    assert Noun.from_tag("  fire   hydrant ").text == "fire hydrant"
    with pytest.raises(ValueError, match="holds no word"):
        Noun.from_tag(" 12 ")


def test_only_the_first_letter_is_raised():
    assert capitalised("the TV is on.") == "The TV is on."
