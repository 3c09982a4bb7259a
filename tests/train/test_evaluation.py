from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

pytest.importorskip("diffusers")
from tiny_models.cogvideox import small_clip

from models.protocols import Image
from train.editors import CopyMasked, FrameInpainting, Identity
from train.evaluation import TOTAL, EditScore, evaluate, planned, summarise_scores
from train.triples import ADD_MODIFY, DELETE, Triple, TripleSource

FRAMES, MASKS = small_clip(6)


class RedClip:
    """Features are mean colours, and a caption's score the red of the picture."""

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        return np.stack([image.reshape(-1, 3).mean(axis=0) for image in images]).astype(np.float32)

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        return [float(image[..., 0].mean()) for image in images]


class Shifted:
    """Moves everything by one pixel, and fails on one triple."""

    name, says, tasks = "shifted", "for the test", (ADD_MODIFY, DELETE)

    def edit(self, triple: Triple) -> np.ndarray:
        if triple.name == "bad":
            raise ValueError("this one cannot be edited")
        return np.roll(triple.frames, 1, axis=2)


def source(name: str, task: str, with_truth: bool = False) -> TripleSource:
    triple = Triple(name, task, FRAMES, MASKS, "a red ball", 15.0, FRAMES if with_truth else None)
    return TripleSource(name, task, lambda: triple)


def broken(name: str) -> Triple:
    raise ValueError(f"{name} cannot be read")


def test_every_metric_where_it_applies() -> None:
    sources = [source("a", ADD_MODIFY, True), source("d", DELETE, True), source("e", DELETE)]
    scores = {(s.editor, s.name): s for s in evaluate(sources, [Identity(), CopyMasked()], RedClip())}
    assert len(scores) == 6
    for name in "ade":
        assert scores["identity", name].bp == 0
        assert scores["grey hole", name].bp == 0, "only masked pixels are changed"
    assert scores["identity", "a"].ta is not None
    assert scores["identity", "d"].ta is None, "no text alignment of a deletion"
    assert scores["identity", "d"].masked_error == 0
    inside = np.abs(FRAMES[MASKS].astype(float) - 128).mean()
    assert scores["grey hole", "d"].masked_error == pytest.approx(inside)
    assert scores["identity", "e"].masked_error is None, "a video from a folder has no known truth"
    assert scores["identity", "a"].masked_error is None, "an addition has no one truth"
    means = FRAMES.reshape(6, -1, 3).mean(axis=1)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert scores["identity", "a"].tc == pytest.approx((unit[1:] * unit[:-1]).sum(axis=1).mean(), abs=1e-6)
    slow = unit[::2]
    assert scores["identity", "a"].tc_7_5 == pytest.approx((slow[1:] * slow[:-1]).sum(axis=1).mean(), abs=1e-6)


def test_a_shifted_video_has_the_known_background() -> None:
    (score,) = evaluate([source("a", ADD_MODIFY)], [Shifted()], None)
    moved = np.abs(FRAMES.astype(int) - np.roll(FRAMES, 1, axis=2))
    assert score.bp == pytest.approx(moved[~MASKS].mean())
    assert (score.ta, score.tc, score.tc_7_5) == (None, None, None)


def test_an_editor_is_asked_for_its_tasks_only() -> None:
    sources = [source("a", ADD_MODIFY), source("d", DELETE)]
    editors = [Identity(), FrameInpainting()]
    assert [(s.editor, s.name) for s in evaluate(sources, editors, None)] == [
        ("identity", "a"),
        ("identity", "d"),
        ("OpenCV inpainting", "d"),
    ]
    assert planned(sources, editors) == 3


def test_what_fails_is_a_row_and_the_rest_goes_on() -> None:
    unreadable = TripleSource("torn", DELETE, partial(broken, "torn"))
    sources = [source("bad", DELETE), unreadable, source("good", DELETE)]
    shown: list[tuple[str, str]] = []
    scores = list(
        evaluate(
            sources, [Identity(), Shifted()], None, lambda editor, triple, _: shown.append((editor.name, triple.name))
        )
    )
    assert [(s.editor, s.name, s.problem) for s in scores if s.problem] == [
        ("shifted", "bad", "this one cannot be edited"),
        ("identity", "torn", "torn cannot be read"),
        ("shifted", "torn", "torn cannot be read"),
    ]
    assert len(scores) == planned(sources, [Identity(), Shifted()]) == 6
    assert ("shifted", "good") in shown
    assert ("shifted", "bad") not in shown


def test_means_are_per_task_and_in_total() -> None:
    rows = [("one", ADD_MODIFY, 1.0, 20.0), ("two", ADD_MODIFY, 3.0, 30.0), ("three", DELETE, 8.0, None)]
    scores = [EditScore("ours", name, task, bp=bp, ta=ta) for name, task, bp, ta in rows]
    scores.append(EditScore("ours", "four", DELETE, problem="failed"))
    means = summarise_scores(scores)["ours"]
    assert {task: means[task]["bp"].mean for task in means} == {ADD_MODIFY: 2, DELETE: 8, TOTAL: 4}
    assert means[ADD_MODIFY]["ta"].count == 2
    assert "ta" not in means[DELETE]
    assert means[TOTAL]["ta"].mean == 25
    assert (means[DELETE]["bp"].low, means[DELETE]["bp"].high, means[DELETE]["bp"].count) == (8, 8, 1)
    assert means[TOTAL]["bp"].low < 4 < means[TOTAL]["bp"].high
