"""Runs parts in this process, one after another: for a laptop, a debugger, or a machine without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manifests.commits import Commit
from pipeline.phase import PartItem, PhaseSpec
from pipeline.pool import Aborted, PoolWorker


def run_local(spec: PhaseSpec, items: Sequence[PartItem]) -> Iterator[Commit | Aborted]:
    """The commit of each part in order, or why it was aborted."""
    workers: list[PoolWorker] = []
    try:
        for index in range(len(spec.pools)):
            workers.append(PoolWorker(spec, index))  # noqa: PERF401 - those made so far must be closed
        for item in items:
            yield _through(workers, item)
    finally:
        for worker in workers:
            worker.close()


def _through(workers: Sequence[PoolWorker], item: PartItem) -> Commit | Aborted:
    value: PartItem | Commit | Aborted = item
    for worker in workers:
        if isinstance(value, PartItem):
            value = worker.process(value)
    assert not isinstance(value, PartItem)
    return value
