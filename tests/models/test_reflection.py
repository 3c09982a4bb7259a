"""Mirror images are cut off; things that are merely alike above and below, or pale at their feet, are not."""

from __future__ import annotations

import cv2
import numpy as np

from models.reflection import ReflectionSettings, without_reflection

SETTINGS = ReflectionSettings()
WATER = (60, 100, 110)
LINE = 90
"""Row of the water line in a picture of 160 × 240."""


def toy(image, top=LINE, opacity=1.0, flip=False):
    """Draw a two-coloured figure with a dark eye that stands on row `top` (upside down below it with `flip`)."""
    layer = image.copy()
    down = 1 if flip else -1
    cv2.ellipse(layer, (120, top + down * 18), (44, 18), 0, 0, 360, (230, 200, 40), -1)
    cv2.circle(layer, (145, top + down * 45), 15, (200, 60, 40), -1)
    cv2.circle(layer, (150, top + down * 48), 4, (20, 20, 20), -1)
    mask = np.any(layer != image, axis=2)
    return np.rint(opacity * layer + (1 - opacity) * image).astype(np.uint8), mask


def pond(seed=0):
    noise = np.random.default_rng(seed).normal(0, 4, (160, 240, 3))
    return np.clip(np.array(WATER) + noise, 0, 255).astype(np.uint8)


def test_a_mirror_image_is_cut_at_the_water_line():
    image, mirror = toy(pond(), opacity=0.5, flip=True)
    image, thing = toy(image)
    kept = without_reflection(image, thing | mirror, SETTINGS)
    assert np.count_nonzero(kept ^ thing) < 0.06 * np.count_nonzero(thing)


def test_a_thing_without_mirror_image_stays_whole():
    image, thing = toy(pond())
    assert np.array_equal(without_reflection(image, thing, SETTINGS), thing)


def test_an_equally_strong_lower_half_is_part_of_the_thing():
    image, lower = toy(pond(), flip=True)
    image, upper = toy(image)
    whole = upper | lower
    assert np.array_equal(without_reflection(image, whole, SETTINGS), whole)


def test_a_pale_lower_part_that_mirrors_nothing_stays():
    image, lower = toy(pond(), top=LINE - 64, opacity=0.4, flip=True)
    lower = np.roll(lower, 64, axis=0)
    image = np.roll(image, 64, axis=0)
    rng = np.random.default_rng(1)
    image[lower] = np.clip(image[lower] + rng.normal(0, 25, (int(lower.sum()), 1)), 0, 255).astype(np.uint8)
    image, upper = toy(image)
    upside_down = image.copy()
    upside_down[:LINE] = upside_down[:LINE][::-1]
    turned = upper.copy()
    turned[:LINE] = turned[:LINE][::-1]
    whole = turned | lower
    assert np.array_equal(without_reflection(upside_down, whole, SETTINGS), whole)


def test_masks_too_small_to_judge_stay():
    mask = np.zeros((160, 240), np.bool_)
    assert without_reflection(pond(), mask, SETTINGS) is mask
    mask[50:60, 50:60] = True
    assert without_reflection(pond(), mask, SETTINGS) is mask
