"""What ``vivid train``, ``vivid edit`` and ``vivid evaluate`` share: their packages, their models, their progress bar.

Heavy imports stand inside the functions: `vivid shards` needs no torch.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.config import ConfigError
from train.offloading import Offload, memory_need, place

if TYPE_CHECKING:
    from train.editing import EditSettings
    from train.inpaint_pipeline import VividInpaintPipeline

EXTRA = "it needs the extra `train`: pip install 'vivid-pipeline[train]'"

Base = Annotated[
    str | None,
    typer.Option(
        help="where a checkpoint's CogVideoX base lies (folder or hub name), if not where the checkpoint says"
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="equal seeds give equal results")]
Steps = Annotated[int, typer.Option(min=1, help="denoising steps per window; half as many take half as long")]
Guidance = Annotated[float, typer.Option(min=1, help="how far to follow the prompt; 1 is off, at half the time")]
Offloading = Annotated[
    Offload,
    typer.Option(
        "--offload",
        help="what waits in main memory on a GPU that cannot hold the editor: parts (model; the VAE then works in "
        "tiles), or every layer (sequential: least memory, much slower); auto: what the free memory asks for",
    ),
]

PACKAGES = ("torch", "transformers", "diffusers", "peft", "accelerate")

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def require_packages() -> None:
    """Raise ConfigError unless the extra `train` is installed. Imports nothing: that takes seconds."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed: {EXTRA}")


def quieten_libraries() -> None:
    """Keep the libraries' own progress bars and advice away from ours."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def find_model(name: str, console: Console) -> str:
    """A model's folder (absolute), or its name on the hub, which is then said: it may take a download.

    Raises ConfigError (one sentence) for what is neither, such as a folder that is not there.
    """
    path = Path(name)
    with suppress(RuntimeError):  # of a user who is not known here
        path = path.expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.exists():
        raise ConfigError(f"{name} is a file, and a model is a folder")
    if not _HUB_NAME.fullmatch(name) or path.parent.exists():
        raise ConfigError(f"there is no folder {name}")
    console.print(
        f"{name} is no folder here: it is taken from the Hugging Face hub (a download, unless it is in the cache)",
        highlight=False,
        markup=False,
    )
    return name


def _check_is_no_run(folder: str) -> None:
    """Raise ConfigError, which names the folder that was meant, where `vivid train` writes all it makes."""
    from train.run_folder import SETTINGS_FILE, RunFolder

    if not (Path(folder) / SETTINGS_FILE).is_file():
        return
    run = RunFolder(folder)
    if run.final.is_dir():
        raise ConfigError(f"{folder} is the folder of a training run; what it has trained is {run.final}")
    newest = run.newest()
    else_take = "" if newest is None else f", or take its newest checkpoint, {newest}"
    raise ConfigError(
        f"{folder} is the folder of a training run that is not finished: run the same `vivid train` again{else_take}"
    )


def load_editor(
    folder: str, base: str | None, console: Console, offload: Offload, **settings: Any
) -> tuple[VividInpaintPipeline, EditSettings]:
    """An editor on the best device, in bfloat16 on a GPU, and edit settings with the size it was trained at.

    `folder` is what `find_model` gave, `base` what the user named, `offload` what waits in main memory, and `settings`
    are those of `EditSettings`. Raises ConfigError or ValueError (one sentence) when the model, or the base it needs,
    cannot be used.
    """
    import torch

    from train.base_model import find_components
    from train.checkpoint import is_checkpoint, read_config
    from train.editing import EditSettings
    from train.inpaint_pipeline import VividInpaintPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and offload in (Offload.MODEL, Offload.SEQUENTIAL):
        raise ConfigError(f"--offload {offload} is for a GPU, and none is found here")
    quieten_libraries()
    _check_is_no_run(folder)
    parts = find_components(folder, base=None if base is None else find_model(base, console))[0]
    if parts not in (folder, base):
        parts = find_model(parts, console)
    _say_what_it_is(folder, parts, console)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    pipeline = VividInpaintPipeline.from_pretrained(folder, base=parts if is_checkpoint(folder) else None, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    size: dict[str, Any]
    if is_checkpoint(folder):
        trained = read_config(folder)
        size = {"height": trained.height, "width": trained.width, "frames": trained.num_frames}
    else:
        config = pipeline.transformer.config
        size = {"height": 8 * config.sample_height, "width": 8 * config.sample_width, "frames": config.sample_frames}
    edit_settings = EditSettings(**size, **settings)
    if offload is Offload.AUTO:
        offload = _best_offload(pipeline, edit_settings, device, console)
    place(pipeline, offload, device)
    return pipeline, edit_settings


def _best_offload(pipeline: VividInpaintPipeline, settings: EditSettings, device: str, console: Console) -> Offload:
    """What the GPU's free memory asks for; said where it costs time."""
    import torch

    if device == "cpu":
        return Offload.NONE
    free, need = torch.cuda.mem_get_info()[0], memory_need(pipeline, settings.height, settings.width)
    best = need.best(free)
    if best is not Offload.NONE:
        slow = ", which is slow" if best is Offload.SEQUENTIAL else ""
        console.print(
            f"the GPU has {free / 2**30:.1f} GiB free, and the editor takes {need.whole / 2**30:.1f}: "
            f"as with --offload {best}{slow}",
            highlight=False,
        )
    return best


def _say_what_it_is(model: str, parts: str, console: Console) -> None:
    """A word where no good edits can be expected."""
    from train.base_model import PIPELINE_FILE
    from train.checkpoint import is_checkpoint
    from train.tiny_base import TINY_BASE_NOTICE

    card, index = Path(parts) / "README.md", Path(model) / PIPELINE_FILE
    if card.is_file() and TINY_BASE_NOTICE in card.read_text(encoding="utf-8"):
        console.print(TINY_BASE_NOTICE, style="yellow", highlight=False)
        return
    saved = index.is_file() and json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if not is_checkpoint(model) and saved != "VividInpaintPipeline":
        console.print(f"{model} is a base that has not learnt to edit", style="yellow", highlight=False)


def named(argument: str) -> tuple[str, str]:
    """``NAME=FOLDER``, or a folder by its own name."""
    name, equals, folder = argument.partition("=")
    # A folder may have an "=" in its own name: runs/lr=1e-4/final.
    if not equals or Path(argument).is_dir():
        return Path(argument).resolve().name, argument
    if not name or not folder:
        raise ConfigError(f"'{argument}' is not NAME=FOLDER")
    return name, folder


@contextmanager
def progress_bar(name: str, console: Console) -> Iterator[Callable[[float], None]]:
    """A bar with the time left; yields what is told the share done, 0..1."""
    columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)
