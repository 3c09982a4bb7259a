"""The worker of a pool: takes a part, runs the pool's stages over its records, and in the last pool commits it.

The same class is the Ray actor's inside and, with ``--local``, runs in the driver.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from manifests.commits import Commit, StaleEpoch
from manifests.storage import StorageError, open_store, storage_errors
from pipeline.annotate_phase import AnnotatePhase
from pipeline.child import Setup
from pipeline.compose_phase import ComposePhase
from pipeline.host import HostSettings, SetupFailed, WorkerHost
from pipeline.ingest_phase import IngestPhase
from pipeline.latents_phase import CaptionsPhase, LatentsPhase
from pipeline.phase import PartItem, Phase, PhaseSpec
from stages.stage import Context

PHASE_CLASSES: dict[str, Callable[[], Phase]] = {
    "ingest": IngestPhase,
    "annotate": AnnotatePhase,
    "compose": ComposePhase,
    "latents": LatentsPhase,
    "captions": CaptionsPhase,
}


@dataclass(frozen=True)
class Aborted:
    """The part could not be done for a reason that is not in its records (disk full, model missing). One sentence."""

    part: int
    message: str


class PoolWorker:
    """Runs the parts of one pool of a phase. Making one raises StorageError on a full disk.

    `process` may be called from several threads: the stages work on one part at a time, while another is committed.
    """

    def __init__(self, spec: PhaseSpec, pool_index: int) -> None:
        self.spec = spec
        self._turn = threading.Lock()
        self.pool = spec.pools[pool_index]
        self.is_first = pool_index == 0
        self.is_last = pool_index == len(spec.pools) - 1
        self.phase = PHASE_CLASSES[spec.phase]()
        self.store = open_store(spec.url)
        scratch = self.store.scratch().parent
        chain = tuple((name, dict(spec.settings.get(name, {}))) for name in self.pool.stages)
        context = Context(self.store, scratch, spec.seed, spec.roots, spec.bank, spec.models)
        with storage_errors("write to", spec.url):
            self.host = WorkerHost(Setup(chain, context), host_settings(spec, pool_index))

    def process(self, item: PartItem) -> PartItem | Commit | Aborted:
        """The part with this pool's work done, or its commit from the last pool."""
        try:
            return self._process(item)
        except (StorageError, SetupFailed, StaleEpoch) as error:
            return Aborted(item.part, str(error))

    def _process(self, item: PartItem) -> PartItem | Commit:
        records = self.phase.load(self.store, item) if self.is_first else item.records
        live = [record for record in records if not record.dropped]
        with self._turn:
            outcome = self.host.run(live)
        done = {record.id: record for record in outcome.records}
        seconds = dict(item.seconds)
        for stage, value in outcome.seconds.items():
            seconds[stage] = round(seconds.get(stage, 0.0) + value, 4)
        item = replace(item, records=tuple(done.get(r.id, r) for r in records), seconds=seconds)
        return self.phase.finish(self.store, self.spec.epoch, item) if self.is_last else item

    def close(self) -> None:
        """End the child process."""
        self.host.close()


def host_settings(spec: PhaseSpec, pool_index: int) -> HostSettings:
    """The worker limits of a pool."""
    pool = spec.pools[pool_index]
    return HostSettings(
        deadline_s=pool.deadline_s,
        setup_deadline_s=pool.setup_deadline_s,
        memory_bytes=pool.memory_mb * 2**20 if pool.memory_mb else None,
        batch=pool.batch,
        prefetch=pool.prefetch,
    )


def pack(value: PartItem | Commit | Aborted) -> bytes:
    """A row's payload between pools of one job."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(payload: bytes) -> PartItem | Commit | Aborted:
    """`pack` undone; only ever applied to rows of our own job."""
    value: PartItem | Commit | Aborted = pickle.loads(payload)
    return value
