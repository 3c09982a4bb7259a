"""The picture that goes in, and the boxes that come out."""

from __future__ import annotations

import numpy as np
import pytest

from models.coco import COCO_NAMES
from models.yolox_decoding import NUMBERS, DecodingSettings, cell_count, decode, letterbox, things_in

SIDE = 416


def raw(cell: int, x: float, y: float, width: float, height: float, sure: float, **scores: float) -> np.ndarray:
    """A raw output with one cell filled in."""
    output = np.zeros((cell_count(SIDE, SIDE), NUMBERS), np.float32)
    output[cell, :5] = (x, y, np.log(width), np.log(height), sure)
    for name, score in scores.items():
        output[cell, 5 + COCO_NAMES.index(name)] = score
    return output


def boxes_of(*given: tuple[tuple[float, float, float, float], str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Decoded cells with one name each."""
    scores = np.zeros((len(given), 80), np.float32)
    for row, (_, name, score) in enumerate(given):
        scores[row, COCO_NAMES.index(name)] = score
    return np.array([box for box, _, _ in given], np.float32).reshape(-1, 4), scores


@pytest.mark.parametrize(("height", "width"), [(480, 854), (1280, 720), (100, 100), (3, 2000)])
def test_the_picture_lies_in_the_upper_left_in_bgr(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 10
    picture, scale = letterbox(image, SIDE, SIDE)
    assert picture.shape == (1, 3, SIDE, SIDE)
    assert picture.dtype == np.float32
    assert picture[0, :, 0, 0].tolist() == [10, 0, 200]
    assert scale == SIDE / max(height, width)
    down, across = max(1, int(height * scale)), max(1, int(width * scale))
    assert (picture[0, 2, :down, :across] == 200).all()
    assert (picture[0, :, down:] == 114).all()
    assert (picture[0, :, :, across:] == 114).all()


@pytest.mark.parametrize(
    ("cell", "stride", "column", "row"),
    [(0, 8, 0, 0), (52 + 3, 8, 3, 1), (52 * 52 + 26 * 2 + 5, 16, 5, 2), (52 * 52 + 26 * 26 + 13 * 12 + 12, 32, 12, 12)],
)
def test_cells_are_decoded_with_the_stride_of_their_grid(cell: int, stride: int, column: int, row: int) -> None:
    assert cell_count(SIDE, SIDE) == 3549
    boxes, scores = decode(raw(cell, 0.25, 0.5, 2, 3, 0.8, dog=0.5), SIDE, SIDE)
    x, y = (column + 0.25) * stride, (row + 0.5) * stride
    assert boxes[cell] == pytest.approx([x - stride, y - 1.5 * stride, x + stride, y + 1.5 * stride])
    assert scores[cell, COCO_NAMES.index("dog")] == pytest.approx(0.4)
    assert np.count_nonzero(scores) == 1


@pytest.mark.filterwarnings("error")
def test_a_box_beyond_measure_is_finite() -> None:
    output = raw(7, 0, 0, 1, 1, 1, dog=1)
    output[7, 2:4] = 500
    assert np.isfinite(decode(output, SIDE, SIDE)[0]).all()


def test_boxes_are_of_the_image_and_inside_it() -> None:
    boxes, scores = boxes_of(((-10, 20, 60, 80), "dog", 0.6), ((390, 200, 460, 300), "cat", 0.7))
    found = things_in(boxes, scores, 0.5, (480, 820), DecodingSettings())
    assert [(thing.name, thing.box) for thing in found] == [("cat", (780, 400, 820, 480)), ("dog", (0, 40, 120, 160))]
    assert [thing.score for thing in found] == pytest.approx([0.7, 0.6])


def test_what_lies_outside_the_image_is_nothing() -> None:
    boxes, scores = boxes_of(((10, 300, 60, 350), "dog", 0.6))
    assert things_in(boxes, scores, 1.0, (240, 416), DecodingSettings()) == []


def test_unsure_cells_are_passed_over() -> None:
    boxes, scores = boxes_of(((0, 0, 50, 50), "dog", 0.19), ((100, 100, 150, 150), "dog", 0.21))
    assert [thing.box[0] for thing in things_in(boxes, scores, 1.0, (416, 416), DecodingSettings())] == [100]
    assert things_in(boxes[:1], scores[:1], 1.0, (416, 416), DecodingSettings()) == []


def test_a_name_in_doubt_keeps_its_rivals() -> None:
    boxes, scores = boxes_of(
        ((0, 0, 100, 100), "dog", 0.4), ((0, 0, 100, 96), "sheep", 0.5), ((0, 0, 98, 100), "dog", 0.3)
    )
    (thing,) = things_in(boxes, scores, 1.0, (416, 416), DecodingSettings())
    assert thing.name == "sheep"
    assert thing.box == (0, 0, 100, 96)
    assert thing.scores[COCO_NAMES.index("dog")] == pytest.approx(0.4)
    assert np.count_nonzero(thing.scores) == 2


def test_rider_and_horse_are_two_but_two_boxes_of_a_horse_are_one() -> None:
    overlapping = (0, 0, 100, 100), (0, 40, 100, 140)
    upper, lower = ((0, 0, 100, 100), "person", 0.8), ((0, 30, 100, 115), "horse", 0.7)
    assert len(things_in(*boxes_of(upper, lower), 1.0, (416, 416), DecodingSettings())) == 2
    same = boxes_of((upper[0], "horse", 0.8), lower)
    assert len(things_in(*same, 1.0, (416, 416), DecodingSettings())) == 1
    apart = boxes_of((overlapping[0], "horse", 0.8), (overlapping[1], "horse", 0.7))
    assert len(things_in(*apart, 1.0, (416, 416), DecodingSettings())) == 2
