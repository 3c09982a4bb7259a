"""Where a network runs and in which number format.

`auto` takes the first CUDA device with bfloat16 where there is one, else the CPU with float32. Which device a run used
does not belong to what its data are: placements are operational and not part of the semantic configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


def place(choice: DeviceChoice) -> Placement:
    """The placement of a choice on this machine.

    Raises ValueError when a CUDA device is asked for by name and there is none.
    """
    import torch

    device = choice.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device.startswith("cuda"):
        number = int(device.partition(":")[2] or 0)
        if number >= torch.cuda.device_count():
            raise ValueError(f"the device {device} is not there: this machine has {torch.cuda.device_count()} GPUs")
    if choice.dtype != "auto":
        return Placement(device, choice.dtype)
    return Placement(device, "float32" if device == "cpu" else "bfloat16")
