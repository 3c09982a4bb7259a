"""What the editor's commands work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_dataset import write_clip


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline of random weights."""
    # Here, since only some of the tests in this folder need diffusers.
    from editor_cli import save_editor

    return save_editor(tmp_path_factory.mktemp("model") / "editor")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 96×64 with a square that moves."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 0)
