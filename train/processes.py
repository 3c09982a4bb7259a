"""The processes of one training: how they are set up, and that they begin at the same place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin, InitProcessGroupKwargs, gather_object

from train.telemetry import trackers

PATIENCE = timedelta(hours=12)
"""How long processes wait for one that edits held-out samples or writes a checkpoint. The default of ten minutes on
GPUs would end a training in the middle of either."""
OTHER_WAYS = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""They hold weights and averages in forms of their own, which would not be saved whole."""
FSDP_VERSION = 2
"""The first version flattens parameters, of which no optimizer's state could be cut again."""


def make_accelerator(folder: Path) -> Accelerator:
    """Devices and processes, with nothing taken over from a user's accelerate configuration that changes the numbers.

    The settings say in which precision is computed and how many passes make a step. Raises ValueError where that
    configuration asks for another way to spread a training than those that are known to save and resume here.
    """
    accelerator = Accelerator(
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=trackers(),
        project_dir=str(folder),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    way, plugin = accelerator.distributed_type, getattr(accelerator.state, "fsdp_plugin", None)
    first_fsdp = way == DistributedType.FSDP and plugin is not None and plugin.fsdp_version != FSDP_VERSION
    if way in OTHER_WAYS or first_fsdp:
        name = "FSDP 1" if first_fsdp else way.value
        raise ValueError(f"a training runs on one device, under DDP or FSDP 2 (train/fsdp.yaml), not under {name}")
    return accelerator


def check_agreement(seen: Any, folder: Path) -> None:
    """Raise ValueError unless all processes have `seen` the same in a run's folder. All call it together."""
    every = gather_object([seen])
    other = next((number for number, theirs in enumerate(every) if theirs != every[0]), None)
    if other is not None:
        raise ValueError(
            f"process {other} does not see the checkpoints in {folder} that process 0 sees; "
            "it must lie on storage that all machines reach"
        )
