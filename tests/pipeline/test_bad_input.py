"""One job over everything a stranger may hand in: each thing is kept or has its reason, and costs nothing beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from bad_inputs import (
    BROKEN,
    CUT_OFF,
    FILTERED,
    KEPT,
    USABLE,
    Entry,
    disguised,
    folder_with_a_video,
    frames_of,
    names_and_links,
    picture,
    video,
    write_tar,
)
from media_files import write_bytes, write_image, write_video
from tiny_dataset import CONFIG, job_environment, moving_square, processes_left, vivid, write_clip, write_config

from manifests.dataset import Dataset
from manifests.records import SampleRow, TrackRow
from stages.listing_records import printable
from stages.media import encode_image

PATIENCE_S = 300
MOST_MEMORY = 2**30
CAUGHT_BY_THE_HOST = {"error", "crashed", "timeout", "memory"}
"""Reasons that say a stage did not understand what it met."""

DISCOVERY = {"name": "motion_discovery", "settings": {"max_entities": 1, "saliency": {"long_side": 128}}}
CHANGES = {
    "stages": {
        **CONFIG["stages"],
        # Half a hundred tiny clips need no close look.
        "tag": {"tagger": DISCOVERY},
        "detect": {"detector": DISCOVERY},
        "segment": {"segmenter": {"name": "grabcut", "settings": {"long_side": 128, "fine_side": 128}}},
        "propagate": {"tracker": {"name": "colour_tracker", "settings": {"appearance": {"classifier": {"steps": 50}}}}},
        "ingest": {
            "normalise": {"min_short_side": 64, "max_short_side": 96, "min_duration": 0.5, "max_duration": 10},
            "image_fraction": 0.0,
        },
    },
    "ingest_slice": 8,
}

FAULTY_DISK = """
import errno, io, os
from pathlib import PurePath

def access(path, mode, plain=os.access):
    return "forbidden" not in os.fspath(path) and plain(path, mode)

class BadSector(io.FileIO):
    def _check(self, size):
        if size < 0 or self.tell() + size > 1000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    def read(self, size=-1):
        self._check(size)
        return super().read(size)
    def readinto(self, buffer):
        self._check(len(buffer))
        return super().readinto(buffer)

def open_file(file, mode="r", *rest, plain=io.open, **options):
    if isinstance(file, (str, PurePath)) and "bad sector" in os.fspath(file) and mode == "rb":
        return BadSector(file)
    return plain(file, mode, *rest, **options)

os.access, io.open = access, open_file
"""
"""A start-up module for the job's processes: the tests may run as root, who may read everything."""


@dataclass
class Job:
    """A finished job over bad input, and what it should have said of each thing by (root, path)."""

    folder: Path
    expected: dict[str, str]
    returncode: int
    output: str
    errors: str
    peak: int
    called_out: bool

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.folder / "out")


def write_good(root: Path) -> None:
    """What must come out the same with and without the rest."""
    for index in range(3):
        write_clip(root / "good" / f"clip{index}.mp4", index)
    write_bytes(root / "good" / "still.jpg", encode_image(moving_square(3)[3]))


def write_listings(root: Path, port: int) -> dict[str, str]:
    """Listings and archives in `root`; returns what becomes of what they name."""
    target = "rows/target.mp4"
    (root / "rows").mkdir()
    write_video(root / target, frames_of(20), container="mp4")
    rows = {
        "../private/secret.mp4": "outside_root",
        "/etc/passwd": "outside_root",
        f"http://127.0.0.1:{port}/x.mp4": "outside_root",
        "s3://nobody/x.mp4": "outside_root",
        "file://host/etc/passwd": "outside_root",
        "nul\0.mp4": "bad_name",
        "gone.mp4": "missing",
        "rows": "not_a_file",
        "members.tar!none.mp4": "missing",
        "members.tar!../../private/secret.mp4": "outside_root",
    }
    text = "path,start,end\n" + "".join(f"{row},,\n" for row in rows)
    text += f"{target},0,1\n{target},0,1\n{target},0.0,1.0\n{target},100,200\n"
    text += "".join(f"{target},{interval}\n" for interval in ("-1,1", "1,0.5", "nan,1", "0,inf", "soon,1"))
    write_bytes(root / "rows.csv", text.encode() + b"latin\xe9.mp4,,\nrows/a.mp4,1,2,3,4\n,1,2\n")
    write_bytes(root / "rows.jsonl", b'{broken\n{"path": 5}\n["list"]\n{"path": "gone too.mp4"}\n')
    write_bytes(root / "no path.csv", b"file,caption\ngood/clip0.mp4,x\n")
    write_bytes(root / "utf-16.txt", "good/clip0.mp4\n".encode("utf-16"))
    write_bytes(root / "broken.parquet", b"PAR1 not really")
    write_bytes(root / "empty.csv", b"")
    clip = video()(root / "rows" / "member.mp4").read_bytes()
    still = Path(picture("PNG")(root / "rows" / "member.png")).read_bytes()
    shutil.move(root / "rows" / "member.png", root / "rows" / "also.png")
    write_tar(
        root / "members.tar",
        {"in/still.png": still, "/etc/absolute.mp4": clip, "../up.mp4": clip, "text.mp4": b"no video"},
        {"link.mp4": "/etc/passwd"},
    )
    write_tar(root / "cut.tar", {"first.png": still, "second.mp4": clip * 20})
    os.truncate(root / "cut.tar", 20_000)
    write_bytes(root / "no tar.tar", b"not a tar at all " * 100)
    write_bytes(root / "packed.tar.gz", b"\x1f\x8b")
    write_tar(root / "changing.tar", {"member.mp4": clip})
    return {
        **{printable(path): reason for path, reason in rows.items()},
        target: KEPT,
        f"{target} 0-1000000": KEPT,
        f"{target} 100000000-200000000": "empty_interval",
        f"{target} refused": "bad_interval",
        "latin\\xe9.mp4": "bad_row",
        "rows/a.mp4,1,2,3,4": "bad_row",
        "": "bad_row",
        "{broken": "bad_row",
        "5": "bad_row",
        '["list"]': "bad_row",
        "gone too.mp4": "missing",
        "no path.csv": "bad_listing",
        "utf-16.txt": "bad_listing",
        "broken.parquet": "bad_listing",
        "empty.csv": "bad_listing",
        "rows/member.mp4": KEPT,
        "rows/also.png": KEPT,
        "members.tar!in/still.png": KEPT,
        "members.tar!/etc/absolute.mp4": "outside_root",
        "members.tar!../up.mp4": "outside_root",
        "members.tar!text.mp4": "unreadable",
        "cut.tar!first.png": KEPT,
        "cut.tar!second.mp4": "damaged_archive",
        "cut.tar": "damaged_archive",
        "no tar.tar": "damaged_archive",
        "packed.tar.gz": "compressed_archive",
        "changing.tar!member.mp4": "changed",
    }


LISTED = (
    "rows.csv",
    "rows.jsonl",
    "no path.csv",
    "utf-16.txt",
    "broken.parquet",
    "empty.csv",
    "members.tar",
    "cut.tar",
)
LISTED += ("no tar.tar", "packed.tar.gz", "changing.tar")

CHANGING = {
    "deleted.mp4": "missing",
    "grown.mp4": "changed",
    "replaced by another.mp4": "changed",
    "replaced by a pipe.mp4": "unreadable",
    "replaced by a link.mp4": "unreadable",
    "replaced by a folder.mp4": "unreadable",
}
"""Files that are good when they are listed, and what is said of them when they are read."""


def change(root: Path, outside: Path) -> None:
    """What happens between listing and reading."""
    for name in CHANGING:
        if name != "grown.mp4":
            (root / name).unlink()
    with (root / "grown.mp4").open("ab") as file:
        file.write(b"more")
    video()(root / "replaced by another.mp4")
    os.mkfifo(root / "replaced by a pipe.mp4")
    (root / "replaced by a link.mp4").symlink_to(outside)
    (root / "replaced by a folder.mp4").mkdir()
    write_tar(root / "changing.tar", {"member.mp4": b"another"})


def write_entries(root: Path, entries: Mapping[str, Entry]) -> dict[str, str]:
    for name, entry in entries.items():
        entry.make(root / name)
    return {name: entry.outcome for name, entry in entries.items()}


def write_all(folder: Path, port: int) -> dict[str, str]:
    """The whole input under `folder`; returns path → outcome."""
    root, outside = folder / "in", folder / "private" / "secret.mp4"
    write_good(root)
    outside.parent.mkdir()
    write_video(outside, frames_of(), container="mp4")
    expected = {f"good/{name}": KEPT for name in ("clip0.mp4", "clip1.mp4", "clip2.mp4", "still.jpg")}
    for entries in (USABLE, CUT_OFF, BROKEN, disguised(outside, port), names_and_links(outside)):
        assert not expected.keys() & entries.keys()
        expected |= write_entries(root, entries)
    folder_with_a_video(root / "folder.mp4")
    (root / "folder.mp4" / "loop").symlink_to("..")
    expected["folder.mp4/inside.mp4"] = KEPT
    for name in ("bad sector.mp4", "forbidden.mp4"):
        video()(root / name)
        expected[name] = "unreadable"
    picture("PNG")(root / "bad sector.png")
    expected["bad sector.png"] = "unreadable"
    for name, reason in CHANGING.items():
        video()(root / name)
        expected[name] = reason
    return expected | write_listings(root, port)


class Watch:
    """Highest resident memory of any process below a process, in bytes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = psutil.Process(process.pid)
        self.peak = 0

    def look(self) -> None:
        # A process that has ended has no memory to tell of.
        with contextlib.suppress(psutil.NoSuchProcess, OSError, IndexError):
            for child in self._process.children(recursive=True):
                status = Path(f"/proc/{child.pid}/status").read_text()
                self.peak = max(self.peak, 1024 * int(status.partition("VmHWM:")[2].split()[0]))


def run_watched(arguments: Sequence[str | Path], folder: Path) -> tuple[int, str, str, int]:
    """Run `vivid` in empty surroundings; returns its code, output, errors and the peak memory of its children."""
    for name in ("tmp", "home", "cwd", "start-up"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "start-up" / "sitecustomize.py").write_text(FAULTY_DISK)
    environment = job_environment()
    environment |= {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = f"{folder / 'start-up'}{os.pathsep}{environment['PYTHONPATH']}"
    with (folder / "stdout").open("w+") as output, (folder / "stderr").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
            env=environment,
            cwd=folder / "cwd",
            stdout=output,
            stderr=errors,
            text=True,
        )
        watch, deadline = Watch(process), time.monotonic() + PATIENCE_S
        while process.poll() is None:
            watch.look()
            if time.monotonic() > deadline:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()
                pytest.fail(f"the job hangs: {(folder / 'stderr').read_text()[-2000:]}")
            time.sleep(0.02)
    return process.returncode, (folder / "stdout").read_text(), (folder / "stderr").read_text(), watch.peak


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every name below a folder with its kind, size, time and goal."""
    found: dict[str, tuple[object, ...]] = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where) / name
            status = path.lstat()
            goal = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else None
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, goal)
    return found


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("bad")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        expected = write_all(folder, port)
        root = folder / "in"
        config = write_config(folder / "tiny.yaml", CHANGES)
        command = ["shards", f"in={root}", *(root / name for name in LISTED), "--out", folder / "out"]
        command += ["--config", config, "--local"]
        # The listing is committed before compose is refused.
        code, _, errors, _ = run_watched([*command, "--phases", "compose"], folder)
        assert code == 1, errors
        change(root, folder / "private" / "secret.mp4")
        before = tree(root) | tree(folder / "private")
        code, output, errors, peak = run_watched(command, folder)
        try:
            server.accept()
            called_out = True
        except BlockingIOError:
            called_out = False
    assert tree(root) | tree(folder / "private") == before, "the job changed its input"
    yield Job(folder, expected, code, output, errors, peak, called_out)
    shutil.rmtree(folder, ignore_errors=True)


def outcomes(dataset: Dataset) -> dict[str, tuple[str, str | None, str | None]]:
    """(state, reason, sentence) of each source by path and interval, and of each refused entry by path."""
    _, rows = dataset.query(
        "SELECT path, s.state, reason, message, source_id "
        "FROM sources s LEFT JOIN rejects r ON r.id = s.source_id AND r.level = 'source'"
    )
    intervals = {
        row["source_id"]: "" if row["start_us"] is None else f" {row['start_us']}-{row['end_us']}"
        for row in listed_rows(dataset)
    }
    found = {path + intervals[source]: (state, reason, message) for path, state, reason, message, source in rows}
    refused = dataset.query("SELECT id, state, reason, message FROM rejects WHERE phase = 'listing'")[1]
    for name, state, reason, message in refused:
        path = name.removeprefix("in/")
        found[f"{path} refused" if path in found else path] = (state, reason, message)
    return found


def listed_rows(dataset: Dataset) -> list[dict[str, object]]:
    commits = dataset.commits["listing"].values()
    files = [file.path for commit in commits if (file := commit.file("listing")) is not None]
    return [row for file in files for row in pq.read_table(f"{dataset.store.url}/{file}").to_pylist()]


def test_each_thing_is_kept_or_has_its_reason(job: Job) -> None:
    found = outcomes(job.dataset)
    wrong = {}
    for name, outcome in job.expected.items():
        state, reason, _ = found.get(printable(name) if name not in found else name, ("vanished", None, None))
        agrees = state == outcome if outcome in (KEPT, FILTERED) else reason == outcome
        if outcome == KEPT:
            agrees = agrees and reason is None
        if not agrees:
            wrong[name] = (outcome, state, reason)
    assert not wrong
    assert len(job.expected) >= 60


def test_nothing_else_is_in_the_manifests(job: Job) -> None:
    found = outcomes(job.dataset)
    # Met by the walk of the second run, in place of the files that were listed.
    replaced = {f"replaced by a {what}.mp4 refused" for what in ("pipe", "link")}
    assert found.keys() - {*job.expected, *map(printable, job.expected)} == replaced


def test_every_reason_is_a_sentence(job: Job) -> None:
    rows = job.dataset.query("SELECT level, reason, message FROM rejects")[1]
    assert len(rows) > 60
    for _, reason, message in rows:
        assert message.isprintable(), message
        assert len(message) < 1200
        assert len(message.split()) >= 4, (reason, message)
        assert "Error" not in message
        assert "Errno" not in message
        assert str(job.folder) not in message


def test_rows_about_one_file_all_have_their_say(job: Job) -> None:
    _, _, message = outcomes(job.dataset)["rows/target.mp4 refused"]
    assert message is not None
    assert [sentence.split()[:4] for sentence in message.split("; ")] == [
        ["row", str(number), "of", "rows.csv"] for number in range(16, 21)
    ]


def test_no_source_had_to_be_saved_by_the_host(job: Job) -> None:
    _, rows = job.dataset.query("SELECT level, stage, reason, message FROM rejects WHERE state = 'failed'")
    assert not [row for row in rows if row[2] in CAUGHT_BY_THE_HOST]


def test_the_job_ends_well_and_counts_the_failed(job: Job) -> None:
    assert job.returncode == 0, job.errors
    assert "Traceback" not in job.errors
    failed = job.dataset.query("SELECT count(*) FROM rejects WHERE state = 'failed'")[1][0][0]
    assert f", {failed} failed " in job.output.splitlines()[-1]
    expected = sum(outcome not in (KEPT, FILTERED) for outcome in job.expected.values())
    assert failed == expected + 2


def test_memory_stays_bounded(job: Job) -> None:
    assert 0 < job.peak < MOST_MEMORY


def test_nothing_is_left_and_nothing_called(job: Job) -> None:
    assert not job.called_out
    assert not processes_left()
    assert not (job.folder / "out" / ".tmp").exists()
    for name in ("tmp", "home", "cwd"):
        assert not list((job.folder / name).iterdir()), name
    assert {path.name for path in job.folder.iterdir()} == {
        *("in", "private", "out", "tiny.yaml", "stdout", "stderr"),
        *("tmp", "home", "cwd", "start-up"),
    }
    secret = (job.folder / "private" / "secret.mp4").read_bytes()[2000:2100]
    assert not [path for path in (job.folder / "out").rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_good_files_beside_are_as_without_the_bad(job: Job, tmp_path: Path) -> None:
    write_good(tmp_path / "in")
    out = tmp_path / "out"
    config = write_config(tmp_path / "tiny.yaml", CHANGES)
    result = vivid("shards", f"in={tmp_path / 'in'}", "--out", out, "--config", config, "--local")
    assert result.returncode == 0, result.stderr
    alone, among = of_good(Dataset(out)), of_good(job.dataset)
    assert len(alone) == 4
    assert among == alone


def of_good(dataset: Dataset) -> dict[str, tuple[object, ...]]:
    """Of each good clip: its bytes, and the captions and masks of what was found in it."""
    _, rows = dataset.query("SELECT clip_id FROM clips JOIN sources USING (source_id) WHERE path LIKE 'good/%'")
    good = {row[0] for row in rows}
    found: dict[str, tuple[object, ...]] = {}
    masks = {sample.track_id: sample for sample in dataset.rows("samples", SampleRow) if sample.task == "add_modify"}
    for clip in sorted(good):
        tracks = [t for t in dataset.rows("tracks", TrackRow) if t.clip_id == clip and t.role == "entity"]
        facts = tuple(
            (track.track_id, track.stability, track.caption_long, dataset.masks(masks[track.track_id]).to_bytes())
            for track in tracks
            if track.track_id in masks
        )
        found[clip] = (dataset.clip_bytes(next(s for s in masks.values() if s.clip_id == clip)), facts)
    return found


def damaged_copies(folder: Path, copies: int, seed: int) -> list[Path]:
    """Copies of good files with bits flipped, stretches overwritten, cut out, or numbers made huge."""
    originals = [
        write_video(folder / "a.mp4", frames_of(14), container="mp4", codec_options={"g": "5"}),
        write_video(folder / "b.mkv", frames_of(14), container="matroska", codec_options={"g": "5"}),
        write_image(folder / "c.jpg", frames_of(1)[0], "JPEG"),
        write_image(folder / "d.png", frames_of(1)[0]),
    ]
    made = []
    for original in originals:
        for number in range(copies):
            draw = np.random.default_rng([seed, number])
            data = damaged(bytearray(original.read_bytes()), number % 4, draw)
            made.append(write_bytes(folder / f"{original.stem}{number}{original.suffix}", bytes(data)))
    return made


def damaged(data: bytearray, kind: int, draw: np.random.Generator) -> bytearray:
    start = int(draw.integers(len(data)))
    length = int(draw.integers(1, 300))
    if kind == 0:
        for place in draw.integers(len(data), size=5):
            data[place] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        data[start : start + length] = draw.bytes(len(data[start : start + length]))
    elif kind == 2:
        del data[start : start + length]
    else:
        place = int(draw.integers(min(1500, len(data))))
        data[place : place + 4] = b"\x7f\xff\xff\xff"
    return data


def check_fuzz(folder: Path, copies: int, seed: int) -> None:
    made = damaged_copies(folder / "in", copies, seed)
    config = write_config(folder / "tiny.yaml", CHANGES)
    code, _, errors, peak = run_watched(
        ["shards", folder / "in", "--out", folder / "out", "--config", config, "--local", "--phases", "ingest"], folder
    )
    assert code == 0, errors
    found = outcomes(Dataset(folder / "out"))
    assert found.keys() >= {path.name for path in made}
    assert [name for name, (state, reason, _) in found.items() if state != KEPT and reason is None] == []
    assert {reason for _, reason, _ in found.values()}.isdisjoint(CAUGHT_BY_THE_HOST)
    assert peak < MOST_MEMORY
    assert len({state for state, _, _ in found.values()}) > 1


def test_random_damage_never_stops_the_job(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    check_fuzz(tmp_path, copies=10, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_much_random_damage(tmp_path: Path, seed: int) -> None:
    (tmp_path / "in").mkdir()
    check_fuzz(tmp_path, copies=150, seed=seed)
