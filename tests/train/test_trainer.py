from __future__ import annotations

import json
import os
import shutil
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch
from accelerate.state import AcceleratorState
from rich.console import Console
from safetensors.torch import load_file

from train.base_model import load_inpaint_transformer
from train.checkpoint import read_config
from train.data import Stored
from train.divergence import Diverged
from train.run_folder import OtherTraining, RunFolder
from train.sample_table import SampleTable
from train.settings import TrainSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base
from train.trainer import Stopped, Trainer

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


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_computation_has_the_precision_that_is_asked_for(
    tiny_shards: Path, base: str, tmp_path: Path, mode: str, precision: str
) -> None:
    given = {"adaptation": {"mode": mode}, "precision": precision}
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(1, **given))
    seen: list[torch.dtype] = []
    trainer.parts.transformer.proj_out.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    trainer.run()
    assert seen == [getattr(torch, precision)]
    assert {weight.dtype for weight in trainer.trainable} == {torch.float32}


def test_a_users_accelerate_configuration_changes_no_numbers(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"precision": "float32", "accumulation": 2}
    Trainer(str(tiny_shards), base, tmp_path / "plain", settings(2, **given)).run()
    # What `accelerate launch` sets from ~/.cache/huggingface/accelerate/default_config.yaml.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    AcceleratorState._reset_state(reset_partial_state=True)
    Trainer(str(tiny_shards), base, tmp_path / "configured", settings(2, **given)).run()
    assert same(result_of(tmp_path / "configured" / "final"), result_of(tmp_path / "plain" / "final"))


def test_a_whole_model_that_is_trained_further_is_not_rounded(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    given = {"adaptation": {"mode": "full"}, "precision": "bfloat16", "optimizer": {"warmup_steps": 0}}
    first = Trainer(str(tiny_shards), base, tmp_path / "first", settings(1, **given)).run()
    further = Trainer(str(tiny_shards), str(first), tmp_path / "further", settings(1, **given))
    learnt = load_file(next((first / "transformer").glob("*.safetensors")))
    assert any(not torch.equal(value, value.bfloat16().float()) for value in learnt.values())
    assert same(learnt, {name: further.parts.transformer.state_dict()[name] for name in learnt})


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
    assert RunFolder(tmp_path).steps() == [4, 5]
    assert not list((tmp_path / "checkpoints").glob(".*"))


def send_sigterm_in_pass(trainer: Trainer, number: int) -> list[int]:
    """Ask the training to stop in its `number`-th forward pass; returns a list that grows by one in each."""
    encode, calls = trainer.encode, list[int]()

    def stop(examples: Any) -> Any:
        calls.append(len(examples))
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return encode(examples)

    trainer.encode = stop  # type: ignore[assignment]
    return calls


def test_sigterm_saves_and_the_run_goes_on(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(6, checkpoint_every=100))
    send_sigterm_in_pass(trainer, 3)
    with pytest.raises(Stopped, match="stopped at step 3, which is saved") as stopped:
        trainer.run()
    assert stopped.value.number == signal.SIGTERM
    assert RunFolder(tmp_path).steps() == [3]
    assert signal.getsignal(signal.SIGTERM) is not None
    again = Trainer(str(tiny_shards), base, tmp_path, settings(6, checkpoint_every=100))
    assert again.step == 3
    again.run()
    assert read_config(tmp_path / "final").step == 6


def test_a_signal_within_a_step_waits_for_no_further_pass(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    given = {"accumulation": 3, "checkpoint_every": 100}
    trainer = Trainer(str(tiny_shards), base, tmp_path / "cut", settings(3, **given))
    calls = send_sigterm_in_pass(trainer, 5)
    with pytest.raises(Stopped, match="stopped at step 1, which is saved"):
        trainer.run()
    assert len(calls) == 5
    assert RunFolder(tmp_path / "cut").steps() == [1]
    Trainer(str(tiny_shards), base, tmp_path / "cut", settings(3, **given)).run()
    Trainer(str(tiny_shards), base, tmp_path / "whole", settings(3, **given)).run()
    assert same(result_of(tmp_path / "cut" / "final"), result_of(tmp_path / "whole" / "final"))


def test_a_signal_before_the_first_step_is_done(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    given = {"accumulation": 2, "checkpoint_every": 100, "ema": 0.9}
    trainer = Trainer(str(tiny_shards), base, tmp_path / "cut", settings(2, **given))
    trainer._stop.number = signal.SIGTERM
    with pytest.raises(Stopped, match="stopped at step 0"):
        trainer.run()
    Trainer(str(tiny_shards), base, tmp_path / "cut", settings(2, **given)).run()
    Trainer(str(tiny_shards), base, tmp_path / "whole", settings(2, **given)).run()
    assert same(result_of(tmp_path / "cut" / "final"), result_of(tmp_path / "whole" / "final"))


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


def test_a_gradient_that_is_no_number_reaches_no_weight(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = Trainer(str(tiny_shards), base, tmp_path, settings(accumulation=2))
    trainer.run(until=1)
    passes: list[list[str]] = []
    encode = trainer.encode

    def remember(examples: Any) -> Any:
        passes.append([example.sample.sample_id for example in examples])
        return encode(examples)

    trainer.encode = remember  # type: ignore[assignment]
    trainer.trainable[-1].register_hook(lambda gradient: gradient * float("nan") if len(passes) == 3 else gradient)
    before: list[torch.Tensor] = []
    end_of_step = trainer._after_step

    def copy_weights() -> None:
        before[:] = [weight.detach().clone() for weight in trainer.trainable]
        end_of_step()

    trainer._after_step = copy_weights  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="the gradient is no number at step 2") as diverged:
        trainer.run()
    assert len(passes) == 4, "both passes of the step were done"
    assert ", ".join(passes[2] + passes[3]) in str(diverged.value)
    assert all(torch.equal(now, then) for now, then in zip(trainer.trainable, before, strict=True))
    assert RunFolder(tmp_path).steps() == [1, 2]


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
    Trainer(str(tiny_shards), base, tmp_path, settings()).run(until=1)
    with pytest.raises(OtherTraining, match=r"settings.seed: 0 → 1"):
        Trainer(str(tiny_shards), base, tmp_path, settings(seed=1))
    Trainer(str(tiny_shards), base, tmp_path, settings(log_every=3, workers=1))


def test_a_moved_dataset_and_a_moved_base_are_the_same(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_shards.parent)
    Trainer(tiny_shards.name, base, tmp_path / "run", settings(3)).run(until=1)
    Trainer(f"./{tiny_shards.name}/", base, tmp_path / "run", settings(3)).run(until=2)
    moved = [Path(shutil.copytree(path, tmp_path / name)) for path, name in ((tiny_shards, "data"), (base, "base"))]
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(str(moved[0]), str(moved[1]), tmp_path / "run", settings(3))
    assert trainer.step == 2
    trainer.run()
    assert json.loads((tmp_path / "run" / "training.json").read_text())["dataset"]["name"] == str(moved[0])


def test_a_dataset_that_has_grown_is_said(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(str(tiny_shards), base, tmp_path, settings(4)).run(until=2)
    said = StringIO()
    Trainer(str(tiny_shards), base, tmp_path, settings(4), Console(file=said, width=500))
    assert "has grown" not in said.getvalue()
    counts = SampleTable.counts
    more = lambda table: {stratum: count + 1 for stratum, count in counts(table).items()}  # noqa: E731
    monkeypatch.setattr(SampleTable, "counts", more)
    Trainer(str(tiny_shards), base, tmp_path, settings(4), Console(file=said, width=500))
    assert "the dataset has grown since the last checkpoint" in said.getvalue()


def test_another_dataset_and_another_base_are_not(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    Trainer(str(tiny_shards), base, tmp_path / "run", settings()).run(until=1)
    other = Path(shutil.copytree(tiny_shards, tmp_path / "other"))
    run_file = other / "run.json"
    run_file.write_text(json.dumps({**json.loads(run_file.read_text()), "semantic_hash": "another"}))
    with pytest.raises(OtherTraining, match=r"another training \(dataset.id: .* dataset.name: "):
        Trainer(str(other), base, tmp_path / "run", settings())
    seeded = save_tiny_base(tmp_path / "seeded", TinyBaseSettings(seed=1))
    shutil.rmtree(seeded / "transformer")
    shutil.copytree(Path(base) / "transformer", seeded / "transformer")
    with pytest.raises(OtherTraining, match=r"base.text: .*base.vae: "):
        Trainer(str(tiny_shards), str(seeded), tmp_path / "run", settings())


@pytest.mark.parametrize("given", [{}, {"ema": 0.9}], ids=["plain", "averaged"])
def test_more_steps_of_the_last_course_are_a_longer_training(
    tiny_shards: Path, base: str, tmp_path: Path, given: dict[str, Any]
) -> None:
    Trainer(str(tiny_shards), base, tmp_path / "longer", settings(3, **given)).run()
    longer = Trainer(str(tiny_shards), base, tmp_path / "longer", settings(5, **given))
    assert longer.step == 3, "nothing is learnt twice"
    longer.run()
    Trainer(str(tiny_shards), base, tmp_path / "whole", settings(5, **given)).run()
    assert read_config(tmp_path / "longer" / "final").step == 5
    assert same(result_of(tmp_path / "longer" / "final"), result_of(tmp_path / "whole" / "final"))
    with pytest.raises(OtherTraining, match=r"settings.courses.0.steps: 5 → 4"):
        Trainer(str(tiny_shards), base, tmp_path / "longer", settings(4, **given))
    with pytest.raises(OtherTraining, match=r"settings.courses.0.steps: 5 → 9; settings.seed: 0 → 1"):
        Trainer(str(tiny_shards), base, tmp_path / "longer", settings(9, seed=1, **given))


def test_more_steps_of_a_cosine_are_another_training(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    cosine = {"optimizer": {"schedule": "cosine"}}
    Trainer(str(tiny_shards), base, tmp_path, settings(2, **cosine)).run(until=1)
    with pytest.raises(OtherTraining, match=r"cosine schedule ends after 2 steps .* the steps done would have"):
        Trainer(str(tiny_shards), base, tmp_path, settings(3, **cosine))


def test_a_lora_is_trained_further(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    quick = {"optimizer": {"warmup_steps": 0}, "adaptation": {"rank": 4, "alpha": 8}}
    first = Trainer(str(tiny_shards), base, tmp_path / "first", settings(2, **quick)).run()
    further = Trainer(str(tiny_shards), str(first), tmp_path / "further", settings(2, seed=1, **quick))
    assert further.step == 0
    further.state.save_result(tmp_path / "start", further.config)
    assert same(result_of(tmp_path / "start"), result_of(first)), "it starts with what was learnt"
    second = further.run(until=1)
    with pytest.raises(OtherTraining, match=r"base.lora: "):
        Trainer(str(tiny_shards), base, tmp_path / "further", settings(2, seed=1, **quick))
    assert not second.is_dir()
    again = Trainer(str(tiny_shards), str(first), tmp_path / "further", settings(2, seed=1, **quick))
    assert again.step == 1
    again.run()
    config = read_config(second)
    assert (config.base, config.lora_rank, config.lora_alpha, config.step) == (base, 4, 8, 2)
    assert not same(result_of(second), result_of(first))
    shutil.rmtree(tmp_path / "first")
    assert load_inpaint_transformer(second).peft_config["default"].r == 4


@pytest.mark.parametrize(
    ("adaptation", "sentence"),
    [
        ({"rank": 8, "alpha": 4}, "LoRA of rank 4 and alpha 4: set adaptation.rank=4 and adaptation.alpha=4"),
        ({"mode": "full"}, "is a LoRA and is trained further as one: set adaptation.mode=lora"),
        ({"rank": 4, "alpha": 4, "target_modules": ["to_q"]}, "updates other layers than these"),
    ],
)
def test_a_lora_of_another_kind_is_one_sentence(
    tiny_shards: Path, base: str, tmp_path: Path, adaptation: dict[str, Any], sentence: str
) -> None:
    small = {"adaptation": {"rank": 4, "alpha": 4}}
    first = Trainer(str(tiny_shards), base, tmp_path / "first", settings(1, **small)).run()
    with pytest.raises(ValueError, match=sentence) as refused:
        Trainer(str(tiny_shards), str(first), tmp_path / "further", settings(adaptation=adaptation))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "further").exists()


def test_a_whole_model_is_trained_further(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    """As a whole one it stands on the first base; a LoRA of it stands on the whole one."""
    full = {"adaptation": {"mode": "full"}}
    first = Trainer(str(tiny_shards), base, tmp_path / "first", settings(1, **full)).run()
    second = Trainer(str(tiny_shards), str(first), tmp_path / "second", settings(1, **full)).run()
    assert read_config(second).base == base
    lora = Trainer(str(tiny_shards), str(first), tmp_path / "lora", settings(1)).run()
    assert read_config(lora).base == str(first)


@pytest.mark.parametrize(
    ("given", "positions", "sentence"),
    [
        ({"adaptation": {"target_modules": ["no_such_layer"]}}, "rotary", "no_such_layer"),
        ({"courses": [{"steps": 1, **COURSE, "windows": {"frames": 9}}]}, "learned", "positions for 64×96 only"),
    ],
)
def test_a_refused_start_leaves_nothing(
    tiny_shards: Path, tmp_path: Path, given: dict[str, Any], positions: Any, sentence: str
) -> None:
    base = str(save_tiny_base(tmp_path / "base", TinyBaseSettings(in_channels=32, positions=positions)))
    with pytest.raises(ValueError, match=sentence):
        Trainer(str(tiny_shards), base, tmp_path / "run", settings(**given))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="no CogVideoX base"):
        Trainer(str(tiny_shards), str(tiny_shards), tmp_path / "run", settings())
    assert not (tmp_path / "run").exists()


def test_a_folder_in_which_nothing_was_learnt_takes_another_training(
    tiny_shards: Path, base: str, tmp_path: Path
) -> None:
    """As after a batch that was too large for the memory."""
    Trainer(str(tiny_shards), base, tmp_path, settings(batch_size=4))
    Trainer(str(tiny_shards), base, tmp_path, settings(batch_size=2))
    assert json.loads((tmp_path / "training.json").read_text())["settings"]["batch_size"] == 2


def test_a_dataset_without_the_wanted_task_is_one_sentence(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    course = {"steps": 1, **COURSE, "mixing": {"images": 1, "videos": 0, "add_modify": 0}}
    with pytest.raises(ValueError, match="no sample of what is asked for"):
        Trainer(str(tiny_shards), base, tmp_path, settings(courses=[course], split="eval"))


def test_workers_read_the_same(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    for name, workers in (("none", 0), ("two", 2)):
        Trainer(str(tiny_shards), base, tmp_path / name, settings(2, workers=workers)).run()
    assert same(result_of(tmp_path / "none" / "final"), result_of(tmp_path / "two" / "final"))
