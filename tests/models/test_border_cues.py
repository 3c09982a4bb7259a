"""Colours of the border against the middle."""

from __future__ import annotations

import cv2
import numpy as np

from models.border_cues import BorderSettings, border_contrast, border_distance

SETTINGS = BorderSettings()
GREEN, RED = (60, 140, 70), (200, 50, 40)


def lawn_with_disc() -> tuple[np.ndarray, np.ndarray]:
    """A green frame with a red disc in its middle, and the disc."""
    rows, columns = np.mgrid[:240, :427]
    disc = (rows - 120) ** 2 + (columns - 210) ** 2 < 45**2
    image = np.full((240, 427, 3), GREEN, np.uint8)
    image[disc] = RED
    return image, disc


def test_a_thing_of_another_colour_stands_out_and_the_border_does_not() -> None:
    image, disc = lawn_with_disc()
    contrast = border_contrast(image, SETTINGS)
    assert contrast.shape == (240, 427)
    assert contrast[disc].mean() > 0.9
    assert contrast[:14].max() < 0.05
    distance = border_distance(image, SETTINGS)
    assert distance[disc].mean() > 60
    assert distance[:100, :100].max() < 5


def test_a_colour_that_reaches_the_border_is_at_no_distance() -> None:
    image = np.full((240, 427, 3), GREEN, np.uint8)
    image[80:160] = RED
    assert border_distance(image, SETTINGS)[100:140].max() < 5


def test_grain_is_nearer_to_the_border_than_any_thing() -> None:
    grain = np.random.default_rng(3).integers(0, 256, (240, 427, 3), dtype=np.uint8)
    assert border_distance(grain, SETTINGS).max() < 5


def test_no_colour_at_all_gives_zeros() -> None:
    black = np.zeros((240, 427, 3), np.uint8)
    assert not border_contrast(black, SETTINGS).any()
    assert not border_distance(black, SETTINGS).any()


def test_the_cues_do_not_depend_on_a_random_generator() -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 214, 3), dtype=np.uint8)
    results = []
    for seed in (1, 2):
        cv2.setRNGSeed(seed)
        results.append(border_contrast(image, SETTINGS).tobytes() + border_distance(image, SETTINGS).tobytes())
    assert results[0] == results[1]
