from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
from tiny_models.cogvideox import small_clip

from train.editors import Editor, Identity, TemporalFill
from train.evaluation import EditScore
from train.evaluation_report import EvaluationReport, markdown_table, table_rows
from train.triples import ADD_MODIFY, DELETE, Triple
from train.video_files import read_video

FRAMES, MASKS = small_clip(5)


class Other:
    name, says, tasks = "A|B <x> (v2)", "names are not markup & need care", (ADD_MODIFY, DELETE)

    def edit(self, triple: Triple) -> np.ndarray:
        return triple.frames


EDITORS: list[Editor] = [Identity(), Other()]
SCORES = [
    EditScore("identity", "a", ADD_MODIFY, "v", bp=0.0, ta=30.0, tc=0.98765),
    EditScore("identity", "d", DELETE, "w", bp=0.0, tc=0.9),
    EditScore(Other.name, "a", ADD_MODIFY, "v", bp=2.0, ta=20.0, tc=0.5),
    EditScore(Other.name, "d", DELETE, "w", problem="it broke"),
]


class Page(HTMLParser):
    """Collects what a reader of the page would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.videos: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "video":
            self.videos.append(str(dict(attributes)["src"]))


def triple(name: str, task: str = ADD_MODIFY) -> Triple:
    return Triple(name, task, FRAMES, MASKS, "a <red> ball", 12.0)


def test_the_table_is_by_task_with_intervals() -> None:
    scores = [*SCORES, EditScore("identity", "b", ADD_MODIFY, "w", bp=1.0, ta=20.0, tc=0.98765)]
    rows = table_rows(scores, EDITORS)
    assert rows[0] == ["task", "editor", "BP ↓", "TA ↑", "TC ↑", "edits", "failed"]
    assert rows[1] == [
        ADD_MODIFY,
        "identity",
        "0.50 (0.00–1.00)",
        "25.00 (20.00–30.00)",
        "0.9877 (0.9877–0.9877)",
        "2",
        "0",
    ]
    assert rows[2][2:] == ["2.00", "20.00", "0.5000", "1", "0"], "one video has no interval"
    assert rows[4] == [DELETE, Other.name, "–", "–", "–", "0", "1"]
    assert [row[:2] for row in rows[5:]] == [["total", "identity"], ["total", Other.name]]
    one_task = table_rows([score for score in SCORES if score.task == DELETE], EDITORS)
    assert [row[0] for row in one_task[1:]] == [DELETE, DELETE], "one task is its own total"
    lines = markdown_table(SCORES, EDITORS).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1, "bars in names are escaped"


def test_both_background_figures_stand_side_by_side() -> None:
    ours = EditScore(Other.name, "a", ADD_MODIFY, "v", bp=0.0, bp_drawn=7.25)
    rows = table_rows([SCORES[0], ours], EDITORS)
    assert rows[0][2:4] == ["BP ↓", "BP as drawn ↓"]
    assert rows[1][2:4] == ["0.00", "–"]
    assert rows[2][2:4] == ["0.00", "7.25"]


def test_an_editor_that_is_not_for_a_task_has_dashes_there() -> None:
    eraser = TemporalFill()
    scores = [score for score in SCORES if score.editor == "identity"]
    both = table_rows([*scores, EditScore(eraser.name, "d", DELETE, "w", bp=0.0, tc=0.9)], [Identity(), eraser])
    assert [row[0] for row in both[1:]] == [ADD_MODIFY, ADD_MODIFY, DELETE, DELETE, "total", "total"]
    assert both[2] == [ADD_MODIFY, eraser.name, "–", "–", "–", "–", "–"]
    assert both[4] == [DELETE, eraser.name, "0.00", "–", "0.9000", "1", "0"]
    assert both[6] == ["total", eraser.name, "–", "–", "–", "–", "–"], "deletions alone are no total"
    additions = table_rows([score for score in scores if score.task == ADD_MODIFY], [Identity(), eraser])
    assert additions[2] == [ADD_MODIFY, eraser.name, "–", "–", "–", "–", "–"], "it is not left out either"


def test_files_say_the_same(tmp_path: Path) -> None:
    report = EvaluationReport(tmp_path / "report")
    for editor in EDITORS:
        report.on_edit(editor, triple("a"), FRAMES)
    report.write(SCORES, EDITORS, ["a note & more"])
    document = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert document["means"]["identity"]["total"]["bp"] == {
        "mean": 0.0,
        "low": 0.0,
        "high": 0.0,
        "count": 2,
        "sources": 2,
    }
    assert document["means"]["identity"][DELETE]["bp"]["low"] is None
    assert document["edits"][3]["problem"] == "it broke"
    markdown = (tmp_path / "report" / "evaluation.md").read_text()
    assert markdown_table(SCORES, EDITORS) in markdown
    assert "- a note & more\n" in markdown
    assert "resamples whole source videos" in markdown
    page = Page((tmp_path / "report" / "index.html").read_text())
    seen = " ".join(page.words)
    for words in (
        "resamples whole source videos",
        "carry their codec's loss",
        "a note & more",
        "a <red> ball",
        Other.says,
        "background preservation",
        "it broke",
        "0.9877",
    ):
        assert words in seen
    assert Other.name in page.words
    assert page.videos == ["videos/000-mask.mp4", "videos/000-1.mp4", "videos/000-2.mp4"]
    for path in page.videos:
        assert read_video(tmp_path / "report" / path).frames.shape == FRAMES.shape


def test_the_first_video_shows_the_mask(tmp_path: Path) -> None:
    report = EvaluationReport(tmp_path)
    grey = Triple("a", DELETE, np.full_like(FRAMES, 100), MASKS, "", 12.0)
    report.on_edit(Identity(), grey, grey.frames)
    marked = read_video(tmp_path / "videos" / "000-mask.mp4").frames.astype(int)
    inside, outside = np.zeros_like(MASKS), np.zeros_like(MASKS)
    inside[:, 24:32, 30:40], outside[:, 50:, :10] = True, True
    assert (marked[inside][:, 0] - marked[inside][:, 1]).mean() > 30
    assert np.abs(marked[outside] - 100).max() < 6


def test_a_few_triples_of_each_task_are_shown(tmp_path: Path) -> None:
    report = EvaluationReport(tmp_path, shown_per_task=2)
    for number in range(4):
        for task in (ADD_MODIFY, DELETE):
            report.on_edit(Identity(), triple(f"{task} {number}", task), FRAMES)
    report.write(SCORES, EDITORS, [])
    assert len(list((tmp_path / "videos").iterdir())) == 8, "two of each task, with their masks"


def test_odd_sides_and_pictures_can_be_shown(tmp_path: Path) -> None:
    odd = Triple("odd", DELETE, FRAMES[:1, :51, :67], MASKS[:1, :51, :67], "", 25.0)
    EvaluationReport(tmp_path).on_edit(Identity(), odd, odd.frames)
    assert read_video(tmp_path / "videos" / "000-1.mp4").frames.shape == (1, 50, 66, 3)


def test_an_earlier_evaluation_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    first = EvaluationReport(tmp_path / "report")
    first.on_edit(Identity(), triple("a"), FRAMES)
    first.write(SCORES, EDITORS, [])
    again = EvaluationReport(tmp_path / "report")
    assert (tmp_path / "report" / "videos").exists(), "nothing goes before the new one begins"
    again.begin(EDITORS, ["a note"])
    assert not (tmp_path / "report" / "videos").exists()
    assert "not finished: nothing has been judged" in (tmp_path / "report" / "evaluation.md").read_text()
    EvaluationReport(tmp_path / "report")  # that was killed there may be run again
    again.write(SCORES, EDITORS, [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match="holds other things than an evaluation"):
        EvaluationReport(tmp_path / "mine")
    with pytest.raises(ValueError, match="is a file"):
        EvaluationReport(tmp_path / "mine" / "thesis.txt")
