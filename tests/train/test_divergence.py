from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial

from train.divergence import Diverged, check_gradient, check_losses


@pytest.fixture
def _group_of_one() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_only_samples_whose_loss_is_no_number_are_named() -> None:
    check_losses(torch.tensor([1.0, 1e30]), ["a", "b"], 3)
    with pytest.raises(Diverged, match=r"^the loss is no number at step 3, on b, c; the last checkpoint is as it was"):
        check_losses(torch.tensor([1.0, float("nan"), float("inf")]), ["a", "b", "c"], 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_all_samples_of_a_gradient_that_is_no_number_are_named(value: float) -> None:
    check_gradient(torch.tensor(1e30), ["a", "b"], 7)
    with pytest.raises(Diverged, match=r"^the gradient is no number at step 7, whose samples are a, b; "):
        check_gradient(torch.tensor(value), ["a", "b"], 7)


@pytest.mark.usefixtures("_group_of_one")
def test_a_sharded_norm_is_made_whole_first() -> None:
    mesh = init_device_mesh("cpu", (1,))
    check_gradient(DTensor.from_local(torch.tensor(2.0), mesh, [Partial("sum")]), ["a"], 0)
    with pytest.raises(Diverged):
        check_gradient(DTensor.from_local(torch.tensor(float("nan")), mesh, [Partial("sum")]), ["a"], 0)
