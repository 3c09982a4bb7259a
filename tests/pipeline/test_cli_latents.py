from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers")
from typer.testing import CliRunner
from written_shards import write_part

from pipeline.cli import app
from pipeline.cli_latents import last_line
from pipeline.config import ConfigError
from pipeline.latents_run import LatentsResult


def result(**given: int) -> LatentsResult:
    counts = {
        "latents.kept": 8,
        "latents.failed": 0,
        "latents.windows": 16,
        "latents.masked": 0,
        "captions.kept": 17,
        "captions.failed": 0,
    }
    return LatentsResult("out/latents/default", counts | given, 16 * 2**21, 2**20, 4, 12.34)


def test_the_last_line_says_what_is_there() -> None:
    assert last_line(result()) == (
        "out/latents/default: 16 windows of 8 clips and 0 masked videos in 32.0 MiB (2048.0 KiB each), "
        "17 captions in 1.0 MiB; 4 parts in 12.3 s"
    )
    assert "17 captions in 1.0 MiB, 3 failed (training encodes them itself)" in last_line(
        result(**{"latents.failed": 1, "captions.failed": 2})
    )


def test_help_tells_what_it_costs() -> None:
    text = " ".join(CliRunner().invoke(app, ["latents", "--help"], terminal_width=200).output.split())
    # 13 latents of 16 channels, 60×90 cells, two bytes each.
    assert f"{13 * 16 * 60 * 90 * 2 / 2**20:.1f} MiB" in text
    assert f"{16 * 60 * 90 * 2 / 2**20:.2f} MiB" in text
    assert "masked_share" in text


def test_a_base_must_be_named_once(tmp_path: Path) -> None:
    write_part(tmp_path / "out", 0, "a")
    answer = CliRunner().invoke(app, ["latents", str(tmp_path / "out"), "--local"])
    assert isinstance(answer.exception, ConfigError)
    assert "name the CogVideoX base" in str(answer.exception)
    assert not (tmp_path / "out" / "latents").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("windows.fixed=0", "latents need a fixed number of windows"),
        ("masked_share=2", "masked_share should be less than or equal to 1, not 2"),
        ("windows.frames=10", "a window has 8k"),
        ("window=3", "there is no such field; did you mean 'windows'"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, change: str, said: str) -> None:
    answer = CliRunner().invoke(app, ["latents", str(tmp_path), "--base", "x", "--set", change])
    assert isinstance(answer.exception, ConfigError)
    assert said in str(answer.exception)
