"""Suppression of overlapping boxes, against a slow and plain account of the same rule."""

from __future__ import annotations

import numpy as np
import pytest

from models.box_suppression import suppress


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU by counting whole pixels."""
    canvas = np.zeros((2, 40, 40), np.bool_)
    for layer, (x0, y0, x1, y1) in zip(canvas, (one.astype(int), other.astype(int)), strict=True):
        layer[y0:y1, x0:x1] = True
    union = np.count_nonzero(canvas.any(0))
    return np.count_nonzero(canvas.all(0)) / union if union else 0.0


def kept_by_rule(boxes: np.ndarray, scores: np.ndarray, limit: float, names: np.ndarray | None) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [k for k in kept if names is None or names[k] == names[index]]
        if all(overlap(boxes[index], boxes[k]) <= limit for k in rivals):
            kept.append(index)
    return kept


@pytest.mark.parametrize("limit", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("named", [False, True])
def test_what_stays_is_what_the_rule_says(limit: float, named: bool) -> None:
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 20, (60, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 20, (60, 2))], axis=1).astype(np.float32)
    scores = (rng.integers(0, 30, 60) / 30).astype(np.float32)
    names = rng.choice(["dog", "cat"], 60) if named else None
    found = suppress(boxes, scores, limit, names).tolist()
    assert found == kept_by_rule(boxes, scores, limit, names)
    assert (len(found) == 60) == (limit == 1)


def test_overlap_at_the_limit_is_kept_and_a_repeated_box_is_not() -> None:
    boxes = np.asarray([[0, 0, 2, 1], [1, 0, 3, 1], [0, 0, 2, 1]], np.float32)
    scores = np.asarray([0.5, 0.9, 0.4], np.float32)
    assert suppress(boxes, scores, 1 / 3).tolist() == [1, 0]
    assert suppress(boxes, scores, 0.33).tolist() == [1]
    assert suppress(boxes, scores, 0.99, np.asarray(["a", "a", "b"])).tolist() == [1, 0, 2]


def test_no_boxes_and_boxes_without_area() -> None:
    assert suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5).tolist() == []
    assert suppress(np.zeros((2, 4), np.float32), np.ones(2, np.float32), 0.5).tolist() == [0, 1]
