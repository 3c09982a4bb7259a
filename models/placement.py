"""Where a network runs and in which number format.

`auto` takes the first CUDA device with bfloat16 where there is one, else the CPU with float32. Which device a run used
does not belong to what its data are: placements are operational and not part of the semantic configuration.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

Dtype = Literal["float32", "bfloat16", "float16"]


class DeviceChoice(BaseModel, frozen=True, extra="forbid"):
    """What the configuration says of one network's device."""

    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto | cpu | cuda | cuda:N; auto prefers CUDA"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 on CUDA, float32 on a CPU, where half precision is slow"
    )


@dataclass(frozen=True)
class Placement:
    """A device as torch names it, and the number format of the weights."""

    device: str
    dtype: Dtype


def cuda_devices() -> int:
    """CUDA devices the networks can use here. A network that has not imported torch has no use for any."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.device_count()) if torch is not None and torch.cuda.is_available() else 0


def place(choice: DeviceChoice) -> Placement:
    """The placement of a choice on this machine, to be asked once the network's module is imported.

    Raises ValueError when a CUDA device is asked for by name and there is none.
    """
    devices = cuda_devices()
    device = choice.device
    if device == "auto":
        device = "cuda" if devices else "cpu"
    elif device.startswith("cuda") and int(device.partition(":")[2] or 0) >= devices:
        there = f"{devices} CUDA device{'' if devices == 1 else 's'}" if devices else "no CUDA device"
        raise ValueError(f"the device '{device}' is not there: this machine has {there}")
    if choice.dtype != "auto":
        return Placement(device, choice.dtype)
    return Placement(device, "float32" if device == "cpu" else "bfloat16")


def check_finite(output: npt.ArrayLike, model: str, dtype: object) -> None:
    """Raises ValueError unless all of a network's output is numbers: float16 overflows where bfloat16 does not."""
    if not np.isfinite(output).all():
        raise ValueError(f"{model} gives values that are not numbers in {dtype}; choose another dtype for it")
