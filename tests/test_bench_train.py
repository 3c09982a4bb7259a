"""The measurements of loader and training step at tiny sizes: that they run and compare equal things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import write_clip, write_config

from bench.loader import chosen_samples, measure_loader
from bench.real_run import run_job
from pipeline.config import load_config
from stages.windows import WindowSettings

WINDOWS = WindowSettings(height=64, width=96, frames=9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    clips = [write_clip(folder / "in" / f"clip{number}.mp4", number) for number in range(2)]
    return run_job(clips, folder, load_config(str(write_config(folder / "tiny.yaml"))), local=True).folder


def test_both_layouts_give_the_same_and_are_counted(dataset: Path, tmp_path: Path) -> None:
    report = measure_loader(dataset, tmp_path, samples=5, repetitions=1, windows=WINDOWS)
    speed, share = report.figures
    assert speed.value > 0
    samples = chosen_samples(dataset, 5)
    asked = sum(sample.clip_size + sample.mask_size for sample in samples)
    streamed = sum(path.stat().st_size for path in (tmp_path / "exploded").iterdir())
    assert len(samples) == 5
    assert 0 < share.value <= asked / streamed + 1e-9
    assert np.isfinite([row[1] for row in report.tables[0].rows]).all()


def test_a_training_step_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("accelerate")
    from bench.training_step import measure_training_step
    from train.tiny_base import TinyBaseSettings

    # Of the text features that the stored text has.
    (figure,) = measure_training_step(tmp_path, 1, TinyBaseSettings(text_features=256)).figures
    assert figure.value > 0
    assert "a bare step takes" in figure.note
