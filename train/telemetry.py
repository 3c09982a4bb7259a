"""What a training run says of itself: loss, rate, speed, waiting, memory, and how busy the device is."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers import CogVideoXTransformer3DModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

PEAK_FLOPS = {
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "H800": 989e12,
    "L40S": 362e12,
    "A6000": 155e12,
    "4090": 165e12,
}
"""Dense bfloat16 operations per second by device name, from the makers' data sheets; others are not reported."""


def peak_flops(device: torch.device) -> float | None:
    """The device's dense bfloat16 peak, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in PEAK_FLOPS.items() if part in name), None)


def model_flops(transformer: CogVideoXTransformer3DModel, latents: Tensor, full: bool) -> float:
    """Operations of one training step of the transformer on latents (B, F, C, h, w), without recomputation.

    Matrix products: 2 per weight and token, and attention over all tokens. A backward pass costs as much again for the
    inputs, and once more for the weights where they learn (mode full; the share of a LoRA is left out).
    """
    config = transformer.config
    patch = int(config.patch_size)
    batch, frames, _, height, width = latents.shape
    tokens = frames * (height // patch) * (width // patch) + int(config.max_text_seq_length)
    features = int(config.num_attention_heads) * int(config.attention_head_dim)
    # Attention's four projections and the feed-forward's two of fourfold width.
    weights = 12 * features * features
    per_layer = 2 * tokens * weights + 4 * tokens * tokens * features
    return batch * int(config.num_layers) * per_layer * (3 if full else 2)


@dataclass
class Meter:
    """Sums since the last report."""

    losses: list[float] = field(default_factory=list)
    samples: int = 0
    flops: float = 0.0
    waited: float = 0.0
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self.since = self.clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is time without data."""
        start = self.clock()
        yield
        self.waited += self.clock() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent here is not training's."""
        start = self.clock()
        yield
        self.since += self.clock() - start

    def report(self, device: torch.device, processes: int) -> dict[str, float]:
        """The figures as logged; starts anew."""
        seconds = max(1e-9, self.clock() - self.since)
        figures = {
            "loss": sum(self.losses) / max(1, len(self.losses)),
            "samples_per_s": self.samples / seconds,
            "waiting_share": self.waited / seconds,
        }
        if device.type == "cuda":
            figures["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
            peak = peak_flops(device)
            if peak is not None:
                figures["mfu"] = self.flops / seconds / (peak * processes)
        self.losses, self.samples, self.flops, self.waited = [], 0, 0.0, 0.0
        self.since = self.clock()
        return figures


@contextmanager
def progress_bar(console: Console | None, step: int, last: int) -> Iterator[Callable[[int, float], None]]:
    """A bar from `step` to `last` on the console, if one is given; yields what shows the steps done and a loss."""
    with Progress(
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps  loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    ) as bar:
        task = bar.add_task("train", total=last, completed=step, loss="–")
        yield lambda done, loss: bar.update(task, completed=done, loss=f"{loss:.4f}")


def trackers() -> list[str]:
    """TensorBoard, and Weights & Biases where it is installed and set up (it would ask for a key otherwise)."""
    set_up = "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ
    return ["tensorboard", *(["wandb"] if set_up and importlib.util.find_spec("wandb") else [])]
