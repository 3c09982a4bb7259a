"""Latents made without child processes, so that a test of them takes a second."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import pool
from pipeline.child import SeededRecords, Setup
from pipeline.drive import Options
from pipeline.host import Outcome
from pipeline.latents_run import LatentsResult, latents
from pipeline.registry import make_stage
from stages.stage import Record
from train.latent_settings import LatentSettings

WINDOWS = {"height": 64, "width": 96, "frames": 9, "fixed": 2}


class HereHost:
    """Stands in for the worker host: the same stages in this process, one record at a time."""

    def __init__(self, setup: Setup, _settings: object) -> None:
        self.seed = setup.context.seed
        self.stages = [make_stage(name, settings) for name, settings in setup.chain]
        for stage in self.stages:
            stage.setup(setup.context)

    def run(self, records: Sequence[Record]) -> Outcome:
        for record in records:
            try:
                for stage in self.stages:
                    stage.prepare(record)
                    stage.run(SeededRecords([record], self.seed))
            except Exception as error:  # noqa: BLE001
                record.reject(record.id, record.level, self.stages[0].name, "error", str(error), state="failed")
                record.dropped = True
        return Outcome(list(records), {})

    def close(self) -> None:
        """Nothing to end."""


def latent_settings(**given: Any) -> LatentSettings:
    """Settings for 64×96 clips."""
    return LatentSettings.model_validate({"windows": WINDOWS, "precision": "float32", **given})


def make_latents(
    dataset: Path | str,
    base: str,
    settings: LatentSettings | None = None,
    *,
    name: str = "default",
    limit: int | None = None,
) -> LatentsResult:
    """The whole job, in this process."""
    options = Options(local=True, limit=limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "WorkerHost", HereHost)
        return latents(str(dataset), name, base, settings or latent_settings(), options, Console(file=io.StringIO()))


def latent_files(dataset: Path, name: str = "default") -> dict[str, bytes]:
    """Content of every data file of a set by path."""
    folder = dataset / "latents" / name
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("clips", "captions", "index", "rejects")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }
