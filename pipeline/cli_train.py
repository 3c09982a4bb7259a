"""The commands of the editor: ``vivid train``, and those that use what it makes.

Heavy imports stand inside the function: `vivid shards` needs no torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.cli_edit import edit_command
from pipeline.cli_evaluate import evaluate_command
from pipeline.config import ConfigError, read_settings
from pipeline.editor_commands import find_model, quieten_libraries, require_packages
from pipeline.interrupt import hear

if TYPE_CHECKING:
    from stages.windows import WindowSettings
    from train.latent_store import StoredLatents
    from train.settings import TrainSettings

TINY_SETTINGS = {
    "batch_size": 2,
    "checkpoint_every": 10,
    "log_every": 5,
    "optimizer": {"warmup_steps": 0},
    "courses": [
        {"steps": 20, "mixing": {"images": 1, "videos": 1}, "windows": {"height": 64, "width": 96, "frames": 9}}
    ],
}
"""Without a base: a few steps of a tiny random one, which a CPU does in seconds."""


def train_command(
    dataset: Annotated[str, typer.Argument(help="a dataset made by `vivid shards`, folder or URL")] = "out",
    output: Annotated[Path, typer.Option("--output", "-o", help="the run's folder; run again to go on")] = Path(
        "training"
    ),
    base: Annotated[
        str | None,
        typer.Option(
            help="CogVideoX base: a folder, or a hub name (-2b, -5b, -5b-I2V), or a result to train further; "
            "none: that of the latents, else a tiny random one"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="a YAML file with settings (see train/settings.py)")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="change one setting, e.g. courses.0.steps=2000, batch_size=4"),
    ] = None,
    latents: Annotated[
        str | None, typer.Option(help="name of latents made by `vivid latents`; their base, windows and seed are used")
    ] = None,
) -> None:
    """Train the editor on a dataset. Run it again to go on; Ctrl-C and SIGTERM save first.

    The result is OUTPUT/final: a folder for `vivid edit`, VividInpaintPipeline and diffusers. Several GPUs:
    `accelerate launch -m pipeline.cli train …` (on a signal that launcher gives half a minute for saving).
    """
    require_packages()
    console = Console(stderr=True)
    base = None if base is None else find_model(base, console)
    quieten_libraries()
    from train.checkpoint import read_config
    from train.divergence import Diverged
    from train.editing import EditSettings
    from train.settings import TrainSettings
    from train.trainer import Stopped, Trainer
    from train.validation import edit_held_out

    # Without windows, so that those that the user names can be told from the rest.
    defaults = TrainSettings().model_dump(mode="json", exclude={"courses": {"__all__": {"windows"}}})
    store = None
    if latents is not None:
        from train.latent_store import open_latents

        store = open_latents(dataset, latents)
        base = base or _base_of_latents(store, latents, console)
        defaults["seed"] = store.settings.seed
    elif base is None:
        defaults = TrainSettings.model_validate(TINY_SETTINGS).model_dump(mode="json")
    settings = read_settings(TrainSettings, config, sets or (), defaults)
    with _base_or_tiny(base, output, console) as start:
        if store is not None:
            settings = _on_windows(settings, store.windows)
            for course in settings.courses:
                store.check(start, course.windows, settings.seed)
        windows = settings.courses[-1].windows
        edit_settings = EditSettings(
            height=windows.height, width=windows.width, frames=windows.frames, steps=settings.validation_steps
        )
        trainer = Trainer(
            dataset, start, output, settings, console, store, lambda run, to: edit_held_out(run, to, edit_settings)
        )
    empty = store.empty_text() if store is not None else None
    if empty is not None:
        trainer.parts.captions.put_empty(empty)
    try:
        final = trainer.run()
    except Stopped as stopped:
        console.print(str(stopped), highlight=False)
        hear(stopped.number)
    except Diverged as error:
        raise ConfigError(str(error)) from error
    if trainer.accelerator.is_main_process:
        loss = trainer.last_figures.get("loss")
        print(f"{final}: {read_config(final).step} steps" + (f", last loss {loss:.4f}" if loss is not None else ""))


def _base_of_latents(store: StoredLatents, name: str, console: Console) -> str:
    """The base that latents were made with. Raises ConfigError when it is no longer there."""
    try:
        return find_model(store.base_name, console)
    except ConfigError as error:
        raise ConfigError(
            f"{error}, where the base of the latents '{name}' lay; say with --base where it is now"
        ) from error


@contextmanager
def _base_or_tiny(base: str | None, output: Path, console: Console) -> Iterator[str]:
    """The base, or a tiny random one in the run's folder, written by one process for all.

    It is taken away again when the start is refused: that leaves nothing behind.
    """
    if base is not None:
        yield base
        return
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    from train.checkpoint import atomic_folder
    from train.processes import PATIENCE
    from train.tiny_base import TINY_BASE_NOTICE, save_tiny_base

    folder = output.resolve() / "tiny_base"
    processes = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=PATIENCE)
    is_new = processes.is_main_process and not folder.is_dir()
    if processes.is_main_process:
        console.print(TINY_BASE_NOTICE, style="yellow", highlight=False)
    if is_new:
        # Whole or not at all: a run that was killed here must be able to go on.
        with atomic_folder(folder) as partial:
            save_tiny_base(partial)
    processes.wait_for_everyone()
    try:
        yield str(folder)
    except Exception:
        if is_new:
            shutil.rmtree(folder)
            with suppress(OSError):  # what else lies there stays
                folder.parent.rmdir()
        raise


def _on_windows(settings: TrainSettings, windows: WindowSettings) -> TrainSettings:
    """The settings with the fields of these windows wherever a course names none of its own."""
    courses = [
        course.model_copy(update={"windows": windows.model_copy(update=course.windows.model_dump(exclude_unset=True))})
        for course in settings.courses
    ]
    return settings.model_copy(update={"courses": tuple(courses)})


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train_command)
    app.command("edit")(edit_command)
    app.command("evaluate")(evaluate_command)
