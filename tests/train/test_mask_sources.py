from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from tiny_dataset import moving_square

from models.protocols import Box, Detection, Image
from models.registry import ModelChoice, make_model
from train.mask_sources import filled_box, follow, mask_in_box, parse_box, stay

FRAMES = moving_square(0)


class Loses:
    """A tracker that knows the thing in the first frame only."""

    def track(self, frames: Sequence[Image], masks: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        for index in range(len(frames)):
            yield [masks[0] if index == 0 else np.zeros_like(masks[0])]


class FindsNothing:
    def segment(self, image: Image, detections: Sequence[Detection]) -> list[np.ndarray]:
        return [np.zeros(image.shape[:2], np.bool_) for _ in detections]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def square(index: int) -> np.ndarray:
    """Where `moving_square` has its thing."""
    mask = np.zeros(FRAMES[0].shape[:2], np.bool_)
    mask[20:38, 8 + 4 * index : 26 + 4 * index] = True
    return mask


def test_a_box_is_segmented_and_followed_by_the_profiles_models() -> None:
    box = parse_box("5,17,29,41", FRAMES[0])
    first = mask_in_box(make_model(ModelChoice(name="grabcut")), FRAMES[0], box)
    assert iou(first, square(0)) > 0.8, "the thing and not its box"
    masks = follow(make_model(ModelChoice(name="colour_tracker")), FRAMES, first)
    assert masks.shape == (len(FRAMES), *FRAMES[0].shape[:2])
    assert min(iou(mask, square(index)) for index, mask in enumerate(masks)) > 0.6


def test_what_is_lost_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="cannot be followed; give a mask video, or --still"):
        follow(Loses(), FRAMES, square(0))
    assert follow(Loses(), FRAMES[:1], square(0)).sum() == 18 * 18
    with pytest.raises(ValueError, match="in a video of 50×8 nothing can be followed"):
        follow(make_model(ModelChoice(name="colour_tracker")), [FRAMES[0][:8, :50]] * 3, square(0)[:8, :50])


def test_a_box_without_a_thing_is_the_mask() -> None:
    box = parse_box("10,20,30,40", FRAMES[0])
    assert np.array_equal(mask_in_box(FindsNothing(), FRAMES[0], box), filled_box(FRAMES[0], box))


def test_a_still_mask_is_the_same_everywhere() -> None:
    masks = stay(5, square(2))
    assert masks.shape == (5, *FRAMES[0].shape[:2])
    assert all(np.array_equal(mask, square(2)) for mask in masks)


def test_a_box_covers_its_pixels_end_exclusive() -> None:
    box: Box = parse_box("0, 10,96,64", FRAMES[0])
    mask = filled_box(FRAMES[0], box)
    assert mask[10:].all()
    assert not mask[:10].any()


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5", "1.5,2,3,4", "nan,0,5,5"])
def test_what_is_no_box_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="a box is x0,y0,x1,y1 in whole pixels"):
        parse_box(text, FRAMES[0])


@pytest.mark.parametrize("text", ["-1,0,5,5", "0,0,97,64", "0,0,96,65", "5,5,5,9", "9,9,5,5"])
def test_a_box_outside_or_without_area_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="does not lie inside the video, which is 96×64, or has no area"):
        parse_box(text, FRAMES[0])
