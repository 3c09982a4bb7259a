"""`vivid latents`: encode a dataset's windows and captions once, so that training need not do it at every visit.

The latents of a dataset lie in a folder of their own beside its shards, with the same commit protocol: the job may be
killed anywhere and the same command goes on, and parts that are appended to the dataset bring only what is new.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from manifests.commits import Commit, read_commits, read_run, sweep
from manifests.dataset import Dataset
from manifests.latents import LATENT_FOLDERS, LATENT_PHASES, latents_url
from manifests.lock import run_lock
from manifests.storage import Store, open_store
from models.placement import DeviceChoice
from models.registry import ModelResources
from pipeline.config import Pool
from pipeline.drive import Options, RunError, drive, leave_ray
from pipeline.latents_binding import bind_latents
from pipeline.phase import PartItem, PhaseSpec
from stages.latent_work import PartOfDataset
from train.base_identity import base_folder, identify
from train.encode_captions import BATCHES
from train.encode_clips import MODEL
from train.latent_settings import EncodeSettings, LatentSettings
from train.text import EMPTY_PROMPT

CLIPS_STAGE = "train.encode_clips:EncodeClips"
CAPTIONS_STAGE = "train.encode_captions:EncodeCaptions"
DEADLINE_S = 3600.0
"""For one clip with all its windows and masks: on a CPU a window of 49 frames at 480×720 takes minutes."""


@dataclass(frozen=True)
class LatentsResult:
    """What lies in the set after a run, over all its parts, and what this run did."""

    url: str
    counts: dict[str, int]
    clip_bytes: int
    caption_bytes: int
    committed: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What there is to encode: clips per part, and the captions first seen in each part."""

    clips: dict[int, int]
    captions: dict[int, tuple[str, ...]]


def bound_settings(dataset: str, name: str) -> tuple[str | None, dict[str, Any]]:
    """Base and settings of a set that exists already; None and nothing of a new one."""
    document = read_run(open_store(latents_url(dataset, name)))
    return (None, {}) if document is None else (str(document["base"]), dict(document["semantic"]["settings"]))


def latents(
    dataset: str,
    name: str,
    base: str,
    settings: LatentSettings,
    options: Options,
    console: Console,
    gpus: float = 1.0,
) -> LatentsResult:
    """Encode what is not yet encoded of a dataset.

    Args:
        dataset: folder or URL.
        name: of the set; each has its own base and settings.
        base: CogVideoX base.
        settings: which latents.
        options: how the run is carried out; `limit` counts parts of the dataset.
        console: where progress is shown.
        gpus: that each worker reserves.

    Raises NotADataset, RunError, FolderLocked, ConfigMismatch, StorageError, ValueError (one sentence each).
    """
    began = time.monotonic()
    plan = plan_of(Dataset(dataset), settings.split, options.limit)
    identity = identify(base_folder(base)).model_dump()
    settings = settings.model_copy(update={"precision": _precision(settings, options)})
    store = open_store(latents_url(dataset, name))
    with run_lock(store):
        epoch = bind_latents(store, base, identity, settings, console)
        sweep(store, LATENT_PHASES, LATENT_FOLDERS)
        job = _Job(store, epoch, plan, EncodeSettings(base=base, identity=identity, latents=settings), gpus)
        try:
            committed = job.encode_clips(options, console) + job.encode_captions(options, console)
        finally:
            if leave_ray(options):
                sweep(store, LATENT_PHASES, LATENT_FOLDERS)
    return _result(store, committed, time.monotonic() - began)


def plan_of(dataset: Dataset, split: str | None, limit: int | None) -> Plan:
    """What a set of latents of a dataset holds. Raises RunError when there is no sample in the split."""
    where = "" if split is None else f"WHERE split = '{split.replace(chr(39), chr(39) * 2)}'"
    with dataset.connect() as db:
        found = db.execute(f"SELECT part, count(DISTINCT clip_id) FROM samples {where} GROUP BY 1 ORDER BY 1")
        counts = found.fetchall()
        if not counts:
            raise RunError(f"{dataset.store.url} has no samples" + (f" in the split '{split}'" if split else ""))
        clips = {int(part): int(count) for part, count in counts[:limit]}
        captions: dict[int, list[str]] = {part: [] for part in clips}
        # The empty prompt comes up in every training.
        captions[min(clips)].append(EMPTY_PROMPT)
        cursor = db.execute(
            f"SELECT caption, min(part) FROM samples {where} GROUP BY 1 HAVING caption <> '' ORDER BY 2, 1"
        )
        while rows := cursor.fetchmany(10_000):
            for caption, part in rows:
                if part in captions:
                    captions[part].append(caption)
    return Plan(clips, {part: tuple(texts) for part, texts in captions.items() if texts})


def _precision(settings: LatentSettings, options: Options) -> str:
    """The number format that `auto` means: a set that is gone on with has spelled it out (see `bound_settings`)."""
    if settings.precision != "auto":
        return settings.precision
    elsewhere = not options.local and (options.address or os.environ.get("RAY_ADDRESS"))
    return "bfloat16" if elsewhere or torch.cuda.is_available() else "float32"


@dataclass(frozen=True)
class _Job:
    """Both phases of a run that holds the set's lock."""

    store: Store
    epoch: int
    plan: Plan
    encoding: EncodeSettings
    gpus: float

    def encode_clips(self, options: Options, console: Console) -> int:
        """Commit the missing parts of clips; returns how many."""
        parts = {part: PartOfDataset(f"part {part}", self._split) for part in self.plan.clips}
        spec = self._spec("latents", CLIPS_STAGE, 1, options.workers)
        return drive(spec, self._missing("latents", parts), self.plan.clips, "clips", options, console)

    def encode_captions(self, options: Options, console: Console) -> int:
        """Commit the missing parts of captions; returns how many."""
        texts = self.plan.captions
        parts = {part: PartOfDataset(f"part {part}", self._split, texts[part]) for part in texts}
        spec = self._spec("captions", CAPTIONS_STAGE, BATCHES[self.encoding.latents.precision], options.workers)
        sizes = {part: len(captions) for part, captions in texts.items()}
        return drive(spec, self._missing("captions", parts), sizes, "captions", options, console)

    @property
    def _split(self) -> str | None:
        return self.encoding.latents.split

    def _missing(self, phase: str, parts: dict[int, PartOfDataset]) -> list[PartItem]:
        done = read_commits(self.store, phase)
        return [PartItem(part, (record,)) for part, record in sorted(parts.items()) if part not in done]

    def _spec(self, phase: str, stage: str, batch: int, workers: int | None) -> PhaseSpec:
        settings = self.encoding.latents
        pool = Pool(
            name=phase,
            stages=(stage,),
            num_gpus=self.gpus,
            max_actors=workers,
            deadline_s=DEADLINE_S,
            setup_deadline_s=DEADLINE_S,
            memory_mb=None,
            batch=batch,
            prefetch=True,
        )
        return PhaseSpec(
            phase=phase,
            url=self.store.url,
            epoch=self.epoch,
            seed=settings.seed,
            roots={},
            pools=(pool,),
            settings={stage: self.encoding.model_dump(mode="json")},
            models=ModelResources(devices={MODEL: DeviceChoice.model_validate({"dtype": settings.precision})}),
        )


def _result(store: Store, committed: int, seconds: float) -> LatentsResult:
    commits: dict[str, list[Commit]] = {phase: list(read_commits(store, phase).values()) for phase in LATENT_PHASES}
    names = {"latents": ("kept", "failed", "windows", "masked"), "captions": ("kept", "failed", "tokens")}
    counts = {
        f"{phase}.{name}": sum(commit.counts.get(name, 0) for commit in commits[phase])
        for phase in LATENT_PHASES
        for name in names[phase]
    }
    sizes = [sum(file.size for commit in commits[phase] for file in commit.files) for phase in LATENT_PHASES]
    return LatentsResult(store.url, counts, sizes[0], sizes[1], committed, seconds)
