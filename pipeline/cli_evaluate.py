"""The command ``vivid evaluate``. Heavy imports stand inside the functions: `vivid shards` needs no torch."""

from __future__ import annotations

import shlex
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
    Offloading,
    Seed,
    Steps,
    find_model,
    load_editor,
    named,
    progress_bar,
    require_packages,
)
from stages.windows import WindowSettings
from train.offloading import Offload

if TYPE_CHECKING:
    from train.editors import Editor
    from train.metrics import Clip
    from train.triples import TripleSource

SOME_FAILED = 3
EDITS_FOLDER = "edits"
"""Finished edits of models, in the evaluation's folder."""


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
    sample_seed: Annotated[
        int,
        typer.Option(min=0, help="which held-out samples and windows are judged; --seed does not change them"),
    ] = 0,
    offload: Offloading = Offload.AUTO,
    no_restore: Annotated[
        bool,
        typer.Option(
            "--no-restore",
            help="judge a model's own frames in everything, TA, TC and videos too; BP as drawn is given anyway",
        ),
    ] = False,
    windows: Annotated[
        list[str] | None,
        typer.Option("--window", metavar="A=B", help="held-out windows, e.g. height=480; default: the first model's"),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="write the held-out samples to this new folder, lossless, and judge nothing: for another tool to edit "
            "them, and --results to judge what it made"
        ),
    ] = None,
) -> None:
    """BP, TA and TC of editors and baselines, per task and in total, with 95 % bootstrap intervals over source videos.

    BP: mean absolute difference outside the mask (0–255, lower is better), of a model also as drawn, before it puts
    the original back there; results read from files carry their codec's loss. TA: CLIP score of the edited region and
    the caption. TC: mean cosine of consecutive frames' CLIP features, at the video's rate and at 7.5 fps.

    Edits of models are kept in the output's folder: run again after an interruption, or with other --results, the same
    edits are not made again.
    """
    require_packages()
    console = Console(stderr=True)
    folders = [(name, find_model(folder, console)) for name, folder in map(named, models or ())]
    from train.editors import CopyMasked, FrameInpainting, Identity, ModelEditor, ResultFolder, TemporalFill
    from train.evaluation import evaluate, planned
    from train.evaluation_report import EvaluationReport, check_report_folder, markdown_table, problem_lines
    from train.kept_edits import KeptEdits
    from train.triple_files import check_new_folder
    from train.triples import held_out_triples

    is_dataset = open_store(source).exists(RUN_FILE)
    if export is not None:
        if not is_dataset:
            raise ConfigError(f"--export writes the held-out samples of a dataset, and {source} is none")
        check_new_folder(export)
    else:
        check_report_folder(output)
    others = [ResultFolder(name, Path(folder)) for name, folder in map(named, results or ())]
    sources = [] if is_dataset else _of_folder(source)
    clip, clip_name = (None, None) if no_clip or export is not None else _clip()

    kept = KeptEdits(output / EDITS_FOLDER)
    editors: list[Editor] = [Identity(), CopyMasked(), FrameInpainting(), TemporalFill()]
    window: dict[str, Any] = {}
    for name, folder in folders:
        # Without a feather, which would blend the original in: on held-out samples that is the answer.
        pipeline, settings = load_editor(
            folder, base, console, offload, steps=steps, guidance=guidance, feather=0, restore=not no_restore
        )
        window = window or {"height": settings.height, "width": settings.width, "frames": settings.frames}
        editors.append(kept.of(ModelEditor(name, pipeline, settings, seed)))
    editors += others
    names = _distinct_names(editors)

    if is_dataset:
        shape = read_settings(WindowSettings, None, windows or (), window)
        sources = held_out_triples(source, samples, shape, sample_seed)
        if export is not None:
            problems = _export(sources, export, console)
            print(_judging_command(source, samples, sample_seed, shape))
            raise typer.Exit(SOME_FAILED if problems else 0)
        notes = [_said_of_dataset(source, sources, shape, sample_seed)]
    else:
        notes = [_said_of_folder(source, sources)]
    if folders:
        notes.append(f"models edited with seed {seed}")
    notes.append(f"CLIP: {clip_name}" if clip_name else "without CLIP: TA and TC were not measured")

    report = EvaluationReport(output)
    report.begin(editors, notes)
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
    if folders:
        kept.remove_unused()
    print(markdown_table(scores, editors))
    print(f"{output}/index.html")
    problems = problem_lines(scores)
    for line in problems:
        typer.echo(line, err=True)
    if problems:
        raise typer.Exit(SOME_FAILED)


def _of_folder(folder: str) -> list[TripleSource]:
    from train.triples import folder_triples

    return folder_triples(folder, DELETE_CAPTION)


def _export(sources: list[TripleSource], folder: Path, console: Console) -> list[str]:
    """Write the triples; returns a line for each that could not be read."""
    from train.triple_files import export_triples

    with progress_bar("export", console) as done:
        problems = export_triples(sources, folder, done)
    for line in problems:
        typer.echo(line, err=True)
    typer.echo(
        f"{len(sources) - len(problems)} triples in {folder}; to judge <name>.mkv that another tool makes:", err=True
    )
    return problems


def _judging_command(url: str, samples: int, sample_seed: int, shape: WindowSettings) -> str:
    """The command by which the results of an exported sample are found again."""
    # The size always: without it the one of a model that is judged too would count.
    given = {"height": shape.height, "width": shape.width, "frames": shape.frames}
    given |= shape.model_dump(exclude_defaults=True)
    windows = [f"--window {name}={value}" for name, value in given.items()]
    chosen = f"--samples {samples} --sample-seed {sample_seed}"
    return " ".join(["vivid evaluate", shlex.quote(url), chosen, *windows, "--results NAME=FOLDER"])


def _said_of_dataset(url: str, sources: list[TripleSource], shape: WindowSettings, sample_seed: int) -> str:
    size = f"{shape.frames} frames of {shape.width}×{shape.height}"
    held_out = f"{_counted(sources)} held out from the dataset {url.rstrip('/')}, in windows of {size}"
    return f"{held_out} (drawn with the sample seed {sample_seed})"


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
