"""The commands of the editor: ``vivid train``, ``vivid edit``, ``vivid evaluate``.

Heavy imports stand inside the functions: `vivid shards` needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.compose_phase import DELETE_CAPTION
from pipeline.config import ConfigError, load_config, profiles, read_settings
from pipeline.interrupt import Interrupted
from stages.windows import WindowSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from models.protocols import Segmenter, Tracker
    from train.editing import EditSettings
    from train.editors import Editor
    from train.inpaint_pipeline import VividInpaintPipeline
    from train.video_files import VideoFile

EXTRA = "it needs the extra `train`: pip install 'vivid-pipeline[train]'"
TINY_STEPS = 20
TINY_WINDOW = {"height": 64, "width": 96, "frames": 9}
TINY_SETTINGS = {
    "batch_size": 2,
    "checkpoint_every": 10,
    "log_every": 5,
    "optimizer": {"warmup_steps": 0},
    "courses": [{"steps": TINY_STEPS, "mixing": {"images": 1, "videos": 1}, "windows": TINY_WINDOW}],
}
"""Without a base: a few steps of a tiny random one, which a CPU does in half a minute."""

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="change one setting")]
Seed = Annotated[int, typer.Option(min=0, help="makes the result repeatable")]
Base = Annotated[
    str | None, typer.Option(help="where a checkpoint's CogVideoX base lies, if not where the checkpoint says")
]


@contextmanager
def _with_torch() -> Iterator[None]:
    try:
        import accelerate  # noqa: F401
        import diffusers
        import peft  # noqa: F401
        import transformers

        for library in (diffusers, transformers):
            library.utils.logging.set_verbosity_error()
            library.utils.logging.disable_progress_bar()
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: {EXTRA}") from error
    yield


def train_command(
    dataset: Annotated[str, typer.Argument(help="a dataset made by `vivid shards`, folder or URL")] = "out",
    output: Annotated[Path, typer.Option("--output", "-o", help="the run's folder; run again to go on")] = Path(
        "training"
    ),
    base: Annotated[
        str | None,
        typer.Option(help="CogVideoX base: a folder, or a hub name (-2b, -5b, -5b-I2V); none: a tiny random one"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="a YAML file with settings (see train/settings.py)")] = None,
    sets: Sets = None,
    latents: Annotated[
        str | None, typer.Option(help="name of latents made by `vivid latents`; their windows are used")
    ] = None,
) -> None:
    """Train the editor on a dataset. Run it again to go on; Ctrl-C and SIGTERM save first.

    The result is OUTPUT/final: a folder for `vivid edit`, VividInpaintPipeline and diffusers. Several GPUs:
    `accelerate launch -m pipeline.cli train …`.
    """
    with _with_torch():
        from train.editing import EditSettings
        from train.settings import TrainSettings
        from train.tiny_base import TINY_BASE_NOTICE, save_tiny_base
        from train.trainer import Diverged, Stopped, Trainer
        from train.validation import edit_held_out

    console = Console(stderr=True)
    settings = read_settings(TrainSettings, config, sets or (), {} if base else TINY_SETTINGS)
    if base is None:
        console.print(TINY_BASE_NOTICE, style="yellow", highlight=False)
        folder = output / "tiny_base"
        base = str(folder if folder.is_dir() else save_tiny_base(folder))
    store = None
    if latents is not None:
        from train.latent_store import open_latents

        store = open_latents(dataset, latents)
    windows = settings.courses[-1].windows
    edit_settings = EditSettings(
        height=windows.height, width=windows.width, frames=windows.frames, steps=settings.validation_steps
    )
    trainer = Trainer(
        dataset, base, output, settings, console, store, lambda run, to: edit_held_out(run, to, edit_settings)
    )
    try:
        final = trainer.run()
    except Stopped as stopped:
        console.print(str(stopped), highlight=False)
        raise Interrupted(stopped.number) from stopped
    except Diverged as error:
        raise ConfigError(str(error)) from error
    if trainer.accelerator.is_main_process:
        loss = trainer.last_figures.get("loss")
        print(f"{final}: {trainer.step} steps" + (f", last loss {loss:.4f}" if loss is not None else ""))


def edit_command(
    video: Annotated[Path, typer.Argument(help="a video or an image, any size and frame rate")],
    model: Annotated[str, typer.Option("--model", "-m", help="a trained folder (OUTPUT/final), or a saved pipeline")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".mp4 (.mkv with --lossless, .png for an image)")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="what is drawn in the mask: “a red car”")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="remove what the mask marks")] = False,
    mask: Annotated[
        Path | None, typer.Option(help="mask video, or mask image of the first frame, which is followed; light = edit")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="box around a thing in the first frame, which is followed")
    ] = None,
    fill_box: Annotated[
        bool, typer.Option("--fill-box", help="the box itself is the mask, and stays where it is")
    ] = False,
    keyframe: Annotated[
        Path | None, typer.Option(help="the first frame as it shall be (edited by hand or by --keyframe-only)")
    ] = None,
    keyframe_only: Annotated[
        bool, typer.Option("--keyframe-only", help="edit just the first frame: cheap, repeat it until you like it")
    ] = False,
    lossless: Annotated[bool, typer.Option("--lossless", help="write FFV1: unmasked pixels stay as they are")] = False,
    base: Base = None,
    steps: Annotated[int, typer.Option(min=1, help="denoising steps per window")] = 50,
    guidance: Annotated[float, typer.Option(min=1, help="how far to follow the prompt; 1 is off")] = 6.0,
    feather: Annotated[int, typer.Option(min=0, help="pixels inside the mask over which the edit fades in")] = 4,
    seed: Seed = 0,
    profile: Annotated[str, typer.Option(help=f"whose tracker follows a mask or box: {', '.join(profiles())}")] = "cpu",
) -> None:
    """Add, modify or delete something inside a masked region of a video.

    Outside the mask the result is the original (to the bit with --lossless). Long videos are edited window by window,
    each continuing the last frame of the one before.
    """
    if (prompt is None) == (not delete):
        raise ConfigError("say either what to draw (--prompt) or --delete")
    if (mask is None) == (box is None):
        raise ConfigError("say where: either --mask or --box")
    with _with_torch():
        from train.editing import edit_video
        from train.video_files import read_picture, read_video, write_video

    source = read_video(video)
    if keyframe_only or source.is_image:
        _check_ending(output, (".png",))
    first = read_picture(keyframe, source) if keyframe else None
    masks = _masks(source, mask, box, fill_box, profile, keyframe_only)
    pipeline, settings = load_editor(model, base, steps, guidance, feather)
    frames = source.frames[: len(masks)]
    with _progress("edit") as report:
        text = prompt if prompt is not None else DELETE_CAPTION
        edited = edit_video(pipeline, frames, masks, text, settings, seed=seed, keyframe=first, on_progress=report)
    if output.suffix.lower() == ".png":
        write_png(output, edited[0])
    else:
        write_video(output, edited, source, lossless=lossless)
    print(output)


def _masks(
    source: VideoFile, mask: Path | None, box: str | None, fill_box: bool, profile: str, first_only: bool
) -> npt.NDArray[np.bool_]:
    """Masks of all frames, or of the first alone."""
    import numpy as np

    from train.mask_sources import filled_box, follow, mask_in_box, parse_box
    from train.video_files import read_masks

    frames = source.frames[:1] if first_only else source.frames
    if mask is not None:
        masks = read_masks(mask, source)
        if len(masks) == len(source.frames) or first_only:
            return masks[: len(frames)]
        return follow(_tracker(profile), list(frames), masks[0])
    assert box is not None
    corners = parse_box(box, source.frames[0])
    if fill_box:
        return np.repeat(filled_box(source.frames[0], corners)[None], len(frames), axis=0)
    first = mask_in_box(_segmenter(profile), source.frames[0], corners)
    return first[None] if len(frames) == 1 else follow(_tracker(profile), list(frames), first)


def _tracker(profile: str) -> Tracker:
    from models.registry import ModelResources, make_model

    config = load_config(profile)
    tracker: Tracker = make_model(config.models()["stages.propagate.tracker"], ModelResources(devices=config.devices))
    return tracker


def _segmenter(profile: str) -> Segmenter:
    from models.registry import ModelResources, make_model

    config = load_config(profile)
    segmenter: Segmenter = make_model(
        config.models()["stages.segment.segmenter"], ModelResources(devices=config.devices)
    )
    return segmenter


def load_editor(
    model: str, base: str | None, steps: int, guidance: float, feather: int
) -> tuple[VividInpaintPipeline, EditSettings]:
    """A trained editor on the best device, and settings with the size it was trained at."""
    import torch

    from train.checkpoint import is_checkpoint, read_config
    from train.editing import EditSettings
    from train.inpaint_pipeline import VividInpaintPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    pipeline = VividInpaintPipeline.from_pretrained(model, base=base, dtype=dtype).to(device)
    pipeline.set_progress_bar_config(disable=True)
    if is_checkpoint(model):
        trained = read_config(model)
        size = {"height": trained.height, "width": trained.width, "frames": trained.num_frames}
    else:
        config = pipeline.transformer.config
        size = {"height": 8 * config.sample_height, "width": 8 * config.sample_width, "frames": config.sample_frames}
    return pipeline, EditSettings(**size, steps=steps, guidance=guidance, feather=feather)


def write_png(path: Path, frame: npt.NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all."""
    import PIL.Image

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    PIL.Image.fromarray(frame).save(partial, format="png")
    partial.replace(path)


def _check_ending(path: Path, endings: tuple[str, ...]) -> None:
    if path.suffix.lower() not in endings:
        raise ConfigError(f"the output {path} must end with {' or '.join(endings)}")


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def evaluate_command(
    source: Annotated[
        str,
        typer.Argument(
            help="a dataset (its eval split is used), or a folder of <name>_src.mp4, <name>_mask.mp4, <name>.txt"
        ),
    ] = "out",
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="[NAME=]FOLDER", help="trained editors to judge")
    ] = None,
    results: Annotated[
        list[str] | None, typer.Option("--results", metavar="NAME=FOLDER", help="other tools' results, <name>.mp4 each")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the tables and the page")] = Path(
        "evaluation"
    ),
    samples: Annotated[int, typer.Option(min=1, help="samples per task, one per track")] = 20,
    no_clip: Annotated[bool, typer.Option("--no-clip", help="judge BP alone: TA and TC need CLIP's weights")] = False,
    base: Base = None,
    steps: Annotated[int, typer.Option(min=1, help="denoising steps of each edit")] = 50,
    guidance: Annotated[float, typer.Option(min=1, help="how far to follow the prompt")] = 6.0,
    feather: Annotated[int, typer.Option(min=0, help="pixels inside the mask over which an edit fades in")] = 0,
    seed: Seed = 0,
    windows: Annotated[
        list[str] | None, typer.Option("--window", metavar="A=B", help="e.g. height=480; default: the first model's")
    ] = None,
) -> None:
    """BP, TA and TC of editors and baselines, per task and in total, with 95 % bootstrap intervals.

    BP: mean absolute difference outside the mask (0–255, lower is better). TA: CLIP score of the edited region and the
    caption. TC: mean cosine of consecutive frames' CLIP features, at the video's rate and at 7.5 fps.
    """
    with _with_torch():
        from train.editors import CopyMasked, FrameInpainting, Identity, ModelEditor, ResultFolder, TemporalFill
        from train.evaluation import evaluate
        from train.evaluation_report import EvaluationReport, markdown_table
        from train.triples import folder_triples, held_out_samples, read_folder, read_samples

    from manifests.commits import RUN_FILE
    from manifests.storage import open_store

    editors: list[Editor] = [Identity(), CopyMasked(), FrameInpainting(), TemporalFill()]
    window: dict[str, Any] = {}
    for argument in models or ():
        name, folder = _named(argument)
        pipeline, settings = load_editor(folder, base, steps, guidance, feather)
        window = window or {"height": settings.height, "width": settings.width, "frames": settings.frames}
        editors.append(ModelEditor(name, pipeline, settings, seed))
    editors += [ResultFolder(name, Path(folder)) for name, folder in map(_named, results or ())]
    clip = None if no_clip else _clip()
    notes = [] if clip else ["without CLIP: TA and TC were not measured"]
    if open_store(source).exists(RUN_FILE):
        chosen = held_out_samples(source, samples, seed)
        shape = read_settings(WindowSettings, None, windows or (), window)
        total, triples = len(chosen), read_samples(source, chosen, shape, seed)
        notes.append(f"{len(chosen)} held-out samples of {source} in windows of {shape.height}×{shape.width}")
    else:
        total, triples = len(folder_triples(source, DELETE_CAPTION)), read_folder(source, DELETE_CAPTION)
        notes.append(f"{total} triples of {source}")
    report = EvaluationReport(output)
    scores = []
    with _progress("evaluate") as done:
        for score in evaluate(triples, editors, clip, report.on_edit):
            scores.append(score)
            done(len({s.name for s in scores}) / total)
    report.write(scores, notes)
    print(markdown_table(scores))
    for score in scores:
        if score.problem:
            typer.echo(f"{score.editor} on {score.name}: {score.problem}", err=True)
    print(f"{output}/index.html")


def _named(argument: str) -> tuple[str, str]:
    """``NAME=FOLDER``, or the folder's own name."""
    name, equals, folder = argument.partition("=")
    return (name, folder) if equals else (Path(argument).resolve().name, argument)


def _clip() -> Any:
    from models.registry import ModelChoice, make_model

    try:
        return make_model(ModelChoice(name="clip"))
    except ValueError as error:
        raise ConfigError(f"TA and TC need CLIP: {error}; or judge BP alone with --no-clip") from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train_command)
    app.command("edit")(edit_command)
    app.command("evaluate")(evaluate_command)
