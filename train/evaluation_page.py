"""The page of an evaluation: what was measured, the table, and every shown triple's videos in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from train.editors import Editor
from train.evaluation import EditScore
from train.triples import DELETE

METRICS = {
    "BP": "background preservation: mean absolute difference to the original outside the mask, 0–255. Lower is better.",
    "BP as drawn": "the same before a trained editor puts the original back outside the mask: what the model itself "
    "made of the background. This one compares with tools, and papers, that put nothing back.",
    "TA": "text alignment: CLIP score (0–100) of edited region and caption. Higher is better; not for deletions.",
    "TC": "temporal consistency: mean cosine of consecutive frames' CLIP features, at the video's own rate and at 7.5 "
    "frames per second. Higher is steadier.",
    "Error inside the mask": "mean absolute difference to the untouched clip, 0–255, where that is the right answer: "
    "held-out deletions are masks pasted over intact background. Identity is 0 there because it has seen the answer.",
}
READING = (
    "Each cell is the mean over the edits with its 95 % bootstrap interval, which resamples whole source videos: edits "
    "of one video are not independent. One video alone has no interval.",
    "Results read from files carry their codec's loss: an H.264 .mp4 of the untouched video has a BP above 0, a "
    "lossless file (FFV1 .mkv) has 0. All other editors are judged on their frames, before any encoding.",
    "–: the editor is not for that task, and has no total then; or the metric does not apply to it.",
)
"""How the table is to be read, wherever it stands."""
COPIES = "Metrics are computed on the edited frames themselves; the videos are H.264 copies."
TASK_NAMES = {DELETE: "delete", "add_modify": "add or modify"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; padding: 0 1.5rem; max-width: 1400px; color: #222; }
h1 { margin-bottom: .3rem; } h2 { margin-top: 2.2rem; border-bottom: 2px solid #ddd; } h3 { margin: 0 0 .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th { background: #f3f3f3; } td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left; }
td small { display: block; color: #666; white-space: nowrap; }
tr.first td { border-top: 2px solid #bbb; } dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.2rem; }
section { margin: 1.4rem 0; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 300px; } video { width: 300px; display: block; background: #000; }
figcaption { font-size: 13px; } figcaption b { display: block; font-size: 14px; }
.quiet { color: #666; font-size: 13px; } .problem { color: #a00; }
button { font: inherit; margin-left: .8rem; }
"""
SCRIPT = """
for (const section of document.querySelectorAll("section")) {
  const videos = [...section.querySelectorAll("video")];
  section.querySelector("button").onclick = () =>
    videos.forEach(video => { video.currentTime = 0; video.play(); });
}
"""
"""Starts a row's videos together."""


@dataclass
class Shown:
    """A triple on the page. `videos` are (editor, path), the first without an editor: the original with its mask."""

    number: int
    name: str
    task: str
    caption: str
    videos: list[tuple[str | None, str]] = field(default_factory=list)


def evaluation_page(
    table: Sequence[Sequence[str]],
    editors: Sequence[Editor],
    shown: Sequence[Shown],
    scores: Sequence[EditScore],
    notes: Sequence[str],
    problems: Sequence[str],
) -> str:
    """The page as HTML. `table` has its headings in the first row."""
    of_edit = {(score.editor, score.name): score for score in scores}
    failed = f'<h2>Failed edits</h2><ul class="problem">{_items(problems)}</ul>' if problems else ""
    sections = "".join(_section(one, of_edit) for one in shown)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation of video edits</title>'
        f"<style>{STYLE}</style><h1>Evaluation of video edits</h1><ul>{_items(notes)}</ul>"
        f'{_table(table)}<p class="quiet">{escape(" ".join(READING))}</p>'
        f"<h2>What is measured</h2><dl>{_terms(METRICS.items())}</dl>"
        f"<h2>Who edits</h2><dl>{_terms((editor.name, editor.says) for editor in editors)}</dl>"
        f"{failed}<h2>Edits side by side</h2>"
        f'<p class="quiet">The first video of each row is the original with the mask tinted. {COPIES}</p>'
        f"{sections}<script>{SCRIPT}</script></html>\n"
    )


def _section(shown: Shown, of_edit: dict[tuple[str, str], EditScore]) -> str:
    figures = "".join(
        f'<figure><video src="{escape(path)}" controls loop muted playsinline preload="auto"></video>'
        f"<figcaption>{_label(editor, of_edit.get((editor or '', shown.name)))}</figcaption></figure>"
        for editor, path in shown.videos
    )
    title = f"{escape(TASK_NAMES.get(shown.task, shown.task))}: {escape(shown.caption)}"
    return (
        f'<section><h3>{title}<button>play all</button></h3><p class="quiet">{escape(shown.name)}</p>'
        f'<div class="row">{figures}</div></section>'
    )


def _label(editor: str | None, score: EditScore | None) -> str:
    if editor is None:
        return "<b>original and mask</b>"
    figures = (
        [("BP", score.bp, 2), ("as drawn", score.bp_drawn, 2), ("TA", score.ta, 2), ("TC", score.tc, 4)]
        if score
        else []
    )
    if score is not None and score.masked_error is not None:
        figures.append(("error inside", score.masked_error, 2))
    said = " · ".join(f"{name} {value:.{digits}f}" for name, value, digits in figures if value is not None)
    return f"<b>{escape(editor)}</b>{said}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    before = None
    for row in body:
        opening = '<tr class="first">' if row[0] != before else "<tr>"
        cells = [*map(escape, row[:2]), *map(_figure, row[2:])]
        lines.append(opening + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        before = row[0]
    return f"<table>{''.join(lines)}</table>"


def _figure(text: str) -> str:
    """A figure with its interval, if it has one, small below the mean."""
    mean, bracket, interval = text.partition(" (")
    return f"{escape(mean)}<small>{escape(interval.rstrip(')'))}</small>" if bracket else escape(mean)


def _terms(terms: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in terms)


def _items(lines: Sequence[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)
