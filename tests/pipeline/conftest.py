"""What the editor's commands work on, and signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_dataset import write_clip

from pipeline import interrupt


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


@pytest.fixture
def signals_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test hears, those after it hear nothing of it."""
    monkeypatch.setattr(interrupt, "_heard", None)
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
