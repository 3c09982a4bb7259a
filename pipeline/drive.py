"""Carrying a phase out: its parts through the pools, here or on Ray, with a progress line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from manifests.commits import Commit
from pipeline.interrupt import hear, listen, raise_if_heard
from pipeline.local_runner import run_local
from pipeline.phase import PartItem, PhaseSpec
from pipeline.pool import Aborted
from pipeline.progress import PhaseProgress
from pipeline.quiet import quiet_native_stderr


class RunError(Exception):
    """The run cannot go on. The text is one sentence."""


@dataclass(frozen=True)
class Options:
    """How a run is carried out; nothing here changes the data."""

    phases: tuple[str, ...] = ("ingest", "annotate", "compose")
    limit: int | None = None
    local: bool = False
    workers: int | None = None
    address: str | None = None


def drive(
    spec: PhaseSpec,
    items: Sequence[PartItem],
    sizes: Mapping[int, int],
    unit: str,
    options: Options,
    console: Console,
    *,
    told_of_gpus: bool = False,
) -> int:
    """Commit the parts of a phase; returns how many.

    Args:
        spec: the phase.
        items: its parts.
        sizes: records of each part, for the progress line.
        unit: what a record is called there.
        options: how the run is carried out.
        console: where progress is shown.
        told_of_gpus: the user knows already that there are too few.

    Raises RunError, one sentence, when a part was aborted or lost with its worker.
    """
    missing = {item.part for item in items}
    if not items:
        return 0
    with PhaseProgress(spec.phase, unit, sum(sizes[part] for part in missing), console) as progress:
        for commit in _commits(spec, items, options, None if told_of_gpus else console):
            if isinstance(commit, Aborted):
                raise RunError(commit.message)
            missing.remove(commit.part)
            progress.add(commit, sizes[commit.part])
            raise_if_heard()
    if missing:
        parts = ", ".join(str(part) for part in sorted(missing)[:10])
        raise RunError(
            f"{spec.phase}: {len(missing)} parts were lost with their workers ({parts}); run the same command again"
        )
    return len(items)


def _commits(
    spec: PhaseSpec, items: Sequence[PartItem], options: Options, console: Console | None
) -> Iterator[Commit | Aborted]:
    if options.local:
        yield from run_local(spec, items)
        return
    # Imported and started only when there is work: it takes seconds.
    from pipeline.ray_runner import RayLost, fit_cluster, run_ray, start_ray

    with quiet_native_stderr():
        try:
            start_ray(options.address)
            listen()
        except SystemExit:
            hear(signal.SIGTERM)  # It was Ray's own handler, set at its start.
        fitted, notice = fit_cluster(spec, len(items))
        if notice and console is not None:
            console.print(notice, style="yellow", highlight=False, markup=False, soft_wrap=True)
        try:
            yield from run_ray(fitted, items)
        except RayLost as error:
            raise RunError(str(error)) from error


def leave_ray(options: Options) -> bool:
    """End the Ray of a run, if it used one; whether nothing works on the dataset any more.

    Not so after a signal that cut off Ray's own start: it cannot be ended then, only left.
    """
    runner = sys.modules.get("pipeline.ray_runner")
    return options.local or runner is None or bool(runner.stop_ray())
