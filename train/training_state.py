"""What a training changes, saved and gone on from: the weights, AdamW's averages of their gradients, their own average.

Files hold whole tensors whatever the processes held: those of a sharded model (FSDP) are gathered when they are saved
and cut when they are loaded. So a run goes on with any number of processes, sharded or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from diffusers import CogVideoXTransformer3DModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from train.checkpoint import CheckpointConfig, atomic_folder, save_checkpoint, write_checkpoint
from train.run_folder import STATE_FILE


class TrainingState:
    """The changing part of a run. All processes call its methods together.

    Args:
        accelerator: tells which process writes.
        transformer: the model itself, prepared (and sharded in place, with FSDP) but not wrapped (DDP).
        optimizer: prepared.
        decay: of the averaged weights; None: there are none.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        transformer: CogVideoXTransformer3DModel,
        optimizer: AcceleratedOptimizer,
        decay: float | None,
    ) -> None:
        self.accelerator, self.transformer, self.optimizer = accelerator, transformer, optimizer
        self.trainable: list[nn.Parameter] = [p for p in transformer.parameters() if p.requires_grad]
        self.ema = EMAModel(self.trainable, decay=decay) if decay is not None else None

    def average(self) -> None:
        """Take the weights of a step into their average."""
        if self.ema is not None:
            self.ema.step(self.trainable)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the averaged weights, if there are."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.trainable)
        self.ema.copy_to(self.trainable)
        try:
            yield
        finally:
            self.ema.restore(self.trainable)

    # --- saving ---

    def save(self, folder: Path, config: CheckpointConfig) -> None:
        """Write a checkpoint that can be gone on from, whole or not at all."""
        main = self.accelerator.is_main_process
        weights = self._whole_weights(config)
        state = _whole(
            {"optimizer": self.optimizer.state_dict(), "ema": self.ema.state_dict() if self.ema else None}, keep=main
        )
        if main:
            with atomic_folder(folder) as partial:
                write_checkpoint(partial, self.transformer, config, state_dict=weights)
                (partial / STATE_FILE).parent.mkdir()
                torch.save(state, partial / STATE_FILE)
        self.accelerator.wait_for_everyone()

    def save_result(self, folder: Path, config: CheckpointConfig) -> None:
        """Write a checkpoint of the averaged weights, or of the weights where none are averaged."""
        with self.averaged():
            weights = self._whole_weights(config)
            if self.accelerator.is_main_process:
                save_checkpoint(folder, self.transformer, config, state_dict=weights)
        self.accelerator.wait_for_everyone()

    def _whole_weights(self, config: CheckpointConfig) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.transformer.state_dict()
        if config.mode == "lora":
            # Frozen weights are not saved, and gathering them takes time and memory.
            learnt = {name for name, parameter in self.transformer.named_parameters() if parameter.requires_grad}
            weights = {name: weight for name, weight in weights.items() if name in learnt}
        whole: dict[str, Tensor] = _whole(weights, keep=self.accelerator.is_main_process)
        return whole

    # --- going on ---

    def resume(self, folder: Path) -> None:
        """Take the averages of a checkpoint. The weights are loaded before they are sharded, see `load_weights`."""
        # Mapped, so that the processes of a machine read one copy.
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True, mmap=True)
        self.optimizer.load_state_dict(_cut_like(self.optimizer, state["optimizer"]))
        if self.ema is not None:
            saved: Sequence[Tensor] = state["ema"].pop("shadow_params")
            self.ema.load_state_dict(state["ema"])
            for average, whole in zip(self.ema.shadow_params, saved, strict=True):
                average.copy_(_cut(whole, average))


def _whole(value: Any, keep: bool) -> Any:
    """A state (nested dicts and lists) with its sharded tensors gathered in main memory; without `keep`, dropped."""
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(value, dict):
        return {name: _whole(part, keep) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part, keep) for part in value]
    return value


def _cut(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another is."""
    if not isinstance(like, DTensor):
        return whole
    # Every process has the whole and takes its own part: nothing is sent.
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def _cut_like(optimizer: AcceleratedOptimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's whole state with every average sharded as its weight is; numbers of steps stay."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    averages = {
        number: {
            name: _cut(value, weights[number]) if value.shape == weights[number].shape else value
            for name, value in parts.items()
        }
        for number, parts in state["state"].items()
    }
    return {**state, "state": averages}
