"""An evaluation written down: JSON for programs, a Markdown table, and a page with the videos side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stages.media import ClipWriter, MediaSettings
from train.editors import Editor
from train.evaluation import TOTAL, EditScore, Mean, summarise_scores
from train.evaluation_page import READING, Shown, evaluation_page
from train.triples import Triple

RESULT_FILE = "evaluation.json"
COLUMNS = {
    "bp": ("BP ↓", 2),
    "bp_drawn": ("BP as drawn ↓", 2),
    "ta": ("TA ↑", 2),
    "tc": ("TC ↑", 4),
    "tc_7_5": ("TC at 7.5 fps ↑", 4),
    "masked_error": ("error inside the mask ↓", 2),
}
"""Heading and decimals of each metric."""
NONE = "–"
MASK_COLOUR = (255, 0, 80)


def table_rows(scores: Sequence[EditScore], editors: Sequence[Editor]) -> list[list[str]]:
    """The table with its headings: a row per task and editor, mean and 95 % bootstrap interval of each metric.

    An editor that is not for a task has a row of dashes there, and in the total of all tasks.
    """
    used = [key for key in COLUMNS if any(getattr(score, key) is not None for score in scores)]
    rows = [["task", "editor", *(COLUMNS[key][0] for key in used), "edits", "failed"]]
    means = summarise_scores(scores)
    tasks = sorted({score.task for score in scores})
    # One task alone is its own total.
    for task in (*tasks, TOTAL) if len(tasks) > 1 else tasks:
        for editor in (editor.name for editor in editors):
            own = means.get(editor, {})
            cells = [_cell(own.get(task, {}).get(key), COLUMNS[key][1]) for key in used]
            rows.append([task, editor, *cells, *(_counts(scores, editor, task) if task in own else (NONE, NONE))])
    return rows


def _counts(scores: Sequence[EditScore], editor: str, task: str) -> tuple[str, str]:
    """Edits that were judged, and that failed."""
    group = [score for score in scores if score.editor == editor and task in (score.task, TOTAL)]
    failed = sum(score.problem is not None for score in group)
    return str(len(group) - failed), str(failed)


def markdown_table(scores: Sequence[EditScore], editors: Sequence[Editor]) -> str:
    """`table_rows` as Markdown."""
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table_rows(scores, editors)]
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def _cell(mean: Mean | None, decimals: int) -> str:
    if mean is None:
        return NONE
    interval = f" ({mean.low:.{decimals}f}–{mean.high:.{decimals}f})" if mean.low is not None else ""
    return f"{mean.mean:.{decimals}f}{interval}"


def check_report_folder(folder: Path) -> None:
    """Raise ValueError when the folder holds other things than an evaluation."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and the evaluation needs a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RESULT_FILE).is_file():
        raise ValueError(f"{folder} holds other things than an evaluation; name another folder with --output")


class EvaluationReport:
    """Collects videos while editors work, then writes the tables and the page.

    Args:
        folder: for the files; an earlier evaluation in it is replaced. Raises ValueError when it holds other things.
        shown_per_task: how many triples of each task have their videos on the page.
    """

    def __init__(self, folder: str | Path, shown_per_task: int = 6) -> None:
        self.folder = Path(folder)
        self.shown_per_task = shown_per_task
        self._shown: dict[str, Shown] = {}
        check_report_folder(self.folder)

    def begin(self, editors: Sequence[Editor], notes: Sequence[str]) -> None:
        """Take the folder: remove an earlier evaluation's videos, and say that this one has not come to its end."""
        shutil.rmtree(self.folder / "videos", ignore_errors=True)
        self.write([], editors, [*notes, "not finished: nothing has been judged"])

    def on_edit(self, editor: Editor, triple: Triple, edited: npt.NDArray[np.uint8]) -> None:
        """Keep the video of an edit, for the first triples of each task."""
        if triple.name not in self._shown:
            if sum(shown.task == triple.task for shown in self._shown.values()) >= self.shown_per_task:
                return
            shown = Shown(len(self._shown), triple.name, triple.task, triple.caption)
            marked = np.stack([_marked(frame, mask) for frame, mask in zip(triple.frames, triple.masks, strict=True)])
            shown.videos.append((None, self._write(f"{shown.number:03d}-mask", marked, triple.fps)))
            self._shown[triple.name] = shown
        shown = self._shown[triple.name]
        path = self._write(f"{shown.number:03d}-{len(shown.videos)}", edited, triple.fps)
        shown.videos.append((editor.name, path))

    def _write(self, name: str, frames: npt.NDArray[np.uint8], fps: float) -> str:
        height, width = (max(2, side - side % 2) for side in frames.shape[1:3])
        writer = ClipWriter(width, height, Fraction(fps).limit_denominator(1001), MediaSettings())
        for frame in frames:
            writer.add(np.ascontiguousarray(frame[:height, :width]))
        path = self.folder / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(writer.finish())
        return path.relative_to(self.folder).as_posix()

    def write(self, scores: Sequence[EditScore], editors: Sequence[Editor], notes: Sequence[str]) -> None:
        """Write evaluation.json, evaluation.md and index.html."""
        self.folder.mkdir(parents=True, exist_ok=True)
        means = summarise_scores(scores)
        document = {
            "notes": list(notes),
            "editors": {editor.name: editor.says for editor in editors},
            "means": {
                editor: {task: {key: asdict(mean) for key, mean in row.items()} for task, row in tasks.items()}
                for editor, tasks in means.items()
            },
            "edits": [asdict(score) for score in scores],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        (self.folder / RESULT_FILE).write_text(text, encoding="utf-8")
        problems = problem_lines(scores)
        lines = "".join(f"- {line}\n" for line in (*notes, *READING, *problems))
        (self.folder / "evaluation.md").write_text(f"{markdown_table(scores, editors)}\n{lines}", encoding="utf-8")
        page = evaluation_page(
            table_rows(scores, editors), editors, list(self._shown.values()), scores, notes, problems
        )
        (self.folder / "index.html").write_text(page, encoding="utf-8")


def problem_lines(scores: Sequence[EditScore]) -> list[str]:
    """One line per edit that failed."""
    return [f"{score.editor} on {score.name}: {score.problem}" for score in scores if score.problem]


def _marked(frame: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The frame with the mask's outline drawn in and its inside tinted."""
    tinted = frame.copy()
    tinted[mask] = (0.65 * frame[mask] + 0.35 * np.asarray(MASK_COLOUR)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(tinted, contours, -1, MASK_COLOUR, 1), np.uint8)
