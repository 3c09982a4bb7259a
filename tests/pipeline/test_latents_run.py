"""The job that encodes a dataset beforehand: once, exactly once, and only for the training it was made for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
from latents_in_process import WINDOWS, latent_files, latent_settings, make_latents
from tiny_dataset import vivid
from written_shards import write_part

from manifests import storage
from manifests.commits import read_commits, sweep
from manifests.dataset import Dataset
from manifests.latents import LATENT_PHASES, CaptionRow, caption_key, latents_url
from manifests.schema import from_parquet
from manifests.storage import open_store
from manifests.summary import summarise
from pipeline.binding import ConfigMismatch
from pipeline.drive import RunError
from pipeline.latents_run import bound_settings, plan_of
from train.tiny_base import TinyBaseSettings, save_tiny_base

COUNTS = ("latents.kept", "latents.failed", "latents.windows", "latents.masked", "captions.kept")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), TinyBaseSettings(vae_channels=2)))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of videos, one of images, one for evaluation. Read-only: work on a copy."""
    folder = tmp_path_factory.mktemp("shards") / "out"
    write_part(folder, 0, "ab")
    write_part(folder, 1, "cd")
    write_part(folder, 2, "ef", kind="image")
    write_part(folder, 3, "g", split="eval")
    return folder


@pytest.fixture
def dataset(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "out"))


@pytest.fixture(scope="module")
def made(shards: Path, base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with its latents, made in one go. Read-only."""
    folder = Path(shutil.copytree(shards, tmp_path_factory.mktemp("made") / "out"))
    make_latents(folder, base)
    return folder


def test_all_windows_and_captions_are_there_once(dataset: Path, base: str) -> None:
    result = make_latents(dataset, base, latent_settings(masked_share=0.5))
    counts = result.counts
    assert (counts["latents.kept"], counts["latents.failed"]) == (6, 0)
    assert 4 + 2 <= counts["latents.windows"] <= 4 * 2 + 2, "images that fill the window have one"
    # Two tracks of two variants; videos with and without the keyframe.
    most = 4 * 2 * 4 * 2 + 2 * 4
    assert 0.25 * most < counts["latents.masked"] < 0.75 * most
    # The empty prompt, two shared captions, one per clip.
    assert counts["captions.kept"] == 3 + 6
    assert result.committed == 6
    again = make_latents(dataset, base, latent_settings(masked_share=0.5))
    assert (again.committed, again.counts) == (0, counts)


def test_a_caption_lies_in_the_first_part_that_has_it(made: Path) -> None:
    store = open_store(latents_url(str(made), "default"))
    parts = {
        number: {row.key: row for row in from_parquet(CaptionRow, store.read(commit.file("captions").path))}
        for number, commit in read_commits(store, "captions").items()
    }
    assert {caption_key(""), caption_key("a square"), caption_key("A square named a.")} <= parts[0].keys()
    assert parts[1].keys() == {caption_key("A square named c."), caption_key("A square named d.")}
    assert 3 not in parts, "the eval split was not asked for"
    assert parts[0][caption_key("")].tokens == 226
    assert 1 < parts[0][caption_key("a square")].tokens < 20


def test_appended_parts_make_the_bytes_of_one_go(dataset: Path, base: str, made: Path) -> None:
    """Also for a dataset that grew between runs, and whatever the order of runs."""
    assert make_latents(dataset, base, limit=1).committed == 2
    first = latent_files(dataset)
    assert make_latents(dataset, base).committed == 4
    assert first.items() <= latent_files(dataset).items()
    assert latent_files(dataset) == latent_files(made)


class Killed(BaseException):
    """What a kill leaves behind: nothing after it is done."""


def run_dying_on_the_way(dataset: Path, base: str, steps: tuple[str, ...], limit: int | None = None) -> list[str]:
    """Run again and again; each run dies at a point that no run before has reached. Returns the points."""
    seen: list[str] = []

    def die_at_a_new_point(name: str) -> None:
        if name not in seen and name.startswith(LATENT_PHASES) and name.endswith(steps):
            seen.append(name)
            raise Killed(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "reach", die_at_a_new_point)
        while True:
            try:
                make_latents(dataset, base, limit=limit)
            except Killed:
                continue
            return seen


def test_killed_at_point_after_point(dataset: Path, base: str, made: Path) -> None:
    seen = run_dying_on_the_way(dataset, base, ("moved", "before", "after"), limit=1)
    assert {point.split("/")[0] for point in seen} == set(LATENT_PHASES)
    assert len(seen) == 2 * (2 + 2)
    files = latent_files(dataset)
    assert files == {name: data for name, data in latent_files(made).items() if "-00000-" in name}
    assert not (dataset / "latents" / "default" / ".tmp").exists()


@pytest.mark.slow
def test_killed_at_every_point(dataset: Path, base: str, made: Path) -> None:
    seen = run_dying_on_the_way(dataset, base, ("written", "synced", "moved", "durable", "before", "after"))
    assert len(seen) == 6 * (2 * 4 + 2)
    assert latent_files(dataset) == latent_files(made)
    assert not (dataset / "latents" / "default" / ".tmp").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"windows": {**WINDOWS, "fixed": 3}}, r"settings.windows.fixed: 2 → 3"),
        ({"seed": 1, "masked_share": 0.25}, r"settings.masked_share: 0.0 → 0.25; settings.seed: 0 → 1"),
        ({"split": None}, r"settings.split: \"train\" → null"),
        ({"precision": "bfloat16"}, r"settings.precision: \"float32\" → \"bfloat16\""),
    ],
)
def test_other_settings_are_refused_by_name(made: Path, base: str, given: dict[str, Any], said: str) -> None:
    before = latent_files(made)
    with pytest.raises(ConfigMismatch, match=f"other settings .{said}.; use the same ones or another --name"):
        make_latents(made, base, latent_settings(**given))
    assert latent_files(made) == before


def test_another_base_is_refused_and_a_moved_one_is_not(made: Path, base: str, tmp_path: Path) -> None:
    other = save_tiny_base(tmp_path / "other", TinyBaseSettings(vae_channels=2, seed=1))
    with pytest.raises(ConfigMismatch, match=r"base.text: .* → .*; base.vae: .* → "):
        make_latents(made, str(other))
    moved = shutil.copytree(base, tmp_path / "moved")
    assert make_latents(made, str(moved)).committed == 0
    assert bound_settings(str(made), "default")[0] == str(moved)


def test_sets_lie_side_by_side(dataset: Path, base: str) -> None:
    make_latents(dataset, base, limit=1)
    first = latent_files(dataset)
    wider = latent_settings(windows={**WINDOWS, "frames": 1}, precision="bfloat16")
    make_latents(dataset, base, wider, name="still", limit=1)
    assert latent_files(dataset) == first
    stills = latent_files(dataset, "still")
    assert stills.keys().isdisjoint(first)
    assert bound_settings(str(dataset), "still")[1]["precision"] == "bfloat16"


def test_a_broken_clip_costs_itself(dataset: Path, base: str, made: Path) -> None:
    sample = next(row for row in _samples(dataset) if row["clip_id"] == "a" * 16)
    with (dataset / sample["shard"]).open("r+b") as shard:
        shard.seek(sample["clip_offset"])
        shard.write(b"\0" * sample["clip_size"])
    counts = make_latents(dataset, base).counts
    assert (counts["latents.kept"], counts["latents.failed"], counts["captions.kept"]) == (5, 1, 9)
    (rejects,) = [name for name in latent_files(dataset) if name.startswith("rejects/")]
    assert rejects.startswith("rejects/latents-00000-")
    same = {name for name in latent_files(made) if not name.startswith(("clips/part-00000", "index/latents-00000"))}
    assert same <= latent_files(dataset).keys()


def _samples(dataset: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Dataset(dataset).table("samples").to_pylist()
    return rows


def test_a_dataset_without_samples_of_the_split_is_refused(made: Path) -> None:
    with pytest.raises(RunError, match="has no samples in the split 'it's'"):
        plan_of(Dataset(made), "it's", None)
    assert plan_of(Dataset(made), None, None).clips == {0: 2, 1: 2, 2: 2, 3: 1}
    assert plan_of(Dataset(made), "eval", None).captions == {
        3: ("", "A square named g.", "Remove objects.", "a square")
    }


def test_a_dataset_with_latents_is_the_dataset_it_was(made: Path, shards: Path) -> None:
    assert summarise(Dataset(made)) == summarise(Dataset(shards))
    before = latent_files(made)
    assert sweep(open_store(made)) == []
    assert latent_files(made) == before


@pytest.fixture(scope="module")
def command_line(shards: Path, base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(shards, tmp_path_factory.mktemp("command") / "out"))
    sets = [argument for key, value in WINDOWS.items() for argument in ("--set", f"windows.{key}={value}")]
    result = vivid("latents", folder, "--base", base, *sets, "--local")
    assert result.returncode == 0, result.stderr
    assert "windows of 6 clips and 0 masked videos" in result.stdout
    assert "captions: 9/9 captions" in result.stderr
    return folder


@pytest.mark.slow
def test_the_command_makes_the_same_bytes_in_children(command_line: Path, made: Path) -> None:
    assert latent_files(command_line) == latent_files(made)
    again = vivid("latents", command_line, "--local")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    refused = vivid("latents", command_line, "--set", "windows.fixed=4", "--local")
    assert refused.returncode == 1
    assert refused.stderr.startswith("vivid: ")
    assert "windows.fixed: 2 → 4" in refused.stderr
    assert vivid("inspect", command_line, "--json").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("point", ["latents/00001/latents.tar:moved", "captions/00000/commit:before"])
def test_a_killed_command_goes_on(dataset: Path, base: str, made: Path, point: str) -> None:
    sets = [argument for key, value in WINDOWS.items() for argument in ("--set", f"windows.{key}={value}")]
    arguments = ("latents", dataset, "--base", base, *sets, "--local")
    assert vivid(*arguments, environment={"VIVID_KILL_POINT": point}).returncode == -9
    assert vivid(*arguments).returncode == 0
    assert latent_files(dataset) == latent_files(made)


@pytest.mark.slow
def test_ray_makes_the_same_bytes(dataset: Path, base: str, made: Path) -> None:
    sets = [argument for key, value in WINDOWS.items() for argument in ("--set", f"windows.{key}={value}")]
    result = vivid("latents", dataset, "--base", base, *sets, "--workers", "2", timeout=600)
    assert result.returncode == 0, result.stderr
    assert latent_files(dataset) == latent_files(made)
