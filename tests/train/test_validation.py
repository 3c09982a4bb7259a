from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch
from rich.console import Console

from manifests.damage import DatasetDamaged
from manifests.dataset import NotADataset
from manifests.storage import StorageError
from train import validation
from train.editing import EditSettings
from train.settings import TrainSettings
from train.tiny_base import save_tiny_base
from train.trainer import Trainer
from train.triples import held_out_triples
from train.validation import edit_held_out
from train.video_files import read_video

EDIT = EditSettings(height=64, width=96, frames=9, steps=2)
COURSE = {"steps": 4, "mixing": {"images": 1, "videos": 1}, "windows": {"height": 64, "width": 96, "frames": 9}}

COURSE_WINDOWS = TrainSettings.model_validate({"courses": [COURSE]}).courses[0].windows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_base(tmp_path_factory.mktemp("base")))


def trainer_of(shards: Path, base: str, output: Path, console: Console, **given: object) -> Trainer:
    document = {"courses": [COURSE], "batch_size": 1, "workers": 0, "validation_samples": 1, **given}
    settings = TrainSettings.model_validate(document)
    return Trainer(str(shards), base, output, settings, console, validate=lambda run, to: edit_held_out(run, to, EDIT))


def test_every_n_steps_held_out_samples_are_edited(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_shards, base, tmp_path, Console(file=StringIO()), validate_every=2)
    trainer.run()
    assert [folder.name for folder in sorted((tmp_path / "validation").iterdir())] == ["step-00000002", "step-00000004"]
    sources = held_out_triples(str(tiny_shards), 1, COURSE_WINDOWS, 0)
    for folder in (tmp_path / "validation").iterdir():
        assert {path.stem for path in folder.iterdir()} == {source.name for source in sources}
    triple = sources[0].read()
    video = read_video(tmp_path / "validation" / "step-00000004" / f"{triple.name}.mp4").frames.astype(int)
    clip, hole, drawn = np.split(video, 3, axis=2)
    solid = np.stack([mask & (np.abs(clip[0] - 128).sum(axis=2) > 60) for mask in triple.masks])
    assert np.abs(clip - triple.frames).mean() < 4
    assert np.abs(hole[triple.masks] - 128).mean() < 12
    assert np.abs(drawn[~triple.masks] - triple.frames[~triple.masks]).mean() < 6
    assert np.abs(drawn[solid] - clip[solid]).mean() > 20


def test_validating_does_not_change_the_training(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    weights = []
    for name, every in (("with", 1), ("without", 0)):
        trainer = trainer_of(tiny_shards, base, tmp_path / name, Console(file=StringIO()), validate_every=every)
        trainer.run()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.trainable]))
    assert torch.equal(weights[0], weights[1])


@pytest.mark.parametrize(
    "error",
    [ValueError("it is too long"), torch.OutOfMemoryError("it is too long"), OSError(28, "it is too long")],
    ids=["prompt", "memory", "disk"],
)
def test_a_validation_that_fails_does_not_end_the_training(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> np.ndarray:
        raise error

    monkeypatch.setattr(validation, "edit_video", fails)
    said = StringIO()
    trainer = trainer_of(tiny_shards, base, tmp_path, Console(file=said, width=500), validate_every=4)
    trainer.run()
    assert said.getvalue().count("is left out of the validation: ") == 2
    assert said.getvalue().count("it is too long") == 2
    assert (tmp_path / "final").is_dir()


@pytest.mark.parametrize(
    "error", [DatasetDamaged("out", "manifests/samples/x.parquet", "is gone"), StorageError("no answer"), NotADataset()]
)
def test_a_store_that_does_not_answer_does_not_end_the_training(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> list[object]:
        raise error

    monkeypatch.setattr(validation, "held_out_triples", fails)
    said = StringIO()
    trainer_of(tiny_shards, base, tmp_path, Console(file=said, width=500), validate_every=4).run()
    assert "no validation: " in said.getvalue()
    assert (tmp_path / "final").is_dir()


def test_without_held_out_videos_there_is_a_word(
    tiny_shards: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> list[object]:
        raise ValueError("the split 'eval' has no video samples to evaluate on")

    monkeypatch.setattr(validation, "held_out_triples", none)
    said = StringIO()
    trainer_of(tiny_shards, base, tmp_path, Console(file=said, width=500), validate_every=4).run()
    assert "no validation: the split 'eval' has no video samples" in said.getvalue()
    assert not (tmp_path / "validation").exists()


def test_the_model_goes_on_as_it_was(tiny_shards: Path, base: str, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_shards, base, tmp_path, Console(file=StringIO()))
    for training in (True, False):
        trainer.parts.transformer.train(training)
        edit_held_out(trainer, tmp_path / str(training), EDIT)
        assert trainer.parts.transformer.training is training
