from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

pytest.importorskip("diffusers")
from tiny_models.cogvideox import small_clip

from models.protocols import Image
from train.editors import CopyMasked, Identity, TemporalFill
from train.evaluation import TOTAL, EditScore, Mean, evaluate, planned, summarise_scores
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


class Restoring(Shifted):
    """Draws a shifted video and delivers its masked part."""

    name = "restoring"

    def edit_and_drawn(self, triple: Triple) -> tuple[np.ndarray, np.ndarray]:
        drawn = self.edit(triple)
        return np.where(triple.masks[..., None], drawn, triple.frames), drawn


def source(name: str, task: str, with_truth: bool = False) -> TripleSource:
    triple = Triple(name, task, FRAMES, MASKS, "a red ball", 15.0, FRAMES if with_truth else None)
    return TripleSource(name, task, f"video of {name}", lambda: triple)


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


def test_background_is_judged_as_delivered_and_as_drawn() -> None:
    shown: list[np.ndarray] = []
    scores = list(
        evaluate([source("a", ADD_MODIFY)], [Shifted(), Restoring()], RedClip(), lambda *given: shown.append(given[2]))
    )
    plain, restored = scores
    assert plain.bp_drawn is None
    assert restored.bp == 0
    assert restored.bp_drawn == plain.bp
    assert np.array_equal(shown[1][~MASKS], FRAMES[~MASKS]), "all else is judged as delivered"
    means = summarise_scores(scores)
    assert "bp_drawn" not in means["shifted"][ADD_MODIFY]
    assert means["restoring"][ADD_MODIFY]["bp_drawn"].mean == plain.bp


def test_an_editor_is_asked_for_its_tasks_only() -> None:
    sources = [source("a", ADD_MODIFY), source("d", DELETE)]
    editors = [Identity(), TemporalFill()]
    assert [(s.editor, s.name) for s in evaluate(sources, editors, None)] == [
        ("identity", "a"),
        ("identity", "d"),
        ("background of other frames", "d"),
    ]
    assert planned(sources, editors) == 3


def test_what_fails_is_a_row_and_the_rest_goes_on() -> None:
    unreadable = TripleSource("torn", DELETE, "torn video", partial(broken, "torn"))
    sources = [source("bad", DELETE), unreadable, source("good", DELETE)]
    shown: list[tuple[str, str]] = []
    scores = list(
        evaluate(
            sources, [Identity(), Shifted()], None, lambda editor, triple, _: shown.append((editor.name, triple.name))
        )
    )
    assert {s.source_id for s in scores if s.name == "torn"} == {"torn video"}
    assert {s.source_id for s in scores if s.name == "good"} == {"video of good"}
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
    scores = [EditScore("ours", name, task, name, bp=bp, ta=ta) for name, task, bp, ta in rows]
    scores.append(EditScore("ours", "four", DELETE, "four", problem="failed"))
    means = summarise_scores(scores)["ours"]
    assert {task: means[task]["bp"].mean for task in means} == {ADD_MODIFY: 2, DELETE: 8, TOTAL: 4}
    assert means[ADD_MODIFY]["ta"].count == 2
    assert "ta" not in means[DELETE]
    assert means[TOTAL]["ta"].mean == 25
    assert means[DELETE]["bp"] == Mean(8, None, None, 1, 1), "one video says nothing of others"
    total = means[TOTAL]["bp"]
    assert total.low is not None
    assert total.high is not None
    assert total.low < 4 < total.high


def test_edits_of_one_video_are_no_evidence_of_others() -> None:
    same = [EditScore("ours", f"track {number}", DELETE, "video", bp=float(number)) for number in range(5)]
    assert summarise_scores(same)["ours"][DELETE]["bp"] == Mean(2, None, None, 5, 1)
    both = summarise_scores([*same, EditScore("ours", "other", DELETE, "other video", bp=8.0)])["ours"][DELETE]["bp"]
    assert (both.low, both.high, both.count, both.sources) == (2, 8, 6, 2), "either video may be drawn twice"


def test_an_editor_for_one_task_has_no_total_of_two() -> None:
    scores = [EditScore("both", task, task, task, bp=1.0) for task in (ADD_MODIFY, DELETE)]
    means = summarise_scores([*scores, EditScore("eraser", DELETE, DELETE, DELETE, bp=1.0)])
    assert set(means["both"]) == {ADD_MODIFY, DELETE, TOTAL}
    assert set(means["eraser"]) == {DELETE}
