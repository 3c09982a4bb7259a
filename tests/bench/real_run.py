"""A real run of the main job, and what it says of cores, bytes and stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from bench.figures import Figure, Report, Table
from bench.processes import Moment, Watch
from manifests.commits import read_commits
from manifests.dataset import Dataset
from manifests.records import SampleRow
from manifests.storage import open_store
from pipeline.config import Config
from pipeline.drive import Options
from pipeline.run import shards

REFERENCE_FRAMES = 104
"""Frames of the clip that seconds per stage are given for."""
ACTORS = 2


@dataclass(frozen=True)
class RealRun:
    """A finished dataset and what its ANNOTATE looked like from outside."""

    folder: Path
    moments: list[Moment]


def run_job(clips: Sequence[Path], folder: Path, config: Config, *, local: bool = False) -> RealRun:
    """Build a dataset from clips; ANNOTATE runs on Ray with two actors (`local`: in this process), watched."""
    out = folder / "dataset"
    inputs = [str(clip) for clip in clips]
    console = Console(quiet=True)
    store = open_store(out)
    shards(inputs, str(out), config, Options(phases=("ingest",), local=True), console)
    with Watch(lambda: len(store.list("commits/annotate"))) as watch:
        shards(inputs, str(out), config, Options(phases=("annotate",), local=local, workers=ACTORS), console)
    shards(inputs, str(out), config, Options(phases=("compose",), local=True), console)
    return RealRun(out, watch.moments)


def measure_cores(run: RealRun) -> Report:
    """Processor time of the workers while there was work for both of them."""
    parts = len(read_commits(open_store(run.folder), "annotate"))
    # From the moment both run to the moment one of them finds nothing more to do.
    steady = [moment for moment in run.moments if moment.running == ACTORS and moment.done < parts - 1]
    first, last = steady[0], steady[-1]
    available = ACTORS * (last.clock - first.clock)
    busy = (last.workers - first.workers) / available
    idle = (last.idle - first.idle) / ((psutil.cpu_count() or ACTORS) * (last.clock - first.clock))
    note = (
        f"processor time of the {ACTORS} workers ÷ ({ACTORS} × time) over {last.clock - first.clock:.0f} s and "
        f"{parts} parts; {100 * idle:.0f} % of the machine was idle meanwhile and {100 * (1 - idle - busy):.0f} % "
        "went to other processes"
    )
    return Report([Figure("cores busy in ANNOTATE", busy, "at least", 0.85, note)])


def measure_bytes(run: RealRun) -> Report:
    """Bytes of shards and manifests per logical sample, against a copy of clip, masks and caption for each."""
    dataset = Dataset(run.folder)
    samples = dataset.rows("samples", SampleRow)
    # An exploded layout holds masks per variant; they are counted at the size of the track's own run-length code,
    # which is smaller than any mask video or array file of them.
    exploded = sum(sample.clip_size + sample.mask_size + len(sample.caption.encode()) for sample in samples)
    stored = sum(path.stat().st_size for part in ("shards", "manifests") for path in _files(run.folder / part))
    kept = stored + sum(path.stat().st_size for part in ("clips", "masks") for path in _files(run.folder / part))
    count = len(samples)
    note = f"{count} samples of {len({sample.clip_id for sample in samples})} clips; shards and manifests counted"
    rows = [(stored / count / 1e3, exploded / count / 1e3, exploded / stored, exploded / kept)]
    columns = ("ours, kB", "exploded, kB", "exploded ÷ ours", "the same before `vivid prune`")
    return Report(
        [Figure("bytes per sample against the exploded layout", stored / exploded, "at most", 1 / 12, note)],
        [Table("Bytes per logical sample", columns, rows)],
    )


def measure_stages(run: RealRun) -> Report:
    """Seconds each stage takes per clip of a reference length."""
    store = open_store(run.folder)
    frames, clips = Dataset(store).query("SELECT sum(num_frames), count(*) FROM clips")[1][0]
    seconds: dict[tuple[str, str], float] = {}
    for phase in ("ingest", "annotate", "compose"):
        for commit in read_commits(store, phase).values():
            for stage, value in commit.timings.items():
                seconds[phase, stage] = seconds.get((phase, stage), 0.0) + value
    per_clip = REFERENCE_FRAMES / float(str(frames))
    rows: list[tuple[str | float, ...]] = [(*name, value * per_clip) for name, value in seconds.items()]
    rows.append(("all", "", sum(seconds.values()) * per_clip))
    title = f"Seconds per {REFERENCE_FRAMES} frames of 720p on one core, from the commits of {clips} clips"
    return Report([], [Table(title, ("phase", "stage", "seconds"), rows)])


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
