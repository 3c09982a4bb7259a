"""Names of entities on the contact sheet."""

from __future__ import annotations

import pytest
from manifest_rows import example

from manifests.gallery_names import LONGEST, entity_names, letter, looks
from manifests.records import TrackRow


@pytest.mark.parametrize(("index", "name"), [(0, "A"), (2, "C"), (25, "Z"), (26, "AA"), (52, "BA"), (79, "CB")])
def test_letters_go_on_after_z(index: int, name: str) -> None:
    assert letter(index) == name


@pytest.mark.parametrize(
    ("tag", "caption", "name"),
    [
        ("object", "a small purple and white object", "small purple and white"),
        ("object", "An orange object", "orange"),
        ("object", "the object with a handle.", "with a handle"),
        ("object", "an object", "object"),
        ("object", "an objective lens", "objective lens"),
        ("object", None, "object"),
        ("dog", "a small brown dog", "dog"),
    ],
)
def test_a_nameless_thing_is_called_by_its_looks(tag: str, caption: str | None, name: str) -> None:
    assert looks(example(TrackRow, tag=tag, caption_medium=caption)) == name


def test_long_descriptions_are_cut() -> None:
    name = looks(example(TrackRow, tag="object", caption_medium="a " + "very " * 40 + "red object"))
    assert len(name) == LONGEST
    assert name.endswith("…")


def test_entities_are_lettered_in_their_order() -> None:
    tracks = [example(TrackRow, track_id=name, tag=tag) for name, tag in (("x-00", "dog"), ("x-03", "dog"))]
    assert entity_names(tracks) == {"x-00": "A: dog", "x-03": "B: dog"}
