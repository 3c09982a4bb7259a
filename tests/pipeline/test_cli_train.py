"""``vivid train`` as it is called, on a tiny CogVideoX of random weights."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("diffusers")
accelerate = pytest.importorskip("accelerate")
from editor_cli import QUICK, SQUARE, done, refused
from latents_in_process import WINDOWS, latent_settings, make_latents
from rich.console import Console
from tiny_dataset import job_environment, vivid, write_clip

from pipeline.cli_train import _base_or_tiny
from stages.windows import WindowSettings
from train import trainer
from train.checkpoint import read_config
from train.settings import Course, TrainSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base


class SaidSettings:
    """What a command would train, without training it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self.settings = "", TrainSettings()
        monkeypatch.setattr(trainer, "Trainer", self._remember)

    def _remember(self, _dataset: str, base: str, _output: Path, settings: TrainSettings, *_rest: object) -> None:
        self.base, self.settings = base, settings
        raise ValueError("not trained")

    def by(self, *arguments: str | Path) -> TrainSettings:
        assert refused(*arguments) == "not trained"
        return self.settings


def test_without_a_base_a_tiny_one_is_trained_and_that_is_said(tiny_shards: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("workers: 0\nvalidate_every: 2\nvalidation_samples: 1\nvalidation_steps: 1\n")
    output = tmp_path / "run"
    result = done("train", tiny_shards, "-o", output, "--config", config, "--set", "courses.0.steps=2")
    assert "tiny CogVideoX of random weights" in " ".join(result.stderr.split())
    assert re.search(r"run/final: 2 steps, last loss \d+\.\d{4}", result.stdout)
    assert read_config(output / "final").step == 2
    assert len(list((output / "validation" / "step-00000002").glob("*.mp4"))) == 2
    again = done("train", tiny_shards, "-o", output, "--config", config, "--set", "courses.0.steps=2")
    assert "final: 2 steps" in again.stdout, "nothing is left to do"
    clip = tmp_path / "c.mp4"
    write_clip(clip, 3)
    mistaken = refused("edit", clip, "-m", output, "-o", tmp_path / "e.mp4", "-p", "a ball", "--box", SQUARE)
    assert mistaken == f"{output} is the folder of a training run; what it has trained is {output}/final"
    done(
        "edit",
        clip,
        "-m",
        output / "final",
        "-o",
        tmp_path / "e.mp4",
        "-p",
        "a ball",
        "--box",
        SQUARE,
        "--still",
        *QUICK,
    )


def test_every_setting_can_be_set_on_a_real_base(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the help has it: in a list, without a file that holds the list."""
    said = SaidSettings(monkeypatch)
    base = ("--base", save_tiny_base(tmp_path / "base"), "-o", tmp_path / "run")
    command = [*base, "--set", "courses.0.steps=2000", "--set", "optimizer.betas.1=0.99", "--set", "batch_size=4"]
    settings = said.by("train", tiny_shards, *command)
    assert settings.courses == (Course(steps=2000),)
    assert settings.optimizer.betas == (0.9, 0.99)
    assert settings.batch_size == 4
    assert "courses.1.steps=5: '1' is not a position in a list of 1" in refused(
        "train", tiny_shards, *base, "--set", "courses.1.steps=5"
    )


def test_latents_bring_their_base_their_windows_and_their_seed(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Path(shutil.copytree(tiny_shards, tmp_path / "data"))
    base = save_tiny_base(tmp_path / "base", TinyBaseSettings(vae_channels=2))
    make_latents(dataset, str(base), latent_settings(seed=5))
    said = SaidSettings(monkeypatch)
    command = ("train", dataset, "-o", tmp_path / "run", "--latents", "default")
    windows = WindowSettings.model_validate(WINDOWS)
    settings = said.by(*command, "--set", "courses.0.steps=7")
    assert (said.base, settings.seed, settings.courses) == (str(base), 5, (Course(steps=7, windows=windows),))
    config = tmp_path / "train.yaml"
    config.write_text("courses: [{steps: 3, windows: {frames: 9}}]\n")
    assert said.by(*command, "--config", config).courses == (Course(steps=3, windows=windows),)
    text = refused(*command, "--set", "courses.0.windows.fixed=1", "--set", "seed=3")
    assert "(seed: 5 → 3; windows.fixed: 2 → 1)" in text
    assert text.endswith("to use them, train with seed=5, windows.fixed=2 in every course")
    other = save_tiny_base(tmp_path / "other", TinyBaseSettings(vae_channels=2, seed=1))
    assert refused(*command, "--base", other).endswith(f"to use them, train with --base {base}")
    base.rename(tmp_path / "moved")
    assert refused(*command) == (
        f"there is no folder {base}, where the base of the latents 'default' lay; say with --base where it is now"
    )
    said.by(*command, "--base", tmp_path / "moved")
    assert not (tmp_path / "run").exists()


def test_only_one_process_writes_the_tiny_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    other = SimpleNamespace(is_main_process=False, wait_for_everyone=lambda: waited.append(True))
    monkeypatch.setattr(accelerate, "PartialState", lambda cpu, timeout: other)
    with _base_or_tiny(None, tmp_path, Console(quiet=True)) as base:
        assert base == str(tmp_path / "tiny_base")
    assert waited == [True]
    assert not (tmp_path / "tiny_base").exists()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("batch_size=0", "batch_size"),
        ("nothing=1", "nothing"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate"),
        ("courses.3.steps=1", "is not a position in a list of 1"),
        ("courses.0.windows.frames=10", "8k + 1 frames"),
        ("batch_size", "--set takes name.name=value"),
    ],
)
def test_wrong_settings_are_one_sentence(tiny_shards: Path, tmp_path: Path, setting: str, sentence: str) -> None:
    assert sentence in refused("train", tiny_shards, "-o", tmp_path / "run", "--set", setting)
    assert not (tmp_path / "run").exists()


def test_a_training_that_cannot_be_is_one_sentence(tiny_shards: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "run")
    assert "none.yaml" in refused("train", tiny_shards, *out, "--config", tmp_path / "none.yaml")
    assert "holds no dataset" in refused("train", tmp_path / "none", *out)
    assert "there are no latents 'other'" in refused("train", tiny_shards, *out, "--latents", "other")
    assert not (tmp_path / "run").exists()


def test_a_refused_start_takes_only_its_own_tiny_base_away(tiny_shards: Path, tmp_path: Path) -> None:
    output, wrong = tmp_path / "run", ("--set", 'adaptation.target_modules=["no_such_layer"]')
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    assert "no_such_layer" in refused("train", tiny_shards, "-o", output, *wrong)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
    base = save_tiny_base(output / "tiny_base")
    assert "no_such_layer" in refused("train", tiny_shards, "-o", output, *wrong)
    assert base.is_dir(), "it was there before"


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tiny_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [
        "train",
        str(tiny_shards),
        "-o",
        str(output),
        "--set",
        "courses.0.steps=400",
        "--set",
        "checkpoint_every=1000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command], env=job_environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not list((output / "logs").rglob("events.*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    (checkpoint,) = (output / "checkpoints").iterdir()
    step = read_config(checkpoint).step
    assert 0 < step < 400
    assert f"stopped at step {step}, which is saved" in said
    command[5] = f"courses.0.steps={step + 2}"
    again = vivid(*command)
    assert "holds another training" in again.stderr, "the number of steps is part of a training"
    command[5] = "courses.0.steps=400"
    rest = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command], env=job_environment(), stderr=subprocess.PIPE, text=True
    )
    assert rest.stderr is not None
    line = next(line for line in rest.stderr if "from step" in line)
    os.kill(rest.pid, signal.SIGINT)
    rest.communicate(timeout=120)
    assert line.rstrip().endswith(f"from step {step}")
    assert rest.returncode == 130
