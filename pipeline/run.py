"""One run of the main job: list, ingest, lay out, annotate, draw donors, compose; each step only what is missing.

Everything a run needs to know of earlier ones is in the dataset's folder, so a run may be killed anywhere and the same
command goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from manifests.commits import read_run, sweep
from manifests.lock import run_lock
from manifests.storage import Store, open_store
from manifests.summary import failed_ids, write_summary
from models.placement import cuda_devices
from models.registry import ModelResources
from pipeline.annotate_phase import clip_items
from pipeline.binding import bind, bind_roots
from pipeline.checks import check_models, on_this_machine
from pipeline.config import Config, Pool
from pipeline.donor_bank import banks_by_part, commit_bank
from pipeline.drive import Options, RunError, drive, leave_ray
from pipeline.ingest_phase import (
    changed_sources,
    commit_layout,
    commit_listing,
    commit_retry_layout,
    commit_retry_listing,
    ingest_items,
    listed_sources,
)
from pipeline.phase import PartItem, PhaseSpec
from pipeline.work_left import phases_left
from stages.listing import Listing, list_sources

UNITS = {"ingest": "sources", "annotate": "clips", "compose": "clips"}


@dataclass(frozen=True)
class Result:
    """What a run did: parts committed now, and the summary of the whole dataset."""

    committed: int
    summary: dict[str, object]
    seconds: float


class Run:
    """Holds a folder's lock and drives the phases over it."""

    def __init__(
        self, store: Store, config: Config, options: Options, console: Console, epoch: int, models_checked: bool
    ) -> None:
        self.store, self.config, self.options, self.console = store, config, options, console
        self.epoch, self.models_checked = epoch, models_checked
        self.roots: dict[str, str] = {}
        self.models = ModelResources(devices=config.devices, revisions=config.weights())
        self.committed = 0

    def take_sources(self, listing: Listing) -> None:
        """Commit what is new in the listing; name what has changed."""
        listed = listed_sources(self.store)
        if not listing.sources and not listing.refused and not listed:
            raise RunError("no video or image found in the inputs")
        for name in changed_sources(listed, listing):
            self.console.print(
                f"[yellow]{name} has changed since it was listed; its clips stay as they are "
                "(use a new output folder for the new file)[/]",
                highlight=False,
            )
        commit_listing(self.store, self.epoch, listing, self.config.ingest_slice, self.options.limit)

    def check_models(self, more: bool) -> None:
        """Check the models of the phases that have work left; `more`: sources or clips are about to be added."""
        if self.models_checked:
            return
        left = phases_left(self.store, self.options.phases, more)
        check_models(self.config, left, self.console, here=works_here(self.options))

    def phases(self) -> None:
        """Run the phases asked for, each as far as the one before is complete."""
        if "ingest" in self.options.phases:
            self._phase("ingest", ingest_items(self.store))
        if not ingest_items(self.store):
            commit_layout(self.store, self.epoch, self.config.layout, self.config.seed)
        if "annotate" in self.options.phases:
            self._phase("annotate", clip_items(self.store, "annotate"))
        if "compose" in self.options.phases:
            self._compose()

    def _compose(self) -> None:
        if ingest_items(self.store) or clip_items(self.store, "annotate"):
            raise RunError("compose needs every part annotated first; run again without --phases")
        commit_bank(self.store, self.epoch, self.config.donors, self.config.seed)
        banks = banks_by_part(self.store)
        by_bank: dict[int, list[PartItem]] = {}
        for item in clip_items(self.store, "compose"):
            number, _ = banks[item.part]
            by_bank.setdefault(number, []).append(replace(item, bank=number))
        for _, items in sorted(by_bank.items()):
            self._phase("compose", items, bank=banks[items[0].part][1])

    def _phase(self, phase: str, items: Sequence[PartItem], bank: str | None = None) -> None:
        if not items:
            return
        pools = tuple(self._sized(pool) for pool in self.config.pools[phase])
        settings = {name: self.config.stage_settings(name) for name in self.config.chain(phase)}
        spec = PhaseSpec(
            phase, self.store.url, self.epoch, self.config.seed, self.roots, pools, settings, bank, self.models
        )
        sizes = {item.part: len(item.records) for item in items}
        # Of a machine without a GPU the check before the run has spoken already.
        told = not cuda_devices() and on_this_machine(self.options.address)
        self.committed += drive(spec, items, sizes, UNITS[phase], self.options, self.console, told_of_gpus=told)

    def _sized(self, pool: Pool) -> Pool:
        if self.options.workers is None:
            return pool
        return pool.model_copy(update={"min_actors": 1, "max_actors": self.options.workers})


def shards(inputs: Sequence[str], out: str, config: Config, options: Options, console: Console) -> Result:
    """The main job: sources in, shards and manifests out; only what is missing is done.

    Raises ModelsNotReady before anything is planned; RunError, FolderLocked, ConfigMismatch, StorageError (one sentence
    each). Interrupted passes through and leaves the folder resumable.
    """

    def plan(run: Run) -> None:
        listing = outside(list_sources(inputs, config.listing), run.store)
        listed = listed_sources(run.store)
        room = options.limit is None or len(listed) < options.limit
        run.check_models(more=room and any(source.source_id not in listed for source in listing.sources))
        run.roots = bind_roots(run.store, listing.roots)
        run.take_sources(listing)

    return _run(out, config, options, console, plan)


def outside(listing: Listing, store: Store) -> Listing:
    """The listing without what lies in the dataset's own folder (its gallery is full of pictures)."""
    own = (os.path.realpath(store.url) if store.is_local else store.url.rstrip("/")) + "/"
    sources = tuple(s for s in listing.sources if not f"{listing.roots[s.root].rstrip('/')}/{s.path}".startswith(own))
    return replace(listing, sources=sources)


def retry(out: str, config: Config, options: Options, console: Console) -> Result:
    """Take the failed sources and clips of a dataset again, in new parts."""

    def plan(run: Run) -> None:
        run.roots = bind_roots(run.store, {})
        sources, clips = failed_ids(run.store)
        run.check_models(more=bool(sources or clips))
        again = commit_retry_listing(run.store, run.epoch, sources, config.ingest_slice)
        again += commit_retry_layout(run.store, run.epoch, config.layout, clips)
        console.print(f"{again} failed records are tried again" if again else "nothing has failed", highlight=False)

    return _run(out, config, options, console, plan)


def _run(out: str, config: Config, options: Options, console: Console, plan: Callable[[Run], None]) -> Result:
    start = time.monotonic()
    store = open_store(out)
    document = read_run(store)
    if document is None:
        # All is to be done: what cannot work is said before the folder is made.
        check_models(config, options.phases, console, here=works_here(options))
    else:
        config = config.bound_to(document["semantic"].get("weights", {}))
    with run_lock(store):
        run = Run(store, config, options, console, bind(store, config, console), models_checked=document is None)
        sweep(store)
        plan(run)
        try:
            run.phases()
            summary = write_summary(store)
        finally:
            # Also what a worker of a killed run may have left behind since the first sweep.
            if leave_ray(options):
                sweep(store)
    return Result(run.committed, summary, time.monotonic() - start)


def works_here(options: Options) -> bool:
    """Whether the work is done on this machine."""
    return options.local or on_this_machine(options.address)
