"""``vivid export``: the samples as single files for other tools."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def export_command(
    dataset: Annotated[str, typer.Argument(help="a dataset made by `vivid shards`, folder or URL")] = "out",
    output: Annotated[Path, typer.Option("--output", "-o", help="the export's folder; run again to go on")] = Path(
        "exported"
    ),
    where: Annotated[
        str | None,
        typer.Option(help="a SQL condition over `samples`, e.g. \"split = 'train' AND caption_kind = 'short'\""),
    ] = None,
    per_tar: Annotated[int, typer.Option(min=1, help="samples in each tar")] = 100,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one per core")] = None,
) -> None:
    """Write every sample with its own clip and mask, for tools that cannot read the shards' shared ones.

    OUTPUT/samples-*.tar stream through webdataset: <sample>.mp4 or .jpg, <sample>.mask.mkv (FFV1) or .mask.png, white
    where the sample is edited, and <sample>.json with caption, task and the rest. A clip's samples each repeat it,
    which takes many times the space of the shards: choose with --where.
    """
    from pipeline.export import Export

    export = Export(dataset, output, where, per_tar)
    console = Console(stderr=True)
    with Progress(
        TextColumn("export"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("export", total=export.table.num_rows)
        done = export.run(workers or os.cpu_count() or 1, lambda samples: bar.advance(task, samples))
    size = f"{done.num_bytes / 2**20:.1f} MiB"
    print(f"{output}: {done.samples} samples in {done.tars} tars ({done.written} of them new), {size}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export_command)
