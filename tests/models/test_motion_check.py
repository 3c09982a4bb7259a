"""True motions of a textured place are confirmed, wrong ones and bare places are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.motion_check import MotionCheckSettings, agree, confirmed, where_it_holds
from models.point_flow import LucasKanade, to_gray

HEIGHT, WIDTH, FRAMES = 180, 320, 12


def shift(x, y=0.0):
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def textured(seed=0):
    noise = np.random.default_rng(seed).random((HEIGHT // 4, WIDTH // 4)).astype(np.float32)
    return np.rint(60 + 140 * cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)).clip(0, 255)


def panned(step, picture=None):
    """Frames and the homographies of a camera under which everything moves by `step` pixels to the right a frame."""
    picture = textured() if picture is None else picture
    motions = [shift(step * t) for t in range(FRAMES)]
    frames = [
        cv2.warpPerspective(picture, m, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)
        for m in motions
    ]
    return frames, motions


@pytest.fixture
def region():
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[60:130, 90:190] = True
    return mask


def test_the_true_motion_is_confirmed(region):
    frames, motions = panned(1.5)
    assert confirmed(frames, region, motions)


def test_a_sliding_motion_is_not(region):
    frames, _ = panned(1.5)
    slower = [shift(1.3 * t) for t in range(FRAMES)]
    assert not confirmed(frames, region, slower)
    assert confirmed(frames, region, slower, settings=MotionCheckSettings(max_disagreement=0.02))


def test_a_flow_may_see_colour(region):
    frames, motions = panned(1.5)
    seen = set()

    def flow(first, second, points):
        seen.update((first.shape, second.shape))
        return LucasKanade()(to_gray(first), to_gray(second), points)

    coloured = [cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) for frame in frames]
    assert confirmed(coloured, region, motions, point_flow=flow)
    assert not confirmed(coloured, region, [shift(1.3 * t) for t in range(FRAMES)], point_flow=flow)
    assert seen == {(HEIGHT, WIDTH, 3)}


def test_a_bare_place_confirms_nothing(region):
    frames, motions = panned(1.5, np.full((HEIGHT, WIDTH), 128.0))
    assert not confirmed(frames, region, motions)


def test_a_region_over_two_depths_confirms_neither(region):
    frames, motions = panned(1.5)
    near = textured(1).astype(np.uint8)
    for t, frame in enumerate(frames):
        moved = cv2.warpPerspective(near, shift(5.0 * t), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        frame[95:] = moved[95:]
    assert not confirmed(frames, region, motions)
    assert not confirmed(frames, region, [shift(5.0 * t) for t in range(FRAMES)])


def test_points_on_one_side_do_not_speak_for_the_other(region):
    """Sand under a bare sky: all corners lie on the sand, whatever the sky does."""
    frames, motions = panned(1.5)
    for frame in frames:
        frame[:110] = 128
    assert not confirmed(frames, region, motions)
    assert confirmed(frames, region, motions, settings=MotionCheckSettings(min_covered=0.4))
    region[:110] = False
    assert confirmed(frames, region, motions)


def test_one_motion_of_the_whole_frame_holds_everywhere():
    frames, motions = panned(1.5)
    holds = where_it_holds(frames, motions)
    assert holds.shape == (HEIGHT, WIDTH)
    assert holds[20:-20, 20:-20].all()
    assert where_it_holds(frames, [shift(1.0 * t) for t in range(FRAMES)]) is None
    bare = [np.full_like(frame, 128) for frame in frames]
    assert where_it_holds(bare, motions) is None, "nothing says so"


def test_a_motion_holds_among_the_points_that_have_it():
    """The sky is bare: it may be far away."""
    frames, motions = panned(1.5)
    for frame in frames:
        frame[:80] = 128
    holds = where_it_holds(frames, motions)
    assert not holds[:75].any()
    assert holds[100:-20, 20:-20].all()
    for frame in frames:
        frame[:80] = 128
        frame[100:160, 100:200] = 128
    holds = where_it_holds(frames, motions)
    assert holds[100:160, 100:200].all(), "a bare place among texture moves with it"


def test_two_depths_do_not_move_as_one():
    frames, motions = panned(1.5)
    near = textured(1).astype(np.uint8)
    for t, frame in enumerate(frames):
        moved = cv2.warpPerspective(near, shift(3.0 * t), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        frame[130:] = moved[130:]
    assert where_it_holds(frames, motions) is None
    excluded = np.zeros((HEIGHT, WIDTH), np.bool_)
    excluded[130:] = True
    holds = where_it_holds(frames, motions, [excluded] * FRAMES)
    assert holds[20:100, 20:-20].all()
    assert not holds[130:].any()


def test_a_small_thing_that_nobody_found_is_allowed():
    frames, motions = panned(1.5)
    thing = textured(2).astype(np.uint8)
    for t, frame in enumerate(frames):
        frame[20:60, 200 - 4 * t : 250 - 4 * t] = thing[20:60, 200:250]
    assert where_it_holds(frames, motions) is not None


def test_points_that_something_covers_do_not_count(region):
    frames, motions = panned(1.5)
    rng = np.random.default_rng(3)
    covers = []
    for t, frame in enumerate(frames):
        cover = np.zeros((HEIGHT, WIDTH), np.bool_)
        cover[60:130, 190 - 9 * t :] = True
        frame[cover] = rng.integers(0, 255, int(cover.sum()))
        covers.append(cover)
    assert confirmed(frames, region, motions, covers)
    assert not confirmed(frames, region, motions)


def test_motions_agree_within_the_tolerance(region):
    assert agree(region, shift(3.0), shift(3.2))
    assert not agree(region, shift(3.0), shift(4.0))
