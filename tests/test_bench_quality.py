"""The quality bench judges: right statements pass, wrong ones do not, and figures come out as they must."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.demo import DEMO_SCENES, render_scene

sys.path.insert(0, str(Path(__file__).parent / "bench"))

from quality_captions import faults
from quality_deletion import true_mask
from quality_masks import Carried, carry, cycle_table, propagation_table
from quality_statements import Known, statements, terms_of, turns
from quality_tables import Table, Target

SIZE = (90, 160)


@pytest.fixture(scope="module")
def car() -> Known:
    """The blue car that crosses the street from the left to the right."""
    spec = next(scene for scene in DEMO_SCENES if scene.name == "street_blue_car")
    return Known(render_scene(spec, SIZE, 10)[1], 0)


@pytest.mark.parametrize(
    ("caption", "kinds", "right"),
    [
        ("A blue and black object is in the lower left of the frame at first.", "colour other colour place", True),
        ("A green object is in the upper left of the frame at first.", "colour other colour place", False),
        ("The object moves to the right.", "motion", True),
        ("The object moves upwards.", "motion", False),
        ("It first moves to the left and then back to the right.", "motion", False),
        ("It keeps to one spot.", "motion", False),
        ("Later, it is on the right side of the frame.", "later place", False),
        ("Later, it is in the lower right of the frame.", "later place", True),
        ("It covers about half of the frame.", "extent", False),
        ("A small wide object is here.", "shape", True),
        ("Its outline is taller than it is wide.", "shape", False),
        ("It becomes larger in the frame.", "growth", False),
    ],
)
def test_statements_are_judged_by_the_truth(car: Known, caption: str, kinds: str, right: bool) -> None:
    judged = {
        statement.kind: bool(statement.right) for statement in statements(caption, car) if statement.kind in kinds
    }
    assert judged
    assert all(value == right for value in judged.values()), judged


def test_paint_has_the_words_people_use_for_it() -> None:
    assert terms_of((238, 236, 230)) == {"white"}
    assert terms_of((246, 240, 226)) == {"white", "light grey"}
    assert "blue" in terms_of((70, 110, 190))
    assert "brown" in terms_of((130, 86, 48))


def test_turns_are_counted_beyond_the_least_way() -> None:
    assert turns(np.array([0.0, 1, 2, 3]), 0.5) == 0
    assert turns(np.array([0.0, 1, 0.9, 2, 0, 2]), 0.5) == 2


@pytest.mark.parametrize(
    "caption",
    [
        "A object is here. It is red. It moves.",
        "An object is here. It are red. It moves.",
        "An object is here. It moves.",
        "An object is here. it is red. It moves.",
        "An object is here. It is is red. It moves.",
    ],
)
def test_faulty_grammar_is_found(caption: str) -> None:
    assert faults(caption)
    assert not faults("An object is here. It is red. It moves to the left.")


def test_true_first_masks_are_carried_and_measured() -> None:
    spec = next(scene for scene in DEMO_SCENES if scene.name == "wall_black_cat")
    frames, truth = render_scene(spec, SIZE, 5)
    (figures,) = carry("cat", list(frames), [list(truth.entities[0].masks.masks())])
    assert figures.frames == 5
    assert 0 < figures.mean_j <= 1
    assert 0 < figures.cycle <= 1
    table = propagation_table("carried", [figures], judged=True)
    assert table.rows[-1][2] == pytest.approx(figures.mean_j)


def test_kept_and_dropped_tracks_are_told_apart() -> None:
    figures = [Carried("a", 9, 0.9, 0.9, 0.8, 1.0), Carried("b", 9, 0.3, 0.2, 0.1, 1.0)]
    table = cycle_table({"davis": figures}, 0.5)
    assert table.rows[-1] == ("all", 1, 0.9, 1, 0.3)
    assert all(target.reached for target in table.targets)


def test_the_true_mask_goes_with_the_camera() -> None:
    spec = next(scene for scene in DEMO_SCENES if scene.name == "meadow_red_ball")
    _, truth = render_scene(spec, SIZE, 3)
    first = np.zeros(SIZE, np.bool_)
    first[40:60, 70:100] = True
    assert np.array_equal(true_mask(truth, first, 0), first)
    assert np.count_nonzero(true_mask(truth, first, 2) ^ first) > 50


def test_tables_say_what_was_missed() -> None:
    table = Table("figures", ("name", "value"), [("a", 0.51234), ("b", None)], [Target("value", 0.5, 0.6)])
    assert "| a | 0.512 |" in table.markdown()
    assert "MISSED: value 0.5 (≥ 0.6)" in table.markdown()
    assert json.loads(json.dumps(table.document()))["targets"][0]["reached"] is False
