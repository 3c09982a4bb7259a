from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
from rich.console import Console

from manifests.commits import RUN_FILE, current_epoch
from manifests.storage import open_store
from pipeline import latents_binding
from pipeline.binding import ConfigMismatch
from pipeline.latents_binding import bind_latents
from train.latent_settings import LatentSettings

BASE = {"vae": "1" * 16, "text": "2" * 16, "max_tokens": 226}
SETTINGS = LatentSettings(precision="float32")


def test_each_run_takes_a_new_epoch(tmp_path: Path) -> None:
    store, said = open_store(tmp_path), io.StringIO()
    epochs = [bind_latents(store, base, BASE, SETTINGS, Console(file=said)) for base in ("here", "there")]
    assert epochs == [1, 2]
    assert current_epoch(store) == 2
    document = json.loads(store.read(RUN_FILE))
    assert document["base"] == "there", "a base may move"
    assert LatentSettings.model_validate(document["semantic"]["settings"]) == SETTINGS
    assert said.getvalue() == ""


def test_the_encoder_version_binds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, console = open_store(tmp_path), Console(file=io.StringIO())
    bind_latents(store, "base", BASE, SETTINGS, console)
    monkeypatch.setattr(latents_binding, "ENCODER_VERSION", 99)
    with pytest.raises(ConfigMismatch, match=r"\(version: 1 → 99\)"):
        bind_latents(store, "base", BASE, SETTINGS, console)
    assert current_epoch(store) == 1, "a refused run changes nothing"


def test_another_library_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, said = open_store(tmp_path), io.StringIO()
    bind_latents(store, "base", BASE, SETTINGS, Console(file=said))
    monkeypatch.setattr(latents_binding, "environment_with_base", lambda: {"torch": "0.1"})
    assert bind_latents(store, "base", BASE, SETTINGS, Console(file=said)) == 2
    assert 'latents may differ: torch: "' in said.getvalue()
