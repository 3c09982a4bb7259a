"""A model sharded over two CPU processes with train/fsdp.yaml: what one process learns, saved so that any can go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("tensorboard")
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_processes import meeting_port, run_on_cpus

from train.base_model import load_inpaint_transformer
from train.run_folder import STATE_FILE, RunFolder
from train.settings import TrainSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base
from train.trainer import Trainer

pytestmark = pytest.mark.slow

FSDP_CONFIG = Path(__file__).resolve().parents[2] / "train" / "fsdp.yaml"
COURSE = {"steps": 4, "mixing": {"images": 1, "videos": 1}, "windows": {"height": 64, "width": 96, "frames": 9}}
COMMON = {
    "courses": [COURSE],
    "batch_size": 4,
    "workers": 0,
    "checkpoint_every": 2,
    "log_every": 1,
    "optimizer": {"warmup_steps": 0, "max_norm": 0.05},
}
# Gradients are larger than that norm, so the clipping is part of what is compared.
LORA = {**COMMON, "ema": 0.9, "accumulation": 2}
FULL = {**COMMON, "adaptation": {"mode": "full"}, "checkpoint_every": 1}
TOLERANCE = 2e-5
"""Gradients are summed in another order. Four steps move a weight by up to 4e-4."""


def one_process(shards: Path, base: Path, output: Path, settings: dict[str, object]) -> Path:
    Trainer(str(shards), str(base), output, TrainSettings.model_validate(settings)).run()
    return output


def sharded(shards: Path, base: Path, output: Path, settings: dict[str, object]) -> Path:
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(FSDP_CONFIG), "--num_processes", "2"]
    launch += ["--main_process_port", meeting_port()]
    command = ["-m", "fsdp_on_cpu", "train", str(shards), "--base", str(base), "-o", str(output)]
    run = run_on_cpus([*launch, *command, "--config", str(config)], output.parent)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "2 × cpu" in run.stderr
    return output


def stopped_at_two(run: Path, copy: Path) -> Path:
    """The run as it would have been stopped after its second step."""
    folder = RunFolder(copy)
    shutil.copytree(RunFolder(run).checkpoint(2), folder.checkpoint(2))
    shutil.copy(run / "training.json", copy)
    return copy


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


def losses_of(run: Path) -> list[float]:
    """What was logged, in the order of the steps."""
    logged = []
    for file in (run / "logs").rglob("events.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        logged += [(event.step, event.value) for event in events.Scalars("loss")]
    return [value for _, value in sorted(logged)]


def farthest(one: Path, other: Path) -> float:
    """The largest difference of two results' weights."""
    weights, others = weights_of(one), weights_of(other)
    assert weights
    assert weights.keys() == others.keys()
    return max(float((value - others[name]).abs().max()) for name, value in weights.items())


def averages_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """AdamW's averages and the averaged weights in a checkpoint."""
    state = torch.load(checkpoint / STATE_FILE, weights_only=True)
    per_weight = state["optimizer"]["state"]
    averages = {f"{name} {number}": value for number in per_weight for name, value in per_weight[number].items()}
    if state["ema"] is not None:
        averages |= {f"weight {number}": value for number, value in enumerate(state["ema"]["shadow_params"])}
    return averages


def check_same_averages(one: Path, other: Path) -> None:
    """Whole and equal. AdamW's steps hardly show how large a gradient was; its averages do."""
    averages, others = averages_of(one), averages_of(other)
    assert averages.keys() == others.keys()
    for name, value in averages.items():
        assert type(others[name]) is torch.Tensor, name
        assert torch.allclose(others[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max())), name


def other_files(folder: Path) -> dict[str, object]:
    """The descriptions in a result."""
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in folder.rglob("*.json")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def lora(tiny_shards: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A LoRA with averaged weights and two passes a step: the run of one process, and the sharded one."""
    folder = tmp_path_factory.mktemp("lora")
    return one_process(tiny_shards, base, folder / "one", LORA), sharded(tiny_shards, base, folder / "two", LORA)


def test_a_sharded_lora_learns_what_one_process_learns(lora: tuple[Path, Path]) -> None:
    one, two = lora
    assert losses_of(two) == pytest.approx(losses_of(one), abs=1e-5)
    assert len(losses_of(two)) == 4
    for result in ("final", "checkpoints/step-00000002"):
        assert farthest(one / result, two / result) < TOLERANCE
        assert other_files(one / result) == other_files(two / result)
    check_same_averages(RunFolder(one).checkpoint(2), RunFolder(two).checkpoint(2))
    # The average is another than the weights.
    assert farthest(two / "final", two / "checkpoints" / "step-00000002") > TOLERANCE


def test_a_sharded_run_goes_on_bit_for_bit(
    tiny_shards: Path, base: Path, lora: tuple[Path, Path], tmp_path: Path
) -> None:
    rest = sharded(tiny_shards, base, stopped_at_two(lora[1], tmp_path / "rest"), LORA)
    assert len(losses_of(rest)) == 2
    assert farthest(rest / "final", lora[1] / "final") == 0


def test_one_process_goes_on_from_a_sharded_run(
    tiny_shards: Path, base: Path, lora: tuple[Path, Path], tmp_path: Path
) -> None:
    rest = one_process(tiny_shards, base, stopped_at_two(lora[1], tmp_path / "rest"), LORA)
    assert losses_of(rest) == pytest.approx(losses_of(lora[0])[2:], abs=1e-5)
    assert farthest(rest / "final", lora[0] / "final") < TOLERANCE


def test_a_whole_model_with_learned_positions_goes_on_sharded(tiny_shards: Path, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", TinyBaseSettings(in_channels=32, positions="learned"))
    one = one_process(tiny_shards, base, tmp_path / "one", FULL)
    rest = sharded(tiny_shards, base, stopped_at_two(one, tmp_path / "rest"), FULL)
    check_same_averages(RunFolder(one).checkpoint(3), RunFolder(rest).checkpoint(3))
    assert losses_of(rest) == pytest.approx(losses_of(one)[2:], abs=1e-5)
    assert farthest(rest / "final", one / "final") < TOLERANCE
    assert farthest(rest / "final", RunFolder(one).checkpoint(2)) > TOLERANCE
    assert other_files(rest / "final") == other_files(one / "final")
    trained = load_inpaint_transformer(rest / "final").state_dict()
    assert all(torch.isfinite(value).all() for value in trained.values())
