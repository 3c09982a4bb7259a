"""What a training starts from: a base, or a checkpoint of this project that is trained further."""

from __future__ import annotations

from dataclasses import dataclass

from train.base_model import find_components
from train.checkpoint import is_checkpoint, read_config
from train.lora import AdaptationSettings


@dataclass(frozen=True)
class StartingPoint:
    """`base` is what the new checkpoints name as theirs; `lora` the checkpoint whose update is trained further."""

    base: str
    lora: str | None = None


def starting_point(model: str, adaptation: AdaptationSettings) -> StartingPoint:
    """Where a training of this model starts.

    A LoRA is trained further as an update of its own base, so that its result needs no other LoRA. A whole transformer
    that is trained further as a whole needs of its base only the other parts. Raises ValueError when a LoRA is not of
    the adaptation's kind.
    """
    if not is_checkpoint(model):
        return StartingPoint(model)
    config = read_config(model)
    if config.mode == "full":
        return StartingPoint(find_components(model)[0] if adaptation.mode == "full" else model)
    if adaptation.mode == "full":
        raise ValueError(f"{model} is a LoRA and is trained further as one: set adaptation.mode=lora")
    if (adaptation.rank, adaptation.alpha) != (config.lora_rank, config.lora_alpha):
        raise ValueError(
            f"{model} is a LoRA of rank {config.lora_rank} and alpha {config.lora_alpha}: "
            f"set adaptation.rank={config.lora_rank} and adaptation.alpha={config.lora_alpha} to train it further"
        )
    return StartingPoint(config.base, model)
