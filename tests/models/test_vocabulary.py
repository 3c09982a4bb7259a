"""The vocabularies of entities and background: the shipped files, and files of one's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from models.vocabulary import Vocabularies, shipped_words

TAGS = ["dog", "Border collie", "sky", "road", "running"]


@pytest.mark.parametrize("name", ["entities", "background"])
def test_a_shipped_file_states_its_rule_and_is_in_order_without_repeats(name: str) -> None:
    text = files("models").joinpath("vocabulary", f"{name}.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    words = shipped_words(name)
    head = [line for line in lines if line.startswith("#")]
    assert lines == head + words
    assert any("The rule:" in line for line in head)
    assert words == sorted(words, key=lambda word: (word.casefold(), word))
    assert len({word.casefold() for word in words}) == len(words)


def test_no_shipped_word_is_both() -> None:
    entities, background = ({word.casefold() for word in shipped_words(name)} for name in ("entities", "background"))
    assert not entities & background
    assert len(entities) > 2000
    assert len(background) > 200


def test_every_shipped_word_is_literally_one_of_rams(shared_data: Path) -> None:
    tags = (shared_data / "weights" / "ram_tag_list.txt").read_text(encoding="utf-8").splitlines()
    for name in ("entities", "background"):
        assert set(shipped_words(name)) <= set(tags)
    loaded = Vocabularies.load(tags)
    assert loaded.entities == frozenset(shipped_words("entities"))
    assert loaded.background == frozenset(shipped_words("background"))


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        (
            "entities",
            "person woman dog bird car bicycle boat chair lamp umbrella cup pizza apple coat hat tree flower sign toy "
            "house bridge statue door drone guitar",
            "sky grass hand beard wheel kitchen city snow wood red running beautiful crowd furniture rain cartoon love",
        ),
        (
            "background",
            "sky cloud sea river lake beach sand snow grass field forest mountain road path wall floor ceiling carpet "
            "court stage fence roof",
            "dog car kitchen city park airport night wood fog landscape blue",
        ),
    ],
)
def test_plain_cases_are_on_their_side(name: str, inside: str, outside: str) -> None:
    words = set(shipped_words(name))
    assert set(inside.split()) <= words
    assert not set(outside.split()) & words


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_own_files_are_matched_whatever_their_case(tmp_path: Path) -> None:
    entities = written(tmp_path / "entities.txt", "# pets\n\n  DOG \nborder Collie\ndog\n")
    background = written(tmp_path / "background.txt", "\ufeffsky\n")
    assert Vocabularies.load(TAGS, entities, background) == Vocabularies(
        frozenset({"dog", "Border collie"}), frozenset({"sky"})
    )


@pytest.mark.parametrize(
    ("entities", "sentence"),
    [
        (
            "dog\nborder coli\n",
            r"'border coli' in the vocabulary .*entities\.txt is no tag .* nearest is 'Border collie'$",
        ),
        ("# nothing\n", r"the vocabulary .*entities\.txt names no tag$"),
        ("dog\nSky\n", r"entity or background, not both: sky$"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path: Path, entities: str, sentence: str) -> None:
    background = written(tmp_path / "background.txt", "sky\nroad\n")
    with pytest.raises(ValueError, match=sentence):
        Vocabularies.load(TAGS, written(tmp_path / "entities.txt", entities), background)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the vocabulary .*absent\.txt cannot be read"):
        Vocabularies.load(TAGS, tmp_path / "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"dog\xff\xfe\n")
    with pytest.raises(ValueError, match=r"the vocabulary .*binary\.txt cannot be read"):
        Vocabularies.load(TAGS, tmp_path / "binary.txt")


def test_the_shipped_files_need_a_tagger_that_knows_their_words() -> None:
    with pytest.raises(ValueError, match=r"'3D glasses' in the vocabulary models/vocabulary/entities\.txt is no tag"):
        Vocabularies.load(TAGS)
