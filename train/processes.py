"""The processes of one training: how they are set up, and that they begin at the same place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs, gather_object

from train.telemetry import trackers

PATIENCE = timedelta(hours=12)
"""How long processes wait for one that edits held-out samples or writes a checkpoint. The default of ten minutes on
GPUs would end a training in the middle of either."""


def make_accelerator(folder: Path) -> Accelerator:
    """Devices and processes, with nothing taken over from a user's accelerate configuration that changes the numbers.

    The settings say in which precision is computed and how many passes make a step.
    """
    return Accelerator(
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=trackers(),
        project_dir=str(folder),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def check_agreement(seen: Any, folder: Path) -> None:
    """Raise ValueError unless all processes have `seen` the same in a run's folder. All call it together."""
    every = gather_object([seen])
    other = next((number for number, theirs in enumerate(every) if theirs != every[0]), None)
    if other is not None:
        raise ValueError(
            f"process {other} does not see the checkpoints in {folder} that process 0 sees; "
            "it must lie on storage that all machines reach"
        )
