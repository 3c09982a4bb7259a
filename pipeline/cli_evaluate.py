"""The command ``vivid evaluate``. Heavy imports stand inside the functions: `vivid shards` needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from manifests.commits import RUN_FILE
from manifests.storage import open_store
from pipeline.compose_phase import DELETE_CAPTION
from pipeline.config import ConfigError, read_settings
from pipeline.editor_commands import (
    Base,
    Guidance,
    Seed,
    Steps,
    find_model,
    load_editor,
    named,
    progress_bar,
    require_packages,
)
from stages.windows import WindowSettings

if TYPE_CHECKING:
    from train.editors import Editor
    from train.metrics import Clip
    from train.triples import TripleSource

SOME_FAILED = 3


def evaluate_command(
    source: Annotated[
        str,
        typer.Argument(
            help="a dataset (its eval split is used), or a folder of <name>_src.mp4, <name>_mask.mp4 and, for what is "
            "drawn, <name>.txt with the caption"
        ),
    ] = "out",
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="[NAME=]FOLDER", help="trained editors to judge")
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option("--results", metavar="NAME=FOLDER", help="another tool's results: <name>.mp4, or FFV1 in .mkv"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the tables and the page")] = Path(
        "evaluation"
    ),
    samples: Annotated[int, typer.Option(min=1, help="held-out samples per task, one per track")] = 20,
    no_clip: Annotated[bool, typer.Option("--no-clip", help="judge BP alone: TA and TC need CLIP's weights")] = False,
    base: Base = None,
    steps: Steps = 50,
    guidance: Guidance = 6.0,
    seed: Seed = 0,
    no_restore: Annotated[
        bool,
        typer.Option(
            "--no-restore", help="judge what a model draws over the whole frame, as papers do; else its BP is always 0"
        ),
    ] = False,
    windows: Annotated[
        list[str] | None,
        typer.Option("--window", metavar="A=B", help="held-out windows, e.g. height=480; default: the first model's"),
    ] = None,
) -> None:
    """BP, TA and TC of editors and baselines, per task and in total, with 95 % bootstrap intervals.

    BP: mean absolute difference outside the mask (0–255, lower is better). TA: CLIP score of the edited region and the
    caption. TC: mean cosine of consecutive frames' CLIP features, at the video's rate and at 7.5 fps.
    """
    require_packages()
    console = Console(stderr=True)
    folders = [(name, find_model(folder, console)) for name, folder in map(named, models or ())]
    from train.editors import CopyMasked, FrameInpainting, Identity, ModelEditor, ResultFolder, TemporalFill
    from train.evaluation import evaluate, planned
    from train.evaluation_report import EvaluationReport, markdown_table, problem_lines
    from train.triples import held_out_triples

    report = EvaluationReport(output)
    others = [ResultFolder(name, Path(folder)) for name, folder in map(named, results or ())]
    is_dataset = open_store(source).exists(RUN_FILE)
    sources = [] if is_dataset else _of_folder(source)
    clip, clip_name = (None, None) if no_clip else _clip()

    editors: list[Editor] = [Identity(), CopyMasked(), FrameInpainting(), TemporalFill()]
    window: dict[str, Any] = {}
    for name, folder in folders:
        # Without a feather, which would blend the original in: on held-out samples that is the answer.
        pipeline, settings = load_editor(
            folder, base, console, steps=steps, guidance=guidance, feather=0, restore=not no_restore
        )
        window = window or {"height": settings.height, "width": settings.width, "frames": settings.frames}
        editors.append(ModelEditor(name, pipeline, settings, seed))
    editors += others
    names = _distinct_names(editors)

    if is_dataset:
        shape = read_settings(WindowSettings, None, windows or (), window)
        sources = held_out_triples(source, samples, shape, seed)
        notes = [_said_of_dataset(source, sources, shape)]
    else:
        notes = [_said_of_folder(source, sources)]
    notes.append(f"CLIP: {clip_name}" if clip_name else "without CLIP: TA and TC were not measured")

    scores = []
    total = planned(sources, editors)
    try:
        with progress_bar("evaluate", console) as done:
            for score in evaluate(sources, editors, clip, report.on_edit):
                scores.append(score)
                done(len(scores) / total)
    finally:
        # An interrupted evaluation says what it has found.
        left = total - len(scores)
        scores.sort(key=lambda score: names.index(score.editor))
        if scores:
            report.write(scores, editors, [*notes, *([f"interrupted: {left} edits were not judged"] if left else [])])
    print(markdown_table(scores))
    print(f"{output}/index.html")
    problems = problem_lines(scores)
    for line in problems:
        typer.echo(line, err=True)
    if problems:
        raise typer.Exit(SOME_FAILED)


def _of_folder(folder: str) -> list[TripleSource]:
    from train.triples import folder_triples

    return folder_triples(folder, DELETE_CAPTION)


def _said_of_dataset(url: str, sources: list[TripleSource], shape: WindowSettings) -> str:
    size = f"{shape.frames} frames of {shape.width}×{shape.height}"
    return f"{_counted(sources)} held out from the dataset {url.rstrip('/')}, in windows of {size}"


def _said_of_folder(folder: str, sources: list[TripleSource]) -> str:
    return f"{_counted(sources)} in {folder} (those without a caption file are deletions)"


def _counted(sources: list[TripleSource]) -> str:
    from train.triples import DELETE

    deletions = sum(source.task == DELETE for source in sources)
    return f"{len(sources) - deletions} samples to add or modify and {deletions} to delete,"


def _distinct_names(editors: list[Editor]) -> list[str]:
    names = [editor.name for editor in editors]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two editors are called '{name}'; name them apart: --model NAME=FOLDER")
    return names


def _clip() -> tuple[Clip, str]:
    """CLIP and which one it is: scores of different ones do not compare."""
    from models.registry import ModelChoice, make_model

    try:
        scorer = make_model(ModelChoice(name="clip"))
    except ValueError as error:
        raise ConfigError(f"TA and TC need CLIP: {error}; or judge BP alone with --no-clip") from error
    return scorer, f"{scorer.info.name}, {scorer.info.revision}"
