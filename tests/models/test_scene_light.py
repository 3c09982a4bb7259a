"""What is white under a coloured light, and what only is when the light is."""

from __future__ import annotations

import numpy as np

from models.colour_names import oklab
from models.scene_light import LightSettings, chroma_ratio, is_neutral, scene_light

SETTINGS = LightSettings()
PINK_LIGHT = np.array([1.06, 0.84, 0.98])
"""Gain of red, green and blue."""


def scene(gain):
    """A scene of dull colours with some white in it, and a mask in a corner."""
    rng = np.random.default_rng(0)
    image = rng.integers(40, 150, (60, 80, 3)).astype(np.float64)
    image[20:30, 30:45] = 240
    mask = np.zeros((60, 80), np.bool_)
    mask[40:, 60:] = True
    return np.clip(image * gain, 0, 255).astype(np.uint8), mask


def tint_of(rgb):
    return chroma_ratio(oklab(np.array([rgb], np.float64)), SETTINGS)[0]


def test_white_paint_is_neutral_in_the_light_it_stands_in():
    light = scene_light(*scene(PINK_LIGHT), SETTINGS)
    assert is_neutral(tint_of(np.minimum(255, 225 * PINK_LIGHT)), light, SETTINGS)
    assert is_neutral(tint_of(110 * PINK_LIGHT), light, SETTINGS)


def test_the_same_tint_is_paint_in_white_light():
    light = scene_light(*scene(np.ones(3)), SETTINGS)
    assert light.tint is not None
    assert not light.tint.any()
    assert not is_neutral(tint_of(np.minimum(255, 225 * PINK_LIGHT)), light, SETTINGS)
    assert is_neutral(tint_of((200, 198, 196)), light, SETTINGS)


def test_another_pale_tint_is_paint_in_coloured_light():
    light = scene_light(*scene(PINK_LIGHT), SETTINGS)
    assert not is_neutral(tint_of((180, 225, 190)), light, SETTINGS)


def test_without_white_the_light_is_unknown_and_judged_mildly():
    unknown = scene_light(*scene(np.array([1.0, 0.6, 0.3])), SETTINGS)
    assert unknown.tint is None
    white = scene_light(*scene(np.ones(3)), SETTINGS)
    faint = tint_of((212, 184, 166))
    assert is_neutral(faint, unknown, SETTINGS)
    assert not is_neutral(faint, white, SETTINGS)
    assert not is_neutral(tint_of((210, 180, 140)), unknown, SETTINGS)


def test_the_thing_itself_does_not_count_as_light():
    image, mask = scene(np.ones(3))
    image[mask] = (255, 215, 250)
    light = scene_light(image, mask, SETTINGS)
    assert light.tint is not None
    assert not light.tint.any()


def test_dark_scenes_do_not_make_grey_white():
    image = np.full((40, 40, 3), 30, np.uint8)
    light = scene_light(image, np.zeros((40, 40), np.bool_), SETTINGS)
    assert light.white == SETTINGS.least_white
