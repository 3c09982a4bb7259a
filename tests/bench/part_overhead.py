"""What Ray, the worker host and the commits add to the work itself: a pipeline of stages that only sleep."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Report, Table
from bench.waiting_clips import EPOCH, write_waiting_clips
from manifests.commits import Commit, read_commits
from manifests.storage import open_store
from pipeline.annotate_phase import clip_items
from pipeline.config import Pool
from pipeline.phase import PhaseSpec
from pipeline.ray_runner import run_ray, start_ray, stop_ray

FIRST, SECOND = "bench.sleeping_stage:Sleep", "bench.sleeping_stage:SleepLonger"


@dataclass(frozen=True)
class Sleepers:
    """A pool of actors whose stage sleeps."""

    actors: int
    seconds: float
    """Per record."""

    def bound(self, records: int) -> float:
        """Seconds that this pool needs at least."""
        return records * self.seconds / self.actors


def measure_overhead(folder: Path, parts: int, clips_per_part: int, first: Sleepers, second: Sleepers) -> Report:
    """Run `parts` parts through two pools on Ray, each part committed with its files."""
    store = open_store(folder / "dataset")
    write_waiting_clips(store, folder / "clips", parts, clips_per_part)
    pools = tuple(
        # Shares of a core: sleeping takes none, and the number of actors must not depend on the machine.
        Pool(name=stage, stages=(stage,), num_cpus=0.25, min_actors=pool.actors, max_actors=pool.actors)
        for stage, pool in ((FIRST, first), (SECOND, second))
    )
    sleeps: dict[str, dict[str, object]] = {FIRST: {"seconds": first.seconds}, SECOND: {"seconds": second.seconds}}
    spec = PhaseSpec("annotate", store.url, EPOCH, 0, {}, pools, sleeps)
    moments = []
    with _own_modules_on_ray():
        for commit in run_ray(spec, clip_items(store, "annotate")):
            assert isinstance(commit, Commit), commit
            moments.append(time.monotonic())
    assert len(read_commits(store, "annotate")) == parts
    # From the first commit on, all actors are there; its own part is not counted.
    spent = moments[-1] - moments[0]
    bound = max(pool.bound((parts - 1) * clips_per_part) for pool in (first, second))
    shape = " → ".join(f"{pool.actors} × {1000 * pool.seconds:g} ms per clip" for pool in (first, second))
    note = (
        f"{parts} parts of {clips_per_part} clips, {shape}; on Ray, with files and commits, after start-up; parts "
        "shorter than Ray Data's scheduling step of 0.1 s and a commit cost more, real ones take seconds"
    )
    row = (1000 * bound / (parts - 1), 1000 * spent / (parts - 1), 1000 * (spent - bound) / (parts - 1))
    return Report(
        [Figure("sleeping pipeline against its bottleneck", spent / bound, "at most", 1.15, note)],
        [Table("Sleeping pipeline, milliseconds per part", ("bound", "measured", "overhead"), [row])],
    )


@contextmanager
def _own_modules_on_ray() -> Iterator[None]:
    """Ray, started so that its workers find the stages that this process finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        start_ray(None)
        yield
    finally:
        stop_ray()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
