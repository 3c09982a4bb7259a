"""Scoring editors on triples: one row per edit, means with bootstrap intervals per task and in total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from train.editors import Editor, RestoringEditor, Video
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

METRICS = ("bp", "bp_drawn", "ta", "tc", "tc_7_5", "masked_error")
TOTAL = "total"


@dataclass(frozen=True)
class EditScore:
    """One edit, judged. None where a metric does not apply: TA of a deletion, TC of a picture, no CLIP, no truth.

    `bp_drawn` is BP before the original was put back outside the mask, of editors that do so. `masked_error` is given
    for deletions whose truth is known: a caption leaves open what an addition looks like. `source_id` names the video
    that was edited, `seconds` are those of the edit, or of reading it where it had been kept.
    """

    editor: str
    name: str
    task: str
    source_id: str
    bp: float | None = None
    bp_drawn: float | None = None
    ta: float | None = None
    tc: float | None = None
    tc_7_5: float | None = None
    masked_error: float | None = None
    seconds: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class Mean:
    """Mean of a metric over `count` edits of `sources` videos; the 95 % interval is None for a single video."""

    mean: float
    low: float | None
    high: float | None
    count: int
    sources: int


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
            yield from (replace(_unscored(source, editor), problem=str(error)) for editor in able)
            continue
        for editor in able:
            yield _score(_unscored(source, editor), triple, editor, clip, on_edit)


def _unscored(source: TripleSource, editor: Editor) -> EditScore:
    return EditScore(editor.name, source.name, source.task, source.source_id)


def _score(unscored: EditScore, triple: Triple, editor: Editor, clip: Clip | None, on_edit: OnEdit | None) -> EditScore:
    start = time.perf_counter()
    try:
        edited, drawn = _edit(editor, triple)
    except ValueError as error:
        seconds = round(time.perf_counter() - start, 3)
        return replace(unscored, seconds=seconds, problem=str(error))
    seconds = time.perf_counter() - start
    if on_edit is not None:
        on_edit(editor, triple, edited)
    ta = inside = None
    if clip is not None and triple.task != DELETE:
        ta = text_alignment(clip, edited, triple.masks, triple.caption)
    if triple.truth is not None and triple.task == DELETE:
        inside = masked_error(triple.truth, edited, triple.masks)
    return replace(
        unscored,
        bp=background_preservation(triple.frames, edited, triple.masks),
        bp_drawn=background_preservation(triple.frames, drawn, triple.masks) if drawn is not None else None,
        ta=ta,
        tc=temporal_consistency(clip, edited, triple.fps) if clip is not None else None,
        tc_7_5=temporal_consistency(clip, edited, triple.fps, SLOW_FPS) if clip is not None else None,
        masked_error=inside,
        seconds=round(seconds, 3),
    )


def _edit(editor: Editor, triple: Triple) -> tuple[Video, Video | None]:
    """The edit, and what was drawn before the original was put back, where the editor shows it."""
    return editor.edit_and_drawn(triple) if isinstance(editor, RestoringEditor) else (editor.edit(triple), None)


def summarise_scores(scores: Sequence[EditScore], seed: int = 0) -> dict[str, dict[str, dict[str, Mean]]]:
    """Editor → task (and "total") → metric → mean with interval; what no edit has is left out.

    An editor that is for some of the tasks only has no total: it would be over other videos than the others' totals.
    Intervals come from drawing source videos, not single edits.
    """
    every_task = {score.task for score in scores}
    summary: dict[str, dict[str, dict[str, Mean]]] = {}
    for editor in dict.fromkeys(score.editor for score in scores):
        own = [score for score in scores if score.editor == editor]
        groups = {task: [s for s in own if s.task == task] for task in sorted({s.task for s in own})}
        if set(groups) == every_task:
            groups[TOTAL] = own
        summary[editor] = {task: _means(group, seed) for task, group in groups.items()}
    return summary


def _means(scores: Sequence[EditScore], seed: int) -> dict[str, Mean]:
    means = {}
    for metric in METRICS:
        judged = [score for score in scores if getattr(score, metric) is not None]
        if judged:
            means[metric] = _mean([getattr(score, metric) for score in judged], [s.source_id for s in judged], seed)
    return means


def _mean(values: Sequence[float], source_ids: Sequence[str], seed: int) -> Mean:
    sources = len(set(source_ids))
    low, high = bootstrap_interval(values, seed, clusters=source_ids) if sources > 1 else (None, None)
    return Mean(float(np.mean(values)), low, high, len(values), sources)
