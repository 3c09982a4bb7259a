"""A result remembers its dataset and its settings, and nothing of the machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from manifests.dataset import Dataset
from train.checkpoint import read_config
from train.provenance import record_provenance
from train.sample_table import SampleTable
from train.settings import TrainSettings
from train.tiny_base import save_tiny_base
from train.trainer import Trainer

SETTINGS = TrainSettings.model_validate(
    {"seed": 3, "workers": 0, "courses": [{"steps": 1, "windows": {"height": 64, "width": 96, "frames": 9}}]}
)


def test_a_result_names_its_dataset_and_settings(tiny_shards: Path, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    final = Trainer(str(tiny_shards), str(base), tmp_path / "run", SETTINGS).run()
    record = read_config(final).provenance
    assert record is not None
    run = json.loads((tiny_shards / "run.json").read_text())
    assert (record.dataset, record.dataset_profile) == (tiny_shards.name, "cpu")
    assert record.dataset_configuration == run["semantic_hash"]
    assert sum(record.samples.values()) == sum(SampleTable(Dataset(tiny_shards)).counts().values()) > 0
    assert TrainSettings.model_validate(record.settings) == SETTINGS.model_copy(update={"workers": 2})
    card = (final / "README.md").read_text()
    assert f"| dataset | `{tiny_shards.name}`" in card
    assert "| steps | 1 of 1 |" in card
    assert str(tiny_shards.parent) not in card
    assert str(tmp_path) not in card


def test_content_is_that_of_the_files_wherever_they_lie(tiny_shards: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_shards, tmp_path / "moved")
    here, there = (record_provenance(Dataset(folder), {}, SETTINGS) for folder in (tiny_shards, moved))
    assert here.dataset_content == there.dataset_content
    assert there.dataset == "moved"
    sorted((moved / "commits" / "compose").iterdir())[-1].unlink()
    assert record_provenance(Dataset(moved), {}, SETTINGS).dataset_content != here.dataset_content
