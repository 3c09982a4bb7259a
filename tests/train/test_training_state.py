"""A state that is saved sharded and gone on from whole, and the other way round (FSDP over one process)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
import torch
from safetensors.torch import load_file
from tiny_models.cogvideox import inpaint_transformer
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from train.checkpoint import CheckpointConfig, describe, load_weights
from train.lora import AdaptationSettings, prepare_for_training
from train.run_folder import STATE_FILE
from train.training_state import TrainingState

MODES = [AdaptationSettings(rank=4, alpha=4), AdaptationSettings(mode="full")]


@pytest.fixture(autouse=True)
def _group_of_one() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def state_of(settings: AdaptationSettings, shard: bool, resumed: Path | None = None) -> TrainingState:
    transformer = inpaint_transformer()
    torch.manual_seed(0)
    prepare_for_training(transformer, settings)
    if resumed is not None:
        load_weights(transformer, resumed)
    if shard:
        mesh = init_device_mesh("cpu", (1,))
        for block in transformer.transformer_blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(transformer, mesh=mesh)
    optimizer = torch.optim.AdamW([p for p in transformer.parameters() if p.requires_grad], lr=0.01)
    one_of_one = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    state = TrainingState(one_of_one, transformer, optimizer, decay=0.9)
    if resumed is not None:
        state.resume(resumed)
    return state


def take_step(state: TrainingState, size: float) -> None:
    for number, parameter in enumerate(state.trainable):
        parameter.grad = torch.full_like(parameter, size * (number + 1))
    state.optimizer.step()
    state.average()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def config_of(settings: AdaptationSettings) -> CheckpointConfig:
    return describe(inpaint_transformer(), settings, base="base", height=64, width=96, num_frames=9)


@pytest.mark.parametrize("settings", MODES, ids=["lora", "full"])
@pytest.mark.parametrize("shard", [True, False], ids=["sharded first", "sharded then"])
def test_a_run_goes_on_otherwise_sharded(settings: AdaptationSettings, shard: bool, tmp_path: Path) -> None:
    first = state_of(settings, shard)
    take_step(first, 0.1)
    first.save(tmp_path / "saved", config_of(settings))
    then = state_of(settings, not shard, tmp_path / "saved")
    assert all(isinstance(parameter, DTensor) != shard for parameter in then.trainable)
    for state in (first, then):
        take_step(state, -0.2)
    for one, other in zip(first.trainable, then.trainable, strict=True):
        assert torch.equal(whole(one), whole(other))
        for name, average in first.optimizer.state[one].items():
            assert torch.equal(whole(average), whole(then.optimizer.state[other][name])), name
    assert first.ema is not None
    assert then.ema is not None
    assert first.ema.optimization_step == then.ema.optimization_step == 2
    for one, other in zip(first.ema.shadow_params, then.ema.shadow_params, strict=True):
        assert torch.equal(whole(one), whole(other))


@pytest.mark.parametrize("settings", MODES, ids=["lora", "full"])
def test_files_are_the_same_whether_sharded_or_not(settings: AdaptationSettings, tmp_path: Path) -> None:
    for name, shard in (("whole", False), ("sharded", True)):
        state = state_of(settings, shard)
        take_step(state, 0.1)
        state.save(tmp_path / name, config_of(settings))
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert Path(STATE_FILE) in files
    for file in files:
        one, other = tmp_path / "whole" / file, tmp_path / "sharded" / file
        if file.suffix == ".safetensors":
            # Not their bytes: the order of the header's fields is not fixed.
            weights, others = load_file(one), load_file(other)
            assert weights.keys() == others.keys()
            assert all(torch.equal(value, others[key]) for key, value in weights.items()), file
        elif file.suffix != ".pt":
            assert one.read_bytes() == other.read_bytes(), file
    saved = torch.load(tmp_path / "sharded" / STATE_FILE, weights_only=True)
    assert {type(value) for parts in saved["optimizer"]["state"].values() for value in parts.values()} == {torch.Tensor}
    assert {type(value) for value in saved["ema"]["shadow_params"]} == {torch.Tensor}


def test_a_result_has_the_averaged_weights_and_leaves_the_models(tmp_path: Path) -> None:
    state = state_of(AdaptationSettings(mode="full"), shard=True)
    for size in (0.1, 0.2, -0.3):
        take_step(state, size)
    before = [whole(parameter).clone() for parameter in state.trainable]
    state.save_result(tmp_path / "final", config_of(AdaptationSettings(mode="full")))
    assert all(torch.equal(whole(now), then) for now, then in zip(state.trainable, before, strict=True))
    result = inpaint_transformer()
    load_weights(result, tmp_path / "final")
    assert state.ema is not None
    for saved, average, weight in zip(result.parameters(), state.ema.shadow_params, before, strict=True):
        assert torch.equal(saved, whole(average))
        assert not torch.equal(saved, weight)
