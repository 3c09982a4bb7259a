"""The command line: ``vivid``. Exit codes: 0 done, 1 cannot, 2 wrong use, 3 incomplete, 130/143 interrupted."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import duckdb
import typer
from rich.console import Console

from manifests.commits import RUN_FILE
from manifests.damage import ADVICE, read_document
from manifests.dataset import Dataset, NotADataset, dataset_store
from manifests.lock import FolderLocked
from manifests.storage import StorageError
from pipeline import cli_export, cli_latents, cli_train
from pipeline.binding import ConfigMismatch
from pipeline.config import WORK_PHASES, Config, ConfigError, load_config, parse_config, profiles
from pipeline.drive import Options, RunError
from pipeline.interrupt import heard, listen
from pipeline.report import funnel_text, last_line
from pipeline.run import Result, retry, shards

KNOWN_ERRORS = (ConfigError, ConfigMismatch, FolderLocked, NotADataset, RunError, StorageError, ValueError)

app = typer.Typer(
    name="vivid",
    help="Training data for video local editing: videos and images in, WebDataset shards and Parquet manifests out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[str, typer.Option("--out", "-o", help="the dataset's folder or URL; created if missing")]
Folder = Annotated[str, typer.Argument(help="a dataset's folder or URL")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="change one field, e.g. stages.screen.min_area=0.01")
]
Profile = Annotated[str, typer.Option(help=f"one of: {', '.join(profiles())}")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="a YAML file instead of a profile (it may say `extends: cpu`)")
]
Local = Annotated[bool, typer.Option("--local", help="run in this process, without Ray")]
Workers = Annotated[int | None, typer.Option(min=1, help="largest number of actors per pool")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use; default RAY_ADDRESS, else this machine")]


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"vivid: {message}", file=sys.stderr)
    raise typer.Exit(code)


def _finish(result: Result, out: str) -> None:
    print(funnel_text(result.summary))
    print(last_line(result.summary, out, result.committed, result.seconds))


def _phases(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else WORK_PHASES
    wrong = [name for name in names if name not in WORK_PHASES]
    if wrong:
        raise ConfigError(f"there is no phase '{wrong[0]}'; phases are {', '.join(WORK_PHASES)}")
    return names


@app.command("shards")
def shards_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="folders, globs, files, tars or listings (.txt .csv .tsv .jsonl .parquet), local or URLs; "
            "`name=INPUT` names the root (default: the folder's own name)",
        ),
    ],
    out: Out = "out",
    profile: Profile = "cpu",
    config: ConfigFile = None,
    sets: Sets = None,
    phases: Annotated[str | None, typer.Option(help="only these of ingest,annotate,compose")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="take no more than this many sources")] = None,
    local: Local = False,
    workers: Workers = None,
    address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be done and stop")] = False,
) -> None:
    """The main job: videos and images in, shards and manifests out. Run it again to go on or to add sources."""
    settings = load_config(str(config or profile), sets or ())
    options = Options(_phases(phases), limit, local, workers, address)
    if dry_run:
        from pipeline.dry_run import plan_text

        print(plan_text(inputs, out, settings, options))
        return
    _finish(shards(inputs, out, settings, options, Console(stderr=True)), out)


def _bound_config(folder: str) -> Config:
    document = read_document(dataset_store(folder), RUN_FILE)
    return parse_config(document["config"], f"{folder}/{RUN_FILE}")


@app.command("retry")
def retry_command(
    folder: Folder = "out", local: Local = False, workers: Workers = None, address: Address = None
) -> None:
    """Take failed sources and clips again, in new parts; filtered ones stay as they are."""
    options = Options(local=local, workers=workers, address=address)
    _finish(retry(folder, _bound_config(folder), options, Console(stderr=True)), folder)


@app.command("inspect")
def inspect_command(
    folder: Folder = "out",
    sql: Annotated[
        str | None,
        typer.Option(help="a query over the views sources, clips, tracks, samples, rejects; prints the rows"),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="with --sql: the rows as CSV, whole and unrounded")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary and statistics as JSON")] = False,
    max_clips: Annotated[int, typer.Option(min=1, help="clips on the contact sheet")] = 60,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="hash every file and name those that are gone or damaged, as after a bad copy"),
    ] = False,
) -> None:
    """Look at a dataset: the funnel, a SQL query, and the contact sheet in OUT/gallery/index.html."""
    if verify:
        from pipeline.verify_command import verify_text

        text, is_whole = verify_text(dataset_store(folder), Console(stderr=True))
        print(text)
        if not is_whole:
            raise typer.Exit(1)
        return
    from manifests.gallery import write_gallery
    from manifests.statistics import format_csv, format_table, statistics
    from manifests.summary import summarise
    from stages.augment import apply_variant
    from stages.media import decode_clip

    dataset = Dataset(folder)
    if sql is not None:
        print((format_csv if as_csv else format_table)(*dataset.query(sql)), end="" if as_csv else "\n")
        return
    if as_json:
        print(json.dumps({"summary": summarise(dataset), "statistics": statistics(dataset)}, indent=1))
        return
    print(funnel_text(summarise(dataset)))
    write_gallery(dataset, lambda data, indices: decode_clip(data, indices=indices), apply_variant, max_clips=max_clips)
    print(f"contact sheet: {folder.rstrip('/')}/gallery/index.html")


@app.command("prune")
def prune_command(folder: Folder = "out") -> None:
    """Remove the normalised clips that the shards already hold (a later retry of a clip needs them)."""
    from pipeline.prune import prune

    freed = prune(folder)
    print(f"{freed / 2**20:.1f} MiB freed")


@app.command("weights")
def weights_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="weights by their names")] = None,
    profile: Annotated[str | None, typer.Option(help="all weights of a profile")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    lock: Annotated[
        bool,
        typer.Option(
            "--lock",
            help="write the commits, hashes and sizes that the list does not know into weights.json of the weights "
            "folder, whose entries replace those that come with the project; from then on other content is an error",
        ),
    ] = False,
    list_only: Annotated[bool, typer.Option("--list", help="show the weights and fetch nothing")] = False,
) -> None:
    """Fetch weights and verify them. What is in VIVID_WEIGHTS or the user's cache stays there; the rest goes into the
    former where it is set, else into the latter.
    """
    from pipeline.weights_command import fetch_and_lock, weights_table

    wanted = list(names or ())
    if profile or config:
        wanted += load_config(str(config or profile), sets or ()).weights()
    if list_only:
        print(weights_table(wanted))
        return
    if not wanted:
        _fail("name weights, or a profile with --profile; `vivid weights --list` shows all", 2)
    fetch_and_lock(wanted, lock, Console(stderr=True))


@app.command("doctor")
def doctor_command(profile: Profile = "cpu", config: ConfigFile = None, sets: Sets = None) -> None:
    """Check this machine for a profile: what its models need, what is there, where they would run."""
    from pipeline.doctor import examine

    report, sound = examine(load_config(str(config or profile), sets or ()))
    print(report)
    if not sound:
        raise typer.Exit(1)


@app.command("plan")
def plan_command(
    folder: Folder = "out",
    clips: Annotated[int, typer.Option(min=1, help="clips of the planned run")] = 1_000_000,
    actors: Annotated[int, typer.Option(min=1, help="actors that share the work")] = 1,
) -> None:
    """Time and bytes of a run of N clips, scaled from a finished dataset of the same profile and kind of clips."""
    from manifests.summary import summarise
    from pipeline.plan import plan_text

    print(plan_text(summarise(Dataset(folder)), clips, actors))


@app.command("demo")
def demo_command(
    folder: Annotated[Path, typer.Argument(help="where the demo clips and their truth are written")] = Path("demo"),
) -> None:
    """Render the demo clips: short scenes with exactly known masks, camera paths and colours, and some bad files."""
    from pipeline.demo import render_demo

    for path in render_demo(folder):
        print(path)


cli_export.register(app)
cli_train.register(app)
cli_latents.register(app)


def main() -> None:
    """Entry point of ``vivid``."""
    listen()
    try:
        app()
    except BaseException as error:
        if (interrupted := heard()) is not None:
            print("vivid: interrupted; run the same command again: what is finished is kept", file=sys.stderr)
            _leave(128 + interrupted.number)
        if (sentence := _sentence(error)) is None:
            raise
        print(f"vivid: {sentence}", file=sys.stderr)
        sys.exit(1)


def _leave(code: int) -> NoReturn:
    if "ray" in sys.modules:
        # Ray was cut off wherever it was: its own end would crash. Its processes end with this one, as after SIGKILL.
        with suppress(OSError):  # who read it was interrupted, too
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _sentence(error: BaseException) -> str | None:
    """What the user is told; None: a defect of ours, whose traceback is wanted."""
    if isinstance(error, KNOWN_ERRORS):
        return str(error)
    if isinstance(error, duckdb.Error):
        # Users' own queries are explained where they are run: here a table could not be read.
        return f"a table of the dataset is damaged ({str(error).splitlines()[0]}): {ADVICE}"
    return None


if __name__ == "__main__":
    main()
