"""A worker host with the stages of the default profile's ANNOTATE, and tiny clips for it."""

from __future__ import annotations

from pathlib import Path

from tiny_dataset import write_config

from bench.waiting_clips import write_waiting_clips
from manifests.storage import open_store
from pipeline.annotate_phase import clip_items
from pipeline.child import Setup
from pipeline.config import load_config
from pipeline.host import HostSettings, WorkerHost
from stages.stage import Context
from stages.work import ClipWork

FEW_STEPS = "stages.propagate.tracker.settings.appearance.classifier.steps=20"
"""Training steps cost time and keep nothing."""


def annotate_worker(folder: Path, clips: int, extra_stage: str | None = None) -> tuple[WorkerHost, list[ClipWork]]:
    """The host and its records; `extra_stage` runs after the others."""
    config = load_config(str(write_config(folder / "tiny.yaml")), [FEW_STEPS])
    store = open_store(folder / "dataset")
    write_waiting_clips(store, folder / "clips", 1, clips)
    (item,) = clip_items(store, "annotate")
    chain = [(name, config.stage_settings(name)) for name in config.chain("annotate")]
    if extra_stage:
        chain.append((extra_stage, {}))
    setup = Setup(tuple(chain), Context(store, folder, config.seed, {}))
    waiting = [record for record in item.records if isinstance(record, ClipWork)]
    return WorkerHost(setup, HostSettings(600, 600, None)), waiting
