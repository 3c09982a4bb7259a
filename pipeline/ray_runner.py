"""Runs parts on Ray Data: one row is one part, one pool of the configuration is one actor pool.

What the settings below guard against was measured on Ray 2.60 (see the comments): the default block size would make
five parts one unit of retry, and the default error settings fail the job for one part or keep it alive for ever. Faults
of records never reach Ray (`pipeline.host`); its retries are for lost nodes.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.data.context import AutoscalingConfig
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from manifests.commits import Commit
from manifests.storage import StorageError
from pipeline.config import Pool
from pipeline.interrupt import heard
from pipeline.phase import PartItem, PhaseSpec
from pipeline.pool import Aborted, PoolWorker, pack, unpack
from pipeline.reservations import fit_pools, largest_pool

CHECKOUT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = ["/.venv", "/.git", "/out", "/demo", "/bench", "/tests", "**/__pycache__"]
"""Left out of the checkout that is sent to other nodes."""
PARTS_IN_HAND = 2
"""Parts an actor holds: one in its stages while the one before is committed or the one after waits. More would be bound
to one actor long before their turn, and at the end of a phase the other actors would stand idle."""


_is_starting = False
"""Ray or its executor is at its start, or was when a signal cut it off."""


@contextmanager
def _start() -> Iterator[None]:
    global _is_starting
    _is_starting = True
    try:
        yield
    except Exception:
        _is_starting = heard() is not None
        raise
    # Not in a `finally`: what a signal cut off stays so.
    _is_starting = False


class RayLost(RuntimeError):
    """Ray itself failed (a killed raylet, a lost head node). The text is one sentence."""


class PoolActor:
    """The actor: a `PoolWorker` behind Ray Data's batch interface (batches of one row)."""

    def __init__(self, spec: PhaseSpec, pool_index: int) -> None:
        self.spec, self.pool_index = spec, pool_index
        self.worker: PoolWorker | None = None
        self._making = threading.Lock()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        value = unpack(batch["payload"][0])
        if isinstance(value, PartItem):
            value = self._process(value)
        payload = np.empty(1, object)
        payload[0] = pack(value)
        return {"part": batch["part"], "payload": payload}

    def _process(self, item: PartItem) -> PartItem | Commit | Aborted:
        # Not in the constructor: Ray would try again for ever where one sentence to the user is wanted.
        try:
            with self._making:
                self.worker = self.worker or PoolWorker(self.spec, self.pool_index)
        except StorageError as error:
            return Aborted(item.part, str(error))
        return self.worker.process(item)


def start_ray(address: str | None) -> None:
    """Connect to a cluster (address, or RAY_ADDRESS), or start Ray on this machine; once per process."""
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with _start():
        if address:
            ray.init(address=address, runtime_env=_shipped(), log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    # Ray 2.60 deprecates both ways of setting `max_task_retries` (see `_retries`) and offers no third.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None
    context.retried_map_errors = True
    context.max_map_retries = 2
    context.max_errored_blocks = -1
    context.actor_task_retry_on_errors = False
    # Ray's own thresholds (1.75, 0.5) count parts in hand per call at a time, of which an actor of ours has two.
    context.autoscaling_config = AutoscalingConfig(
        actor_pool_util_upscaling_threshold=1.75 / PARTS_IN_HAND,
        actor_pool_util_downscaling_threshold=0.5 / PARTS_IN_HAND,
    )


def _shipped() -> dict[str, Any]:
    # The code, never the folder the command happens to run in: that may hold the videos.
    if (CHECKOUT / "pyproject.toml").is_file():
        return {"working_dir": str(CHECKOUT), "excludes": NOT_SHIPPED}
    return {}


def stop_ray() -> bool:
    """Leave Ray; a Ray started here ends with all its processes. Returns whether it has ended.

    A start that a signal cut off is left alone, to end with this process: ray.shutdown would end that at once (the
    executor's thread still calls Ray) or crash it.
    """
    if _is_starting:
        return False
    ray.shutdown()
    return True


def fit_cluster(spec: PhaseSpec, parts: int) -> tuple[PhaseSpec, str | None]:
    """The phase with reservations that fit what Ray has, and a sentence where GPUs are not there as asked."""
    cpus, gpus = _resources()
    fitted = fit_pools(spec.pools, parts, cpus, gpus)
    changed = ", ".join(old.name for old, new in zip(spec.pools, fitted, strict=True) if old.num_gpus != new.num_gpus)
    if not changed:
        notice = None
    elif not gpus:
        notice = f"Ray has no GPU: what reserves one runs without ({changed})"
    else:
        notice = f"Ray has {gpus:g} GPU{'' if gpus == 1 else 's'}, fewer than actors reserve: they share ({changed})"
    return replace(spec, pools=fitted), notice


def _resources() -> tuple[float, float]:
    """CPUs and GPUs of all nodes."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return float(found.get("CPU", 1)), float(found.get("GPU", 0))


def actor_range(pool: Pool, others: Sequence[Pool], parts: int, cpus: float, gpus: float) -> tuple[int, int]:
    """(smallest, largest) number of actors: never more than parts, and by default what cores and GPUs allow."""
    fitting = largest_pool(pool, others, parts, cpus, gpus)
    largest = max(1, min(pool.max_actors or fitting, parts))
    return min(pool.min_actors, largest), largest


def _retries() -> dict[str, Any]:
    # Ray Data's own default is without end: a part that always kills its actor would keep the job alive for ever.
    return {"max_task_retries": 2}


def run_ray(spec: PhaseSpec, items: Sequence[PartItem]) -> Iterator[Commit | Aborted]:
    """The commit of each part as it is done, or why it was aborted. Parts lost with their nodes are missing."""
    rows = [{"part": item.part, "payload": pack(item)} for item in items]
    dataset: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
    cpus, gpus = _resources()
    for index, pool in enumerate(spec.pools):
        # Every pool keeps room for the smallest number of actors of the others, or the pipeline could not flow.
        others = [other for i, other in enumerate(spec.pools) if i != index]
        smallest, largest = actor_range(pool, others, len(rows), cpus, gpus)
        if len(spec.pools) == 1:
            smallest = largest
        dataset = dataset.map_batches(
            PoolActor,
            fn_constructor_args=(spec, index),
            batch_size=1,
            compute=ActorPoolStrategy(
                min_size=smallest,
                max_size=largest,
                max_tasks_in_flight_per_actor=PARTS_IN_HAND,
                max_concurrent_calls_per_actor=PARTS_IN_HAND,
                enable_true_multi_threading=True,
            ),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus or None,
            ray_remote_args_fn=_retries,
        )
    try:
        with _start():
            batches = iter(dataset.iter_batches(batch_size=1, prefetch_batches=0))
            first = list(islice(batches, 1))
        for batch in chain(first, batches):
            value = unpack(batch["payload"][0])
            assert not isinstance(value, PartItem)
            yield value
    except RayError as error:
        raise RayLost(f"Ray broke down ({type(error).__name__}); the same command goes on where it stopped") from error
