"""Ending a training before numbers that are none reach its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.tensor import DTensor

from train.loss import non_finite_samples

ADVICE = "the last checkpoint is as it was: lower the learning rate or look at these samples"


class Diverged(Exception):
    """The loss or the gradient is no number. The text names the samples."""


def check_losses(losses: Tensor, sample_ids: Sequence[str], step: int) -> None:
    """Raise Diverged with the samples of this process whose losses (B,) are no numbers or infinite."""
    broken = non_finite_samples(losses, sample_ids)
    if broken:
        raise Diverged(f"the loss is no number at step {step}, on {', '.join(broken)}; {ADVICE}")


def check_gradient(norm: Tensor, sample_ids: Sequence[str], step: int) -> None:
    """Raise Diverged with all samples of a step whose gradient has no finite norm: any of them may be the cause.

    Args:
        norm: of the whole gradient, the same in all processes, sharded (FSDP) or not; they call this together.
        sample_ids: this process's samples of the step, of all its passes.
        step: number of the step, for the text.
    """
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if not math.isfinite(float(whole)):
        names = ", ".join(gather_object(list(sample_ids)))
        raise Diverged(f"the gradient is no number at step {step}, whose samples are {names}; {ADVICE}")
