"""A small real dataset for everything that trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_dataset import vivid, write_config, write_inputs


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of six 96×64 clips and four images, made by the real job."""
    folder = tmp_path_factory.mktemp("training")
    write_inputs(folder / "in", clips=6, images=4)
    config = write_config(folder / "config.yaml")
    run = vivid("shards", folder / "in", "--out", folder / "out", "--config", config, "--local")
    assert run.returncode == 0, run.stderr
    return folder / "out"
