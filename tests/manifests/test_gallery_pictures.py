"""Masks drawn on pictures."""

from __future__ import annotations

import numpy as np
from written_dataset import block

from manifests.gallery_pictures import (
    DELETION,
    FILL,
    close_up,
    fit_mask,
    hatched,
    marked,
    masked_out,
    outlined,
    shrink,
)


def test_a_small_mask_survives_shrinking():
    mask = block(640, 960, 100, 100, 3)
    assert fit_mask(mask, np.zeros((64, 96, 3), np.uint8)).sum() == 0
    assert fit_mask(block(640, 960, 100, 100, 9), np.zeros((64, 96, 3), np.uint8)).sum() == 1


def test_drawing_leaves_the_given_picture_alone():
    image = np.full((40, 60, 3), 90, np.uint8)
    mask = block(40, 60, 10, 10, 15)
    for draw in (lambda: marked(image, mask, DELETION), lambda: hatched(image, mask, DELETION)):
        assert np.any(draw() != image)
        assert np.all(image == 90)
    assert masked_out(image, mask)[12, 12].sum() == 0
    assert np.array_equal(masked_out(image, mask)[~mask], image[~mask])
    assert shrink(image, 100) is image


def test_a_close_up_holds_the_mask_in_the_frames_proportions():
    window = close_up(block(480, 640, 600, 440, 40))
    assert (window.width, window.height) == (128, 96)
    assert (window.x + window.width, window.y + window.height) == (640, 480)
    assert close_up(block(480, 640, 0, 0, 400)) == (0, 0, 640, 480)
    assert close_up(np.zeros((480, 640), np.bool_)) == (0, 0, 640, 480)


def test_a_marked_thing_keeps_its_colours():
    image = np.full((120, 240, 3), (240, 200, 20), np.uint8)
    inside = marked(image, block(120, 240, 40, 20, 60), (64, 224, 128))[40:60, 60:80].astype(int)
    assert FILL <= 0.12
    assert 0 < np.abs(inside - image[0, 0]).max() <= 0.12 * 255


def test_a_thin_outline_has_its_full_colour():
    image = np.full((120, 240, 3), 90, np.uint8)
    drawn = outlined(image, block(120, 240, 40, 20, 60), (255, 255, 255), thin=True)
    assert np.all(drawn[20, 40:100] == 255)
    assert np.all(drawn[40:60, 60:80] == 90)
