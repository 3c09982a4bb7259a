"""Before any work: a model that cannot work is one sentence, and nothing is written."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from stand_in_network import SERVICE, STAND_IN
from tiny_dataset import CONFIG, data_files, vivid, write_clip, write_config

from models.weights import WEIGHTS_FILE
from pipeline import checks
from pipeline.checks import ModelsNotReady, check_models, cpu_warning
from pipeline.config import WORK_PHASES, Config, load_config


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with the stand-in's weight."""
    folder = tmp_path / "weights"
    (folder / "net").mkdir(parents=True)
    (folder / "net" / "words.txt").write_text("joy rush")
    write_list(folder, {"words.txt": {"size": 8}})
    monkeypatch.setenv("VIVID_WEIGHTS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def write_list(folder: Path, files: dict[str, Any]) -> None:
    (folder / WEIGHTS_FILE).write_text(json.dumps({"net": {"files": files}}))


def config(**settings: Any) -> Config:
    overrides = [f"stages.tag.tagger.name={STAND_IN}", *(f"{key}={value}" for key, value in settings.items())]
    return load_config("cpu", overrides)


def check(given: Config, *, here: bool = True, phases: tuple[str, ...] = WORK_PHASES) -> str:
    said = io.StringIO()
    check_models(given, phases, Console(file=said, width=80), here=here)
    return said.getvalue()


def refusal(given: Config, **options: Any) -> str:
    with pytest.raises(ModelsNotReady) as caught:
        check(given, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_ready_passes_without_a_word(mirror: Path) -> None:
    assert check(config()) == ""
    assert check(load_config("cpu")) == ""


def test_a_missing_weight_names_the_stage_and_what_to_do(mirror: Path) -> None:
    (mirror / "net" / "words.txt").unlink()
    text = refusal(config())
    assert text.startswith(f"stages.tag.tagger ({STAND_IN}): the weight 'net' is not on this machine: words.txt")
    assert "`vivid weights net`" in text
    # Only the phases asked for count.
    assert check(config(), phases=("ingest", "compose")) == ""


def test_a_wrong_weight_is_told_by_size_and_by_hash(mirror: Path) -> None:
    (mirror / "net" / "words.txt").write_text("joy rust!")
    assert "has 9 bytes, not 8; remove it" in refusal(config())
    write_list(mirror, {"words.txt": {"sha256": "0" * 64}})
    assert "has the sha256" in refusal(config())


def test_several_missing_weights_are_named_at_once(mirror: Path, tmp_path: Path) -> None:
    document = json.loads((mirror / WEIGHTS_FILE).read_text())
    document |= {"other": {"files": {"a": {}}}, "third": {"files": {"a": {}}}}
    (mirror / WEIGHTS_FILE).write_text(json.dumps(document))
    text = refusal(
        load_config(
            "cpu",
            [
                f"stages.tag.tagger={{name: '{STAND_IN}', settings: {{weights: other}}}}",
                f"stages.detect.detector={{name: '{STAND_IN}', settings: {{weights: third}}}}",
            ],
        )
    )
    assert "the weights other, third are not on this machine" in text
    assert "`vivid weights other third`" in text
    assert text.endswith(f"looked in {mirror} and {tmp_path / 'cache' / 'vivid' / 'weights'}")


def test_a_weight_in_the_cache_will_do(mirror: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "vivid" / "weights"
    cache.parent.mkdir(parents=True)
    mirror.rename(cache)
    assert check(config()) == ""
    (cache / "net" / "words.txt").write_text("joy rust!")
    assert f"{cache / 'net' / 'words.txt'} has 9 bytes, not 8" in refusal(config())


def test_a_device_that_is_not_there_counts_only_here(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.placement.cuda_devices", lambda: 0)
    given = load_config("cpu", [f"stages.tag.tagger.name={STAND_IN}", f"devices={{'{STAND_IN}': {{device: cuda}}}}"])
    assert "the device 'cuda' is not there: this machine has no CUDA device" in refusal(given)
    assert check(given, here=False) == ""


def test_a_service_is_asked_whether_it_answers() -> None:
    up = [f"stages.caption.captioner.name={SERVICE}"]
    assert check(load_config("cpu", up)) == ""
    down = load_config("cpu", [*up, "stages.caption.captioner.settings.up=false"])
    assert refusal(down) == f"stages.caption.captioner ({SERVICE}): the service does not answer"


def test_slow_networks_are_warned_of_once(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CPU_TIMES", {STAND_IN: "stand-in 5 s per clip"})
    said = check(config())
    assert said.count("\n") == 1
    assert said.startswith(f"no CUDA device here: {STAND_IN} run on the CPU in float32")
    assert "measured CPU time: stand-in 5 s per clip" in said
    assert check(config(), here=False) == ""
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 1)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert check(config()) == ""


def test_the_warning_says_what_was_not_measured() -> None:
    text = cpu_warning(["ram", "grounding_dino", "ram"])
    assert text.count("ram") == 2
    assert "grounding_dino 17 s per image; not measured: ram" in text


# --- the commands ---


def test_no_run_begins_without_its_weight(mirror: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "in" / "clip.mp4", 1)
    stages = {**CONFIG["stages"], "tag": {"tagger": {"name": STAND_IN}}}
    settings = write_config(tmp_path / "tiny.yaml", {"stages": stages})
    out = tmp_path / "out"
    command = ("shards", tmp_path / "in", "--out", out, "--config", settings, "--local")
    (mirror / "net" / "words.txt").rename(tmp_path / "kept.txt")
    result = vivid(*command)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("vivid: stages.tag.tagger (stand_in_network:StandIn): the weight 'net'")
    assert not out.exists()

    (tmp_path / "kept.txt").rename(mirror / "net" / "words.txt")
    result = vivid(*command)
    assert result.returncode == 0, result.stderr
    assert "tags of neither vocabulary: 2 (2 words; most often joy 1, rush 1)" in result.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["other_tags"]["most_frequent"] == {"joy": 1, "rush": 1}
    assert json.loads((out / "run.json").read_text())["semantic"]["weights"] == {"net": "unknown-unlocked"}

    # Finished: what made it need not be there any more.
    (mirror / "net" / "words.txt").rename(tmp_path / "kept.txt")
    before = data_files(out)
    result = vivid(*command)
    assert result.returncode == 0, result.stderr
    assert "nothing to do" in result.stdout
    result = vivid("retry", out, "--local")
    assert result.returncode == 0, result.stderr
    assert "nothing has failed" in result.stderr

    # With more to do it must be, and be right, before anything is planned.
    write_clip(tmp_path / "in" / "more.mp4", 2)
    result = vivid(*command)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "the weight 'net' is not on this machine" in result.stderr
    (mirror / "net" / "words.txt").write_text("other words")
    result = vivid(*command)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "has 11 bytes, not 8" in result.stderr
    assert len(list((out / "commits" / "listing").iterdir())) == 1
    assert data_files(out) == before


def test_a_finished_dataset_is_recognised_without_its_mirror(mirror: Path, tmp_path: Path) -> None:
    """The mirror's list, too, is gone: of another revision of the weight nothing is known here."""
    write_list(mirror, {"words.txt": {"sha256": hashlib.sha256(b"joy rush").hexdigest()}})
    write_clip(tmp_path / "in" / "clip.mp4", 1)
    stages = {**CONFIG["stages"], "tag": {"tagger": {"name": STAND_IN}}}
    settings = write_config(tmp_path / "tiny.yaml", {"stages": stages})
    command = ("shards", tmp_path / "in", "--out", tmp_path / "out", "--config", settings, "--local")
    assert vivid(*command).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_list(elsewhere, {"words.txt": {}})
    result = vivid(*command, environment={"VIVID_WEIGHTS": str(elsewhere)})
    assert result.returncode == 0, result.stderr
    assert "nothing to do" in result.stdout
    # Here it is, and another: that is another dataset.
    (elsewhere / "net").mkdir()
    (elsewhere / "net" / "words.txt").write_text("joy rush")
    result = vivid(*command, environment={"VIVID_WEIGHTS": str(elsewhere)})
    assert result.returncode == 1
    assert 'weights.net: "unknown-' in result.stderr
