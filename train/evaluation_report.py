"""An evaluation written down: JSON for programs, a Markdown table, and a page with the videos side by side."""

from __future__ import annotations

import html
import json
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
from train.triples import Triple

COLUMNS = {
    "bp": "BP ↓",
    "ta": "TA ↑",
    "tc": "TC ↑",
    "tc_7_5": "TC at 7.5 fps ↑",
    "masked_error": "error inside the mask ↓",
}
MASK_COLOUR = (255, 0, 80)
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa; }
table { border-collapse: collapse; margin-bottom: 2rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; }
td { text-align: right; } td:first-child, td:nth-child(2), th { text-align: left; }
section { margin-bottom: 2rem; } .row { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; } video { width: 300px; display: block; background: #000; } figcaption { font-size: 13px; }
"""


def markdown_table(scores: Sequence[EditScore]) -> str:
    """One row per editor and task: mean and 95 % bootstrap interval of each metric."""
    used = [key for key in COLUMNS if any(asdict(score)[key] is not None for score in scores)]
    lines = [f"| editor | task | {' | '.join(COLUMNS[key] for key in used)} | edits |"]
    lines.append(f"| --- | --- |{' ---: |' * (len(used) + 1)}")
    for editor, tasks in summarise_scores(scores).items():
        for task, means in tasks.items():
            if task == TOTAL and len(tasks) == 2:
                continue
            cells = [_cell(means.get(key)) for key in used]
            count = max((mean.count for mean in means.values()), default=0)
            lines.append(f"| {editor} | {task} | {' | '.join(cells)} | {count} |")
    return "\n".join(lines) + "\n"


def _cell(mean: Mean | None) -> str:
    return "–" if mean is None else f"{mean.mean:.2f} ({mean.low:.2f}–{mean.high:.2f})"


class EvaluationReport:
    """Collects videos while editors work, then writes the page."""

    def __init__(self, folder: str | Path, max_shown: int = 12) -> None:
        self.folder = Path(folder)
        self.max_shown = max_shown
        self._shown: dict[str, tuple[Triple, list[tuple[str, str]]]] = {}

    def on_edit(self, editor: Editor, triple: Triple, edited: npt.NDArray[np.uint8]) -> None:
        """Keep the video of an edit, for the first triples."""
        if triple.name not in self._shown:
            if len(self._shown) >= self.max_shown:
                return
            marked = np.stack([_marked(frame, mask) for frame, mask in zip(triple.frames, triple.masks, strict=True)])
            masked = self._write(f"{len(self._shown):03d}-mask", marked, triple.fps)
            self._shown[triple.name] = (triple, [("mask", masked)])
        number = list(self._shown).index(triple.name)
        videos = self._shown[triple.name][1]
        videos.append((editor.name, self._write(f"{number:03d}-{len(videos)}", edited, triple.fps)))

    def _write(self, name: str, frames: npt.NDArray[np.uint8], fps: float) -> str:
        height, width = (side - side % 2 for side in frames.shape[1:3])
        writer = ClipWriter(width, height, Fraction(fps).limit_denominator(1001), MediaSettings())
        for frame in frames:
            writer.add(np.ascontiguousarray(frame[:height, :width]))
        path = self.folder / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(writer.finish())
        return path.relative_to(self.folder).as_posix()

    def write(self, scores: Sequence[EditScore], notes: Sequence[str]) -> None:
        """Write evaluation.json, evaluation.md and index.html."""
        self.folder.mkdir(parents=True, exist_ok=True)
        means = summarise_scores(scores)
        document = {
            "notes": list(notes),
            "means": {
                editor: {task: {key: asdict(mean) for key, mean in row.items()} for task, row in tasks.items()}
                for editor, tasks in means.items()
            },
            "edits": [asdict(score) for score in scores],
        }
        (self.folder / "evaluation.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        table = markdown_table(scores)
        text = table + "".join(f"\n- {note}" for note in notes) + "\n"
        (self.folder / "evaluation.md").write_text(text, encoding="utf-8")
        (self.folder / "index.html").write_text(self._page(table, notes), encoding="utf-8")

    def _page(self, table: str, notes: Sequence[str]) -> str:
        sections = []
        for triple, videos in self._shown.values():
            figures = "".join(
                f'<figure><video src="{html.escape(path)}" controls loop muted playsinline></video>'
                f"<figcaption>{html.escape(name)}</figcaption></figure>"
                for name, path in videos
            )
            title = f"{html.escape(triple.task)}: {html.escape(triple.caption)}"
            sections.append(f'<section><h3>{title}</h3><div class="row">{figures}</div></section>')
        said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
            f"<h1>Evaluation</h1>{_html_table(table)}<ul>{said}</ul>{''.join(sections)}</html>\n"
        )


def _html_table(table: str) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return f"<table><tr>{head}</tr>{body}</table>"


def _marked(frame: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The frame with the mask's outline drawn in and its inside tinted."""
    tinted = frame.copy()
    tinted[mask] = (0.65 * frame[mask] + 0.35 * np.asarray(MASK_COLOUR)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(tinted, contours, -1, MASK_COLOUR, 1), np.uint8)
