"""Names over several frames, riders and mounts."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from models.coco import COCO_NAMES
from models.named_things import FollowingSettings, NamedThing, RidingSettings, named_over_frames, with_riders
from models.protocols import Box


def thing(box: Box, **scores: float) -> NamedThing:
    vector = np.zeros(80, np.float32)
    for name, score in scores.items():
        vector[COCO_NAMES.index(name.replace("_", " "))] = score
    return NamedThing(box, vector)


def moved(by: float) -> Box:
    return (by, 0, 100 + by, 100)


def test_the_mean_over_frames_names_a_thing() -> None:
    looks = [
        [thing(moved(0), sheep=0.5, dog=0.3)],
        [thing(moved(20), cat=0.6, dog=0.3)],
        [thing(moved(40), dog=0.7)],
    ]
    assert looks[0][0].name == "sheep"
    (named,) = named_over_frames(looks, FollowingSettings())
    assert named.name == "dog"
    assert named.score == pytest.approx((0.3 + 0.3 + 0.7) / 3)
    assert named.box == moved(0)
    assert looks[0][0].score == pytest.approx(0.5)


def test_a_thing_is_followed_from_look_to_look() -> None:
    looks = [[thing(moved(60 * step), bird=0.6), thing((500, 0, 600, 100), kite=0.9)] for step in range(4)]
    bird, kite = named_over_frames(looks, FollowingSettings())
    assert (bird.name, bird.score) == ("bird", pytest.approx(0.6))
    assert (kite.name, kite.score) == ("kite", pytest.approx(0.9))
    far = [looks[0], looks[3]]
    assert named_over_frames(far, FollowingSettings())[0].score == pytest.approx(0.3)


def test_what_flickers_up_loses_and_what_comes_later_is_no_thing_of_the_first_frame() -> None:
    looks = [[thing(moved(0), bird=0.4)], [], [thing((300, 300, 400, 400), dog=0.9)], []]
    (named,) = named_over_frames(looks, FollowingSettings())
    assert (named.name, named.score) == ("bird", pytest.approx(0.1))
    assert named_over_frames([[], looks[0]], FollowingSettings()) == []


def test_two_things_are_not_seen_as_the_same_one() -> None:
    near, far = thing(moved(10), bear=0.4), thing(moved(60), sheep=0.4)
    bear, sheep = named_over_frames([[far, near], [thing(moved(0), dog=0.9)]], FollowingSettings())[::-1]
    assert (bear.name, bear.score) == ("dog", pytest.approx(0.45))
    assert (sheep.name, sheep.score) == ("sheep", pytest.approx(0.2))


def test_an_image_keeps_its_scores() -> None:
    (named,) = named_over_frames([[thing(moved(0), cup=0.4)]], FollowingSettings())
    assert (named.name, named.score) == ("cup", pytest.approx(0.4))


def test_frames_begin_after_the_first() -> None:
    with pytest.raises(ValidationError):
        FollowingSettings(frames=(0, 2))


HORSE, JOCKEY = (100, 100, 300, 250), (180, 40, 230, 160)
BICYCLE, CYCLIST = (100, 150, 200, 220), (110, 50, 190, 210)


def test_the_larger_one_names_rider_and_mount() -> None:
    horse, jockey = thing(HORSE, horse=0.7), thing(JOCKEY, person=0.9)
    (both,) = with_riders([jockey, horse], RidingSettings())
    assert (both.name, both.score, both.box) == ("horse", pytest.approx(0.7), (100, 40, 300, 250))
    bicycle, cyclist = thing(BICYCLE, bicycle=0.8), thing(CYCLIST, person=0.6)
    (both,) = with_riders([bicycle, cyclist], RidingSettings())
    assert (both.name, both.score, both.box) == ("person", pytest.approx(0.6), (100, 50, 200, 220))


def test_two_may_ride_one_and_a_rider_rides_one() -> None:
    riders = [thing(JOCKEY, person=0.9), thing((220, 50, 270, 160), person=0.8)]
    (all_three,) = with_riders([thing(HORSE, horse=0.7), *riders], RidingSettings())
    assert all_three.box == (100, 40, 300, 250)
    horses = [thing((0, 140, 200, 300), horse=0.9), thing(HORSE, horse=0.7)]
    merged = with_riders([*horses, riders[0]], RidingSettings())
    assert [one.box for one in merged] == [(0, 140, 200, 300), (100, 40, 300, 250)]


@pytest.mark.parametrize(
    ("box", "name", "other"),
    [
        (JOCKEY, "person", "car"),
        (JOCKEY, "dog", "horse"),
        ((20, 100, 110, 260), "person", "horse"),
        ((400, 40, 450, 160), "person", "horse"),
    ],
)
def test_who_does_not_ride_stays_apart(box: Box, name: str, other: str) -> None:
    things = [thing(HORSE, **{other: 0.7}), thing(box, **{name: 0.9})]
    assert with_riders(things, RidingSettings()) == things
