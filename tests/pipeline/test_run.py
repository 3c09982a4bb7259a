"""The whole job on tiny clips: what it makes, that it goes on, appends, refuses and retries."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest
import webdataset
from tiny_dataset import INTERRUPTED, data_files, job_environment, vivid, write_clip, write_config, write_inputs

from manifests.dataset import Dataset
from manifests.masks import MaskTrack
from manifests.records import SampleRow
from stages.augment import apply_variant
from stages.media import decode_clip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("run") / "in")


@pytest.fixture(scope="module")
def config(inputs: Path) -> Path:
    return write_config(inputs.parent / "tiny.yaml")


@pytest.fixture(scope="module")
def done(inputs: Path, config: Path) -> Path:
    """A finished dataset; tests that change it take a copy."""
    out = inputs.parent / "out"
    result = vivid("shards", inputs, "--out", out, "--config", config, "--local")
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


def test_every_clip_becomes_samples_of_both_tasks(done: Path) -> None:
    dataset = Dataset(done)
    names, rows = dataset.query(
        "SELECT kind, clip_id, count(*) FILTER (task = 'add_modify'), count(*) FILTER (task = 'delete'), "
        "count(DISTINCT caption_kind) FILTER (task = 'add_modify') FROM samples GROUP BY 1, 2 ORDER BY 1"
    )
    assert names[0] == "kind"
    assert [row[0] for row in rows] == ["image", "video", "video", "video", "video"]
    for kind, _, add_modify, delete, captions in rows:
        assert add_modify > 0
        assert captions == 3
        # Six variants at most for each of the two motions of a video, and for an image's one pasted mask.
        assert 0 < delete <= (12 if kind == "video" else 6)


def test_nothing_vanishes(done: Path) -> None:
    dataset = Dataset(done)
    states = {row[0]: row[1] for row in dataset.query("SELECT path, state FROM sources")[1]}
    assert states == {
        **{f"clip{i}.mp4": "kept" for i in range(4)},
        "image0.jpg": "kept",
        "short.mp4": "filtered",
        "text.mp4": "failed",
    }
    reasons = dataset.query(
        "SELECT level, state, reason, value, threshold FROM rejects WHERE phase = 'ingest' ORDER BY 1"
    )[1]
    assert ("clip", "filtered", "min_duration", 0.25, 0.5) in reasons
    assert any(row[:2] == ("source", "failed") for row in reasons)
    # A track that was found is kept or has its reason.
    tracks = dataset.query("SELECT count(*) FROM tracks WHERE role = 'entity'")[1][0][0]
    assert isinstance(tracks, int)
    assert tracks >= 5


def test_donors_come_from_other_sources(done: Path) -> None:
    _, rows = Dataset(done).query(
        "SELECT c.source_id, d.source_id FROM tracks t JOIN clips c USING (clip_id) "
        "JOIN clips d ON d.clip_id = split_part(t.donor_track_id, '-', 1) WHERE t.role = 'pasted'"
    )
    assert rows
    assert all(ours != theirs for ours, theirs in rows)


def test_offsets_read_what_the_members_hold(done: Path) -> None:
    dataset = Dataset(done)
    for sample in dataset.rows("samples", SampleRow):
        with tarfile.open(done / sample.shard) as tar:
            assert tar.extractfile(sample.clip_member).read() == dataset.clip_bytes(sample)
            masks = MaskTrack.from_bytes(tar.extractfile(sample.mask_member).read())
        assert masks == dataset.masks(sample)
        assert len(masks) == sample.num_frames == len(decode_clip(dataset.clip_bytes(sample)))
        assert masks.size == (sample.height, sample.width)
        variant = apply_variant(masks.mask(0), json.loads(sample.variant_parameters))
        assert variant.shape == masks.size


def test_tars_open_with_webdataset_and_tar(done: Path) -> None:
    shards = sorted((done / "shards").glob("*.tar"))
    for shard in shards:
        names = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True).stdout.split()
        assert names == sorted(names)
    samples = list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False))
    assert len(samples) == 5
    for sample in samples:
        metadata = json.loads(sample["json"])
        assert metadata["clip_id"] == sample["__key__"]
        pixels = sample["mp4"] if metadata["kind"] == "video" else sample["jpg"]
        assert len(decode_clip(pixels)) == metadata["num_frames"]
        for track in metadata["tracks"]:
            assert track["masks"].partition(".")[2] in sample


def test_manifests_open_with_pyarrow_and_duckdb(done: Path) -> None:
    files = sorted((done / "manifests" / "samples").glob("*.parquet"))
    rows = sum(pq.read_table(file).num_rows for file in files)
    counted = duckdb.sql(f"SELECT count(*) FROM '{done}/manifests/samples/*.parquet'").fetchall()
    assert counted == [(rows,)]


def test_manifests_and_shards_hold_no_paths_of_the_machine(done: Path) -> None:
    needle = str(done.parent).encode()
    for name, data in data_files(done, ("manifests", "shards")).items():
        text = repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode() if name.endswith(".parquet") else data
        assert needle not in text, name


def test_running_again_does_nothing(copy: Path, inputs: Path, config: Path) -> None:
    before = data_files(copy)
    result = vivid("shards", inputs, "--out", copy, "--config", config)
    assert result.returncode == 0
    assert "nothing to do" in result.stdout
    assert data_files(copy) == before


def test_listing_order_makes_no_difference(done: Path, inputs: Path, config: Path, tmp_path: Path) -> None:
    files = sorted(path for path in inputs.iterdir() if path.suffix in (".mp4", ".jpg"))
    shuffled = inputs.parent / "shuffled.txt"
    shuffled.write_text("".join(f"{path.name}\n" for path in [*files[3:], *files[:3]]))
    listing = inputs / "listing.txt"
    shutil.move(shuffled, listing)
    try:
        out = tmp_path / "out"
        assert vivid("shards", listing, "--out", out, "--config", config, "--local").returncode == 0
    finally:
        listing.unlink()
    assert data_files(out) == data_files(done)


def test_another_configuration_is_refused_by_field(copy: Path, inputs: Path, config: Path) -> None:
    before = data_files(copy)
    result = vivid("shards", inputs, "--out", copy, "--config", config, "--local", "--set", "seed=3")
    assert result.returncode == 1
    assert "seed: 0 → 3" in result.stderr
    assert "Traceback" not in result.stderr
    assert data_files(copy) == before
    # How the work is spread is not what makes the data.
    pools = json.dumps(
        {"annotate": [{"name": "all", "deadline_s": 99, "stages": _chain()}]},
    )
    operational = vivid(
        "shards", inputs, "--out", copy, "--config", config, "--local", "--set", f"pools.annotate={pools[13:-1]}"
    )
    assert operational.returncode == 0, operational.stderr


def _chain() -> list[str]:
    return ["decode", "tag", "detect", "segment", "propagate", "measure", "screen", "caption"]


def test_appending_adds_parts_and_changes_none(copy: Path, inputs: Path, config: Path, tmp_path: Path) -> None:
    more = tmp_path / "in"
    shutil.copytree(inputs, more)
    write_clip(more / "added.mp4", 7)
    before = data_files(copy)
    result = vivid("shards", more, "--out", copy, "--config", config, "--local")
    assert result.returncode == 0, result.stderr
    after = data_files(copy)
    assert {name: after.get(name) for name in before} == before
    added = Dataset(copy).query(
        "SELECT count(*) FROM samples JOIN clips USING (clip_id) JOIN sources USING (source_id) "
        "WHERE path = 'added.mp4'"
    )[1]
    assert added[0][0] > 0


def test_a_changed_source_is_named_and_not_taken(copy: Path, inputs: Path, config: Path, tmp_path: Path) -> None:
    changed = tmp_path / "in"
    shutil.copytree(inputs, changed)
    write_clip(changed / "clip2.mp4", 9)
    before = data_files(copy)
    result = vivid("shards", changed, "--out", copy, "--config", config, "--local")
    assert result.returncode == 0
    assert "in/clip2.mp4 has changed" in result.stderr
    assert data_files(copy) == before


def test_the_datasets_own_pictures_are_no_sources(inputs: Path, config: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(inputs, tmp_path / "in"))
    for _ in range(2):
        result = vivid("shards", folder, "--out", folder / "out", "--config", config, "--local")
        assert result.returncode == 0, result.stderr
        assert vivid("inspect", folder / "out").returncode == 0
    assert "nothing to do" in result.stdout
    assert len(Dataset(folder / "out").table("sources")) == 7


def test_limit_then_the_rest(inputs: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert vivid("shards", inputs, "--out", out, "--config", config, "--local", "--limit", "2").returncode == 0
    assert len(Dataset(out).table("sources")) == 2
    assert vivid("shards", inputs, "--out", out, "--config", config, "--local").returncode == 0
    assert len(Dataset(out).table("sources")) == 7


def test_phases_one_by_one_equal_all_at_once(done: Path, inputs: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for phase in ("ingest", "annotate", "compose"):
        result = vivid("shards", inputs, "--out", out, "--config", config, "--local", "--phases", phase)
        assert result.returncode == 0, result.stderr
    assert data_files(out) == data_files(done)


def test_compose_before_annotate_is_refused(inputs: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert vivid("shards", inputs, "--out", out, "--config", config, "--local", "--phases", "ingest").returncode == 0
    result = vivid("shards", inputs, "--out", out, "--config", config, "--local", "--phases", "compose")
    assert result.returncode == 1
    assert "annotated first" in result.stderr


def test_retry_takes_the_failed_source_again(inputs: Path, config: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(inputs, source)
    out = tmp_path / "out"
    hidden = tmp_path / "clip1.mp4"
    # The file vanishes between listing and reading: a symbolic stand-in for a store that was down.
    assert vivid("shards", source, "--out", out, "--config", config, "--local", "--phases", "compose").returncode == 1
    shutil.move(source / "clip1.mp4", hidden)
    assert vivid("shards", source, "--out", out, "--config", config, "--local").returncode == 0
    before = data_files(out)
    rejects = Dataset(out).query("SELECT reason, state FROM rejects WHERE level = 'source' ORDER BY 1")[1]
    assert ("missing", "failed") in rejects
    shutil.move(hidden, source / "clip1.mp4")
    result = vivid("retry", out, "--local")
    assert result.returncode == 0, result.stderr
    after = data_files(out)
    assert {name: after.get(name) for name in before} == before
    dataset = Dataset(out)
    assert not dataset.query("SELECT * FROM rejects WHERE reason = 'missing'")[1]
    assert dataset.query("SELECT state, count(*) FROM sources WHERE path = 'clip1.mp4' GROUP BY 1")[1] == [("kept", 1)]
    assert (
        dataset.query(
            "SELECT count(*) FROM samples JOIN clips USING (clip_id) JOIN sources USING (source_id) "
            "WHERE path = 'clip1.mp4'"
        )[1][0][0]
        > 0
    )


def test_one_source_has_no_donors_and_says_so(tmp_path: Path, config: Path) -> None:
    write_clip(tmp_path / "in" / "only.mp4", 1)
    out = tmp_path / "out"
    result = vivid("shards", tmp_path / "in", "--out", out, "--config", config, "--local")
    assert result.returncode == 0, result.stderr
    dataset = Dataset(out)
    assert dataset.query("SELECT task, count(*) > 0 FROM samples GROUP BY 1")[1] == [("add_modify", True)]
    assert dataset.query("SELECT DISTINCT reason FROM rejects WHERE stage = 'paste'")[1] == [("no_donor",)]


def test_prune_frees_what_the_shards_hold(copy: Path, inputs: Path, config: Path) -> None:
    shards = data_files(copy, ("shards", "manifests"))
    assert vivid("prune", copy).returncode == 0
    assert not list((copy / "clips").glob("*.tar"))
    assert data_files(copy, ("shards", "manifests")) == shards
    assert vivid("shards", inputs, "--out", copy, "--config", config, "--local").returncode == 0


def test_bad_use_is_one_sentence(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (("shards", tmp_path / "nowhere", "--out", tmp_path / "o1"), "nowhere"),
        (("shards", tmp_path / "empty", "--out", tmp_path / "o2"), "no video or image"),
        (("shards", inputs, "--out", tmp_path / "o3", "--profile", "gpu"), "there is no profile"),
        (("shards", inputs, "--out", tmp_path / "o4", "--phases", "bake"), "no phase 'bake'"),
        (("shards", inputs, "--out", tmp_path / "o5", "--set", "stages.screen.min_aera=1"), "min_aera"),
        (("inspect", tmp_path / "empty"), "no dataset"),
        (("retry", tmp_path / "empty"), "no dataset"),
        (("shards", inputs, "--out", "nosuch://bucket/x"), "nosuch"),
    ):
        result = vivid(*arguments)
        assert result.returncode == 1, arguments
        assert words in result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_dry_run_touches_nothing(inputs: Path, config: Path, tmp_path: Path) -> None:
    result = vivid("shards", inputs, "--out", tmp_path / "out", "--config", config, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "7 sources (7 new)" in result.stdout
    assert "decode → tag" in result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_cleanly_and_resumably(
    number: signal.Signals, done: Path, inputs: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pipeline.cli", "shards", inputs, "--out", out, "--config", config, "--local"]
    process = subprocess.Popen(
        command, env=job_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list((out / "commits" / "ingest").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert INTERRUPTED in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert vivid("shards", inputs, "--out", out, "--config", config, "--local").returncode == 0
    assert data_files(out) == data_files(done)


def test_a_second_live_run_is_refused(copy: Path, inputs: Path, config: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom manifests.lock import run_lock\nfrom manifests.storage import open_store\n"
            "with run_lock(open_store(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)",
            str(copy),
        ],
        env=job_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        result = vivid("shards", inputs, "--out", copy, "--config", config, "--local")
        assert result.returncode == 1
        assert f"process {holder.pid} on " in result.stderr
    finally:
        holder.kill()
        holder.wait()
