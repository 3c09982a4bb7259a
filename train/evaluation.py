"""Scoring editors on triples: one row per edit, means with bootstrap intervals per task and in total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from train.editors import Editor
from train.metrics import (
    SLOW_FPS,
    Clip,
    background_preservation,
    bootstrap_interval,
    masked_error,
    temporal_consistency,
    text_alignment,
)
from train.triples import DELETE, Triple, TripleSource

METRICS = ("bp", "ta", "tc", "tc_7_5", "masked_error")
TOTAL = "total"


@dataclass(frozen=True)
class EditScore:
    """One edit, judged. None where a metric does not apply: TA of a deletion, TC of a picture, no CLIP, no truth.

    `masked_error` is given for deletions whose truth is known: a caption leaves open what an addition looks like.
    `seconds` are those of the edit.
    """

    editor: str
    name: str
    task: str
    bp: float | None = None
    ta: float | None = None
    tc: float | None = None
    tc_7_5: float | None = None
    masked_error: float | None = None
    seconds: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class Mean:
    """Mean of a metric with its 95 % interval over `count` edits."""

    mean: float
    low: float
    high: float
    count: int


OnEdit = Callable[[Editor, Triple, npt.NDArray[np.uint8]], None]


def planned(sources: Sequence[TripleSource], editors: Sequence[Editor]) -> int:
    """Number of scores that `evaluate` will give."""
    return sum(source.task in editor.tasks for source in sources for editor in editors)


def evaluate(
    sources: Sequence[TripleSource], editors: Sequence[Editor], clip: Clip | None, on_edit: OnEdit | None = None
) -> Iterator[EditScore]:
    """Let every editor edit every triple of a task it can do, and judge it.

    What cannot be read or edited is a row with its problem and does not end the evaluation.
    """
    for source in sources:
        able = [editor for editor in editors if source.task in editor.tasks]
        try:
            triple = source.read()
        except ValueError as error:
            yield from (EditScore(editor.name, source.name, source.task, problem=str(error)) for editor in able)
            continue
        for editor in able:
            yield _score(triple, editor, clip, on_edit)


def _score(triple: Triple, editor: Editor, clip: Clip | None, on_edit: OnEdit | None) -> EditScore:
    start = time.perf_counter()
    try:
        edited = editor.edit(triple)
    except ValueError as error:
        seconds = round(time.perf_counter() - start, 3)
        return EditScore(editor.name, triple.name, triple.task, seconds=seconds, problem=str(error))
    seconds = time.perf_counter() - start
    if on_edit is not None:
        on_edit(editor, triple, edited)
    ta = inside = None
    if clip is not None and triple.task != DELETE:
        ta = text_alignment(clip, edited, triple.masks, triple.caption)
    if triple.truth is not None and triple.task == DELETE:
        inside = masked_error(triple.truth, edited, triple.masks)
    return EditScore(
        editor.name,
        triple.name,
        triple.task,
        bp=background_preservation(triple.frames, edited, triple.masks),
        ta=ta,
        tc=temporal_consistency(clip, edited, triple.fps) if clip is not None else None,
        tc_7_5=temporal_consistency(clip, edited, triple.fps, SLOW_FPS) if clip is not None else None,
        masked_error=inside,
        seconds=round(seconds, 3),
    )


def summarise_scores(scores: Sequence[EditScore], seed: int = 0) -> dict[str, dict[str, dict[str, Mean]]]:
    """Editor → task (and "total") → metric → mean with interval; what no edit has is left out."""
    summary: dict[str, dict[str, dict[str, Mean]]] = {}
    for editor in dict.fromkeys(score.editor for score in scores):
        own = [score for score in scores if score.editor == editor]
        tasks = {task: [s for s in own if s.task == task] for task in sorted({s.task for s in own})}
        summary[editor] = {task: _means(group, seed) for task, group in {**tasks, TOTAL: own}.items()}
    return summary


def _means(scores: Sequence[EditScore], seed: int) -> dict[str, Mean]:
    means = {}
    for metric in METRICS:
        values = [value for score in scores if (value := asdict(score)[metric]) is not None]
        if values:
            low, high = bootstrap_interval(values, seed)
            means[metric] = Mean(float(np.mean(values)), low, high, len(values))
    return means
