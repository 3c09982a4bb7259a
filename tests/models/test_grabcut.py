"""Masks from seeds and boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from manifests.masks import iou
from models.grabcut import GrabCutSegmenter, GrabCutSettings
from models.protocols import Detection

SEGMENTER = GrabCutSegmenter(GrabCutSettings())


def scene(height: int = 720, width: int = 1280) -> tuple[np.ndarray, np.ndarray]:
    """A red ellipse on a green ground, both grainy, and the ellipse."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 6, height // 4), 20, 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, (190, 60, 50), (70, 130, 80)).astype(np.float32)
    image += np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask > 0


def widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def detection(seed: np.ndarray, refine: bool = True) -> Detection:
    rows, columns = np.nonzero(seed)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    return Detection(box, "object", 0.5, seed, refine)


@pytest.mark.parametrize("size", [(720, 1280), (480, 270), (64, 96)])
def test_a_rough_seed_becomes_the_thing(size: tuple[int, int]) -> None:
    image, thing = scene(*size)
    shift = size[0] // 40
    seed = np.roll(widened(thing, size[0] // 24), (shift, shift), (0, 1))
    (mask,) = SEGMENTER.segment(image, [detection(seed)])
    assert mask.shape == size
    assert mask.dtype == np.bool_
    assert iou(seed, thing) < 0.8
    assert iou(mask, thing) > 0.93


def test_the_outline_of_a_large_frame_is_no_staircase() -> None:
    image, thing = scene()
    (mask,) = SEGMENTER.segment(image, [detection(widened(thing, 30))])
    assert iou(mask, thing) > 0.98
    lengths = []
    for outline in (mask, thing):
        contours, _ = cv2.findContours(outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corners = cv2.approxPolyDP(contours[0], 1.5, True)
        lengths.append(len(corners))
    # Steps of three pixels, as a 427-pixel mask enlarged has them, would need several times the ellipse's corners.
    assert lengths[0] < 2 * lengths[1]


def test_a_box_without_a_seed_is_enough() -> None:
    image, thing = scene(360, 640)
    rows, columns = np.nonzero(thing)
    box = (columns.min() - 5.0, rows.min() - 5.0, columns.max() + 6.0, rows.max() + 6.0)
    (mask,) = SEGMENTER.segment(image, [Detection(box, "object", 0.5)])
    assert iou(mask, thing) > 0.95


def test_small_holes_are_filled_large_ones_kept_and_specks_dropped() -> None:
    mask = np.zeros((240, 427), np.uint8)
    mask[60:180, 120:300] = 1
    mask[80:150, 140:220] = 0
    mask[100:106, 250:256] = 0
    mask[20:24, 20:24] = 1
    image = np.where(mask[..., None] > 0, (190, 60, 50), (70, 130, 80)).astype(np.uint8)
    (found,) = SEGMENTER.segment(image, [detection(mask > 0)])
    assert not found[85:145, 145:215].any()
    assert found[98:108, 248:258].all()
    assert not found[:40, :40].any()


def test_a_finished_mask_is_handed_back() -> None:
    image, thing = scene(240, 426)
    seed = widened(thing, 9)
    (mask,) = SEGMENTER.segment(image, [detection(seed, refine=False)])
    assert np.array_equal(mask, seed)
    assert mask is not seed


def test_where_colours_say_nothing_the_seed_stands() -> None:
    image = np.random.default_rng(5).integers(0, 40, (240, 427, 3), dtype=np.uint8)
    cv2.circle(image, (210, 120), 12, (250, 250, 250), -1)
    seed = np.zeros((240, 427), np.uint8)
    cv2.circle(seed, (210, 120), 70, 1, -1)
    settings = GrabCutSettings(core_depth=0.95)
    (mask,) = GrabCutSegmenter(settings).segment(image, [detection(seed > 0)])
    assert iou(mask, seed > 0) > 0.9


@pytest.mark.parametrize("empty", [True, False])
def test_empty_and_frame_filling_seeds_do_no_harm(empty: bool) -> None:
    image, thing = scene(240, 426)
    seed = np.zeros_like(thing) if empty else np.ones_like(thing)
    (mask,) = SEGMENTER.segment(image, [Detection((0, 0, 426, 240), "object", 0.5, seed)])
    assert mask.any() != empty
    assert SEGMENTER.segment(image, []) == []


def test_a_box_beside_the_frame_gives_an_empty_mask() -> None:
    image, _ = scene(240, 426)
    (mask,) = SEGMENTER.segment(image, [Detection((500, 10, 600, 90), "object", 0.5)])
    assert not mask.any()


def test_masks_do_not_depend_on_what_was_segmented_before() -> None:
    image, thing = scene(360, 640)
    wide, narrow = detection(widened(thing, 20)), detection(widened(thing, 8))
    together = SEGMENTER.segment(image, [wide, narrow])
    cv2.setRNGSeed(99)
    alone = SEGMENTER.segment(image, [narrow])
    assert together[1].tobytes() == alone[0].tobytes()


def test_wrong_seeds_are_refused_by_size_and_by_absence() -> None:
    image, thing = scene(240, 426)
    with pytest.raises(ValueError, match=r"seed of \(10, 10\)"):
        SEGMENTER.segment(image, [Detection((0, 0, 9, 9), "object", 0.5, np.ones((10, 10), np.bool_))])
    with pytest.raises(ValueError, match="has no seed"):
        SEGMENTER.segment(image, [Detection((0, 0, 9, 9), "background", 0.5, None, refine=False)])
    assert thing.any()
