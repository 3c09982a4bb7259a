"""The command ``vivid latents``. Heavy imports stand inside the function: `vivid shards` needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from manifests.latents import DEFAULT_NAME
from pipeline.config import ConfigError, read_settings
from pipeline.drive import Options
from pipeline.editor_commands import EXTRA

if TYPE_CHECKING:
    from pipeline.latents_run import LatentsResult

INCOMPLETE = 3


def latents_command(
    dataset: Annotated[str, typer.Argument(help="a dataset made by `vivid shards`, folder or URL")] = "out",
    base: Annotated[
        str | None,
        typer.Option(help="CogVideoX base: a folder, or a hub name; needed once, then the latents remember it"),
    ] = None,
    name: Annotated[
        str, typer.Option(help="name of these latents; those of other windows or bases get a name of their own")
    ] = DEFAULT_NAME,
    config: Annotated[
        Path | None, typer.Option(help="a YAML file with settings (see train/latent_settings.py)")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="change one setting, e.g. windows.fixed=4, masked_share=0.1"),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs each worker reserves; fractions share one")] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="encode no more than this many parts of the dataset")] = None,
    local: Annotated[bool, typer.Option("--local", help="run in this process, without Ray")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="largest number of workers")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use; default RAY_ADDRESS, else this machine")
    ] = None,
) -> None:
    """Encode windows and captions for `vivid train --latents NAME`. Run it again to go on, or after appending.

    They lie in DATASET/latents/NAME; nothing is encoded twice.

    What it costs at 480×720 in bfloat16: 2.1 MiB per window of 49 frames, 0.16 MiB per image, 8 KiB per token of each
    distinct caption (T5-XXL). A masked video (`masked_share`) takes as much as its window, twice for videos, and a clip
    has six per track: for three tracks 36 times the window's own bytes. So by default none is stored, and the trainer
    encodes the masked video itself.
    """
    _need_extra()
    from pipeline.latents_run import bound_settings, latents
    from train.latent_settings import LatentSettings

    bound_base, bound = bound_settings(dataset, name)
    settings = read_settings(LatentSettings, config, sets or (), bound or LatentSettings().model_dump(mode="json"))
    base = base or bound_base
    if base is None:
        raise ConfigError("name the CogVideoX base whose VAE and text encoder are used, with --base")
    options = Options(limit=limit, local=local, workers=workers, address=address)
    result = latents(dataset, name, base, settings, options, Console(stderr=True), gpus)
    print(last_line(result))
    if result.counts["latents.failed"] or result.counts["captions.failed"]:
        raise typer.Exit(INCOMPLETE)


def last_line(result: LatentsResult) -> str:
    """One sentence: what is stored, what failed, what this run did."""
    counts = result.counts
    windows, masked = counts["latents.windows"], counts["latents.masked"]
    per_entry = result.clip_bytes / max(1, windows + masked) / 2**10
    failed = counts["latents.failed"] + counts["captions.failed"]
    bad = f", {failed} failed (training encodes them itself)" if failed else ""
    did = f"{result.committed} parts" if result.committed else "nothing to do"
    return (
        f"{result.url}: {windows} windows of {counts['latents.kept']} clips and {masked} masked videos in "
        f"{_mib(result.clip_bytes)} ({per_entry:.1f} KiB each), {counts['captions.kept']} captions in "
        f"{_mib(result.caption_bytes)}{bad}; {did} in {result.seconds:.1f} s"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _need_extra() -> None:
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: {EXTRA}") from error
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("latents")(latents_command)
