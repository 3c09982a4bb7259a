from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch
from safetensors.torch import load_file

from train.base_model import load_inpaint_transformer
from train.checkpoint import read_config
from train.data import Stored
from train.run_folder import OtherTraining, RunFolder
from train.settings import TrainSettings
from train.tiny_base import save_tiny_base
from train.trainer import Diverged, Stopped, Trainer

COURSE = {"mixing": {"images": 1, "videos": 1}, "windows": {"height": 64, "width": 96, "frames": 9}}
LORA = "pytorch_lora_weights.safetensors"


def settings(steps: int = 4, **given: Any) -> TrainSettings:
    document = {"courses": [{"steps": steps, **COURSE}], "batch_size": 2, "workers": 0, "checkpoint_every": 2, **given}
    return TrainSettings.model_validate(document)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_base(tmp_path_factory.mktemp("base")))


def result_of(folder: Path) -> dict[str, torch.Tensor]:
    return {**load_file(folder / LORA), **load_file(folder / "patch_embed.safetensors")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("given", [{}, {"ema": 0.9, "accumulation": 2}], ids=["plain", "averaged and accumulated"])
def test_a_stopped_run_goes_on_bit_for_bit(tiny_shards: Path, base: str, tmp_path: Path, given: dict[str, Any]) -> None:
    whole = Trainer(str(tiny_shards), base, tmp_path / "whole", settings(**given))
    whole.run()
    Trainer(str(tiny_shards), base, tmp_path / "parts", settings(**given)).run(until=3)
    rest = Trainer(str(tiny_shards), base, tmp_path / "parts", settings(**given))
    assert rest.step == 3
    rest.run()
    assert same(result_of(tmp_path / "whole" / "final"), result_of(tmp_path / "parts" / "final"))
    assert rest.last_figures["loss"] > 0


def test_training_changes_what_it_should_and_leaves_the_base(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = Trainer(str(tiny_shards), base, tmp_path / "run", settings(2, optimizer={"warmup_steps": 0}))
    trainer.run()
    final = tmp_path / "run" / "final"
    config = read_config(final)
    assert (config.step, config.mode, config.height, config.width, config.num_frames) == (2, "lora", 64, 96, 9)
    assert any(value.abs().max() > 0 for key, value in result_of(final).items() if "lora_B" in key)
    before = load_inpaint_transformer(base)
    trained = {k.replace(".base_layer", ""): v for k, v in trainer.parts.transformer.state_dict().items()}
    for name, value in before.state_dict().items():
        assert torch.equal(trained[name], value) == (not name.startswith("patch_embed.proj")), name
    assert (tmp_path / "run" / "logs").is_dir()
    assert list((tmp_path / "run" / "logs").rglob("events.*"))


def test_the_loss_falls(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    given = {
        "adaptation": {"mode": "full", "gradient_checkpointing": False},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 0},
        "log_every": 10,
        "checkpoint_every": 1000,
    }
    trainer = Trainer(str(tiny_shards), base, tmp_path / "run", settings(30, **given))
    trainer.run(until=10)
    first = trainer.last_figures["loss"]
    trainer.run()
    assert trainer.last_figures["loss"] < 0.85 * first
    assert read_config(tmp_path / "run" / "final").mode == "full"


def test_a_finished_run_is_left_alone(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    final = Trainer(str(tiny_shards), base, tmp_path, settings(2)).run()
    written = {path.name: path.stat().st_mtime_ns for path in final.iterdir()}
    assert Trainer(str(tiny_shards), base, tmp_path, settings(2)).run() == final
    assert {path.name: path.stat().st_mtime_ns for path in final.iterdir()} == written


def test_only_the_newest_checkpoints_are_kept(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    Trainer(str(tiny_shards), base, tmp_path, settings(5, checkpoint_every=1, keep_checkpoints=2)).run()
    assert RunFolder(tmp_path).steps() == [3, 4]
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_sigterm_saves_and_the_run_goes_on(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(6, checkpoint_every=100))
    encode, calls = trainer.encode, []

    def stop_in_the_third(examples: Any) -> Any:
        calls.append(len(examples))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return encode(examples)

    trainer.encode = stop_in_the_third  # type: ignore[assignment]
    with pytest.raises(Stopped, match="stopped at step 3, which is saved") as stopped:
        trainer.run()
    assert stopped.value.number == signal.SIGTERM
    assert RunFolder(tmp_path).steps() == [3]
    assert signal.getsignal(signal.SIGTERM) is not None
    again = Trainer(str(tiny_shards), base, tmp_path, settings(6, checkpoint_every=100))
    assert again.step == 3
    again.run()
    assert read_config(tmp_path / "final").step == 6


class BrokenLatents:
    """Stored latents that are no numbers for one sample."""

    def __init__(self) -> None:
        self.name = ""

    def find(self, sample: Any, window: Any, kive: bool) -> Stored:
        self.name = self.name or sample.sample_id
        if sample.sample_id != self.name:
            return Stored()
        frames = (len(window.indices) - 1) // 4 + 1
        return Stored(latents=torch.full((frames, 16, 8, 12), float("nan")))


def test_a_loss_that_is_no_number_names_the_sample(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    broken = BrokenLatents()
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(), latents=broken)
    with pytest.raises(Diverged) as diverged:
        trainer.run()
    assert broken.name in str(diverged.value)
    assert "no number at step 0" in str(diverged.value)
    assert str(diverged.value).count(",") == 1, "only the broken sample is named"
    assert RunFolder(tmp_path).steps() == []


def test_a_curriculum_begins_with_images(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    courses = [{"steps": 2, **COURSE, "mixing": {"images": 1, "videos": 0}}, {"steps": 2, **COURSE}]
    courses[1]["mixing"] = {"images": 0, "videos": 1}
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(courses=courses))
    encode, kinds = trainer.encode, []

    def remember(examples: Any) -> Any:
        kinds.append({example.slot.kind for example in examples})
        return encode(examples)

    trainer.encode = remember  # type: ignore[assignment]
    trainer.run()
    assert kinds == [{"image"}, {"image"}, {"video"}, {"video"}]


def test_another_training_in_the_same_folder_is_refused(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    Trainer(str(tiny_shards), base, tmp_path, settings())
    with pytest.raises(OtherTraining, match=r"settings.seed: 0 → 1"):
        Trainer(str(tiny_shards), base, tmp_path, settings(seed=1))
    Trainer(str(tiny_shards), base, tmp_path, settings(log_every=3, workers=1))


def test_a_dataset_without_the_wanted_task_is_one_sentence(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    course = {"steps": 1, **COURSE, "mixing": {"images": 1, "videos": 0, "add_modify": 0}}
    with pytest.raises(ValueError, match="no sample of what is asked for"):
        Trainer(str(tiny_shards), base, tmp_path, settings(courses=[course], split="eval"))


def test_workers_read_the_same(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    for name, workers in (("none", 0), ("two", 2)):
        Trainer(str(tiny_shards), base, tmp_path / name, settings(2, workers=workers)).run()
    assert same(result_of(tmp_path / "none" / "final"), result_of(tmp_path / "two" / "final"))
