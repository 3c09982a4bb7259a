"""What moves comes first, and its moving part is its seed."""

from __future__ import annotations

import numpy as np
import pytest

from models.coco import COCO_NAMES
from models.motion_ranking import RankedThing, RankingSettings, rank_by_motion
from models.named_things import NamedThing
from models.protocols import Box

SIZE = (480, 854)
LEFT, RIGHT = (40, 80, 240, 320), (500, 80, 700, 320)


def thing(box: Box, name: str, score: float) -> NamedThing:
    scores = np.zeros(80, np.float32)
    scores[COCO_NAMES.index(name)] = score
    return NamedThing(box, scores)


def moving(*boxes: Box, level: float = 0.9) -> np.ndarray:
    """A half-size map with the middle of each box moving."""
    motion = np.zeros((240, 427), np.float32)
    for x0, y0, x1, y1 in boxes:
        inset_x, inset_y = (x1 - x0) / 8, (y1 - y0) / 8
        rows = slice(int((y0 + inset_y) / 2), int((y1 - inset_y) / 2))
        motion[rows, int((x0 + inset_x) / 2) : int((x1 - inset_x) / 2)] = level
    return motion


def rank(things: list[NamedThing], motion: np.ndarray, **changes: float) -> list[RankedThing]:
    return rank_by_motion(things, motion, SIZE, RankingSettings(**changes))


def names(ranked: list[RankedThing]) -> list[str]:
    return [entry.thing.name for entry in ranked]


def test_what_moves_comes_before_what_is_surer() -> None:
    things = [thing(LEFT, "chair", 0.9), thing(RIGHT, "dog", 0.5)]
    dog, chair = rank(things, moving(RIGHT))
    assert (dog.thing, chair.thing) == (things[1], things[0])
    assert chair.seed is None
    assert dog.seed is not None
    assert dog.seed.shape == (240, 427)
    rows, columns = np.nonzero(dog.seed)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((262, 55, 337, 145), abs=4)
    assert names(rank(things, moving(RIGHT), still_weight=1)) == ["chair", "dog"]


def test_without_motion_scores_decide() -> None:
    things = [thing(LEFT, "chair", 0.5), thing(RIGHT, "dog", 0.9), thing((300, 0, 400, 100), "cup", 0.1)]
    ranked = rank(things, np.zeros((240, 427), np.float32))
    assert names(ranked) == ["dog", "chair"]
    assert [entry.seed for entry in ranked] == [None, None]


def test_a_moving_thing_may_be_less_sure() -> None:
    unsure = [thing(LEFT, "dog", 0.1)]
    assert rank(unsure, moving(RIGHT)) == []
    assert names(rank(unsure, moving(LEFT))) == ["dog"]


def test_a_couch_does_not_move_because_a_child_on_it_does() -> None:
    couch, child = thing((100, 200, 700, 470), "couch", 0.9), thing((300, 60, 440, 400), "person", 0.8)
    ranked = rank([couch, child], moving(child.box))
    assert names(ranked) == ["person", "couch"]
    assert ranked[0].seed is not None
    assert ranked[1].seed is None


def test_a_ball_in_front_of_its_player_moves_too() -> None:
    player, ball = thing((300, 40, 500, 440), "person", 0.9), thing((330, 200, 410, 280), "sports ball", 0.6)
    ranked = rank([player, ball], moving(player.box))
    assert names(ranked) == ["person", "sports ball"]
    assert all(entry.seed is not None for entry in ranked)
    assert np.count_nonzero(ranked[1].seed) < np.count_nonzero(ranked[0].seed)


def test_a_moving_hand_is_no_seed_of_a_person() -> None:
    person = thing((300, 40, 500, 440), "person", 0.9)
    hand = moving((300, 40, 420, 280))
    assert rank([person], hand)[0].seed is None
    assert rank([person], hand, min_fit=0.1, min_fill=0.1)[0].seed is not None
    speck = moving((300, 40, 340, 80), (460, 400, 500, 440))
    assert rank([person], speck, min_motion=0.001)[0].seed is None


def test_specks_are_left_out_and_the_frames_edge_is_no_trap() -> None:
    edge = thing((850, 470, 854, 480), "dog", 0.9)
    assert rank([edge], moving(LEFT)) == []
    (kept,) = rank([edge], moving(LEFT), min_area=0)
    assert kept.seed is None
    assert rank([], moving(LEFT)) == []
