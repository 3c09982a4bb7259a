"""``vivid export``: what other tools get is what the dataset means, whole and once, however often it is interrupted."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
import webdataset
from tiny_dataset import INTERRUPTED, job_environment, vivid

from manifests.damage import DatasetDamaged
from manifests.dataset import Dataset
from manifests.records import SampleRow
from pipeline.export import Export
from stages.augment import apply_variant

VIDEO_DELETIONS = "task = 'delete' AND kind = 'video'"


def exported(dataset: Path, folder: Path, where: str | None = None, per_tar: int = 50, workers: int = 1) -> list[int]:
    """Export; returns what was reported."""
    told: list[int] = []
    done = Export(str(dataset), folder, where, per_tar).run(workers, told.append)
    assert sum(told) == done.samples
    return told


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mask_of(sample: dict[str, bytes]) -> np.ndarray:
    """Masks (frames, height, width) bool of an exported sample."""
    if "mask.png" in sample:
        return cv2.imdecode(np.frombuffer(sample["mask.png"], np.uint8), cv2.IMREAD_UNCHANGED)[None] > 127
    with av.open(io.BytesIO(sample["mask.mkv"])) as container:
        assert float(container.streams.video[0].average_rate) == 12
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]) > 127


def test_every_sample_is_there_with_its_clip_its_masks_and_its_caption(tiny_shards: Path, tmp_path: Path) -> None:
    exported(tiny_shards, tmp_path / "all")
    dataset = Dataset(tiny_shards)
    rows = {row.sample_id: row for row in dataset.rows("samples", SampleRow)}
    tars = sorted(str(path) for path in (tmp_path / "all").glob("*.tar"))
    assert len(tars) == -(-len(rows) // 50)
    seen = []
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        row = rows[sample["__key__"]]
        seen.append(row.sample_id)
        said = json.loads(sample["json"])
        assert (said["caption"], said["task"], said["split"]) == (row.caption, row.task, row.split)
        assert sample["mp4" if row.kind == "video" else "jpg"] == dataset.clip_bytes(row)
        parameters = json.loads(row.variant_parameters)
        drawn = [apply_variant(mask, parameters) for mask in dataset.masks(row).masks()]
        assert np.array_equal(mask_of(sample), drawn)
    assert seen == sorted(rows, key=lambda name: (rows[name].part, name))


def test_processes_and_repetition_change_nothing(tiny_shards: Path, tmp_path: Path) -> None:
    exported(tiny_shards, tmp_path / "one", VIDEO_DELETIONS, 5)
    exported(tiny_shards, tmp_path / "two", VIDEO_DELETIONS, 5, workers=2)
    whole = content(tmp_path / "one")
    assert content(tmp_path / "two") == whole
    assert len(whole) > 3
    (tmp_path / "one" / "samples-00001.tar").rename(tmp_path / "one" / "samples-00001.tar.partial")
    written = (tmp_path / "one" / "samples-00000.tar").stat().st_mtime_ns
    exported(tiny_shards, tmp_path / "one", VIDEO_DELETIONS, 5)
    assert content(tmp_path / "one") == whole
    assert (tmp_path / "one" / "samples-00000.tar").stat().st_mtime_ns == written


def test_only_what_fits_the_condition(tiny_shards: Path, tmp_path: Path) -> None:
    exported(tiny_shards, tmp_path / "images", "kind = 'image' AND caption_kind <> 'short'")
    for sample in webdataset.WebDataset(str(tmp_path / "images" / "samples-00000.tar"), shardshuffle=False):
        assert {"jpg", "mask.png"} <= sample.keys()
        assert json.loads(sample["json"])["caption_kind"] != "short"


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(tiny_shards: Path, tmp_path: Path) -> None:
    for where, words in (
        ("kind = 'audio'", r"has no samples where kind = 'audio'$"),
        ("colour = 'red'", "cannot be chosen: Binder Error: .*colour"),
        ("split =", "cannot be chosen: Parser Error"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            Export(str(tiny_shards), tmp_path / "none", where)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_holds_something_else_is_refused(tiny_shards: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        Export(str(tiny_shards), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    exported(tiny_shards, tmp_path / "some", VIDEO_DELETIONS)
    with pytest.raises(ValueError, match="holds an export of other samples"):
        Export(str(tiny_shards), tmp_path / "some", VIDEO_DELETIONS, 7)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_shard_is_named_and_what_came_before_it_stays(tiny_shards: Path, tmp_path: Path, workers: int) -> None:
    copy = Path(shutil.copytree(tiny_shards, tmp_path / "out"))
    last = sorted((copy / "shards").iterdir())[-1]
    last.unlink()
    with pytest.raises(DatasetDamaged, match=f"shards/{last.name} in .* is gone"):
        exported(copy, tmp_path / "some", workers=workers)
    assert list((tmp_path / "some").glob("*.tar"))
    shutil.copy(tiny_shards / "shards" / last.name, last)
    exported(copy, tmp_path / "some", workers=workers)
    exported(tiny_shards, tmp_path / "whole")
    assert content(tmp_path / "some") == content(tmp_path / "whole")


def test_a_signal_ends_it_and_the_same_command_completes_it(tiny_shards: Path, tmp_path: Path) -> None:
    copy, folder = Path(shutil.copytree(tiny_shards, tmp_path / "out")), tmp_path / "some"
    last = sorted((copy / "shards").iterdir())[-1]
    last.unlink()
    os.mkfifo(last)  # who opens it waits for ever: the export cannot end before the signal
    command = ["export", str(copy), "-o", str(folder), "--per-tar", "3", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command],
        env=job_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("*.tar")) and process.poll() is None:
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert INTERRUPTED in errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=60)[1]
    last.unlink()
    shutil.copy(tiny_shards / "shards" / last.name, last)
    result = vivid(*command)
    assert result.returncode == 0, result.stderr
    exported(tiny_shards, tmp_path / "whole", per_tar=3)
    assert content(folder) == content(tmp_path / "whole")
    assert f"{folder}: " in result.stdout
    assert " samples in " in result.stdout
