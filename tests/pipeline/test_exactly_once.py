"""Kills at every named point, at random moments and of every kind of process: the result is always the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tiny_dataset import INTERRUPTED, data_files, job_environment, processes_left, vivid, write_config, write_inputs

KILLED = -signal.SIGKILL
PHASES = ("ingest: ", "annotate: ", "compose: ")


class Job:
    """The tiny job, its uninterrupted result, and the kill points that it reaches, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = write_inputs(folder / "in", clips=3, images=1)
        self.config = write_config(folder / "tiny.yaml")
        log = folder / "points.txt"
        result = self.run(folder / "reference", VIVID_KILL_LOG=str(log))
        assert result.returncode == 0, result.stderr
        self.reference = data_files(folder / "reference")
        self.points = list(dict.fromkeys(log.read_text().split()))

    def arguments(self, out: Path, *options: str) -> list[str | Path]:
        return ["shards", self.inputs, "--out", out, "--config", self.config, *(options or ("--local",))]

    def run(self, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return vivid(*self.arguments(out, *options), environment=environment)

    def start(self, out: Path, *options: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, self.arguments(out, *options))],
            env=job_environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )

    def check(self, out: Path) -> None:
        assert data_files(out) == self.reference
        assert not (out / ".tmp").exists()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("exactly_once"))


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    # Workers that Ray was starting when it was killed give up looking for it after 25 s.
    deadline = time.monotonic() + 60
    while (left := processes_left()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def test_the_points_cover_every_phase_and_step(job: Job) -> None:
    phases = {point.split("/")[0] for point in job.points}
    assert phases == {"listing", "ingest", "layout", "annotate", "donors", "compose"}
    steps = {point.rpartition(":")[2] for point in job.points}
    assert steps == {"written", "synced", "moved", "durable", "before", "after"}


def _chain_of_kills(job: Job, out: Path, points: list[str]) -> None:
    for point in points:
        result = job.run(out, VIVID_KILL_POINT=point)
        assert result.returncode == KILLED, (point, result.returncode, result.stderr)
    assert job.run(out).returncode == 0
    job.check(out)


def test_killed_at_point_after_point(job: Job, tmp_path: Path) -> None:
    """One dataset whose run is killed at one step of every file and at every commit, each time a little further on."""
    _chain_of_kills(
        job, tmp_path / "out", [point for point in job.points if point.endswith(("moved", "before", "after"))]
    )


@pytest.mark.slow
def test_killed_at_every_point(job: Job, tmp_path: Path) -> None:
    _chain_of_kills(job, tmp_path / "out", job.points)


@pytest.mark.slow
def test_killed_once_at_each_point_of_a_fresh_run(job: Job, tmp_path: Path) -> None:
    for number, point in enumerate(job.points):
        out = tmp_path / str(number)
        assert job.run(out, VIVID_KILL_POINT=point).returncode == KILLED, point
        assert job.run(out).returncode == 0, point
        job.check(out)
        shutil.rmtree(out)


def _kill_at_random(job: Job, out: Path, seed: int, longest: float, *options: str) -> None:
    """Let the job run for a random time, kill the driver or one of its descendants, and let it go on."""
    draw = random.Random(seed)
    process = job.start(out, *options)
    time.sleep(draw.uniform(0.2, longest))
    try:
        tree = psutil.Process(process.pid)
        victims = [tree, *tree.children(recursive=True)]
        victim = draw.choice(victims)
        victim.kill()
    except psutil.NoSuchProcess:
        pass
    # A driver whose worker was killed goes on by itself.
    process.wait(timeout=240)


def test_killed_at_random_moments(job: Job, tmp_path: Path) -> None:
    """SIGKILL to the driver or its child, twenty times, in one chain."""
    out = tmp_path / "out"
    for seed in range(20):
        _kill_at_random(job, out, seed, 6.0)
    assert job.run(out).returncode == 0
    job.check(out)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_with_any_number_of_actors_makes_the_same_bytes(job: Job, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    result = job.run(out, "--workers", str(workers))
    assert result.returncode == 0, result.stderr
    job.check(out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_ray_killed_at_random_moments(job: Job, tmp_path: Path, seed: int) -> None:
    """SIGKILL to the driver, an actor, a child or a part of Ray itself."""
    out = tmp_path / "out"
    _kill_at_random(job, out, seed, 25.0, "--workers", "2")
    result = job.run(out, "--workers", "2")
    assert result.returncode == 0, result.stderr
    job.check(out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_ray_interrupted_at_random_moments(job: Job, tmp_path: Path, seed: int) -> None:
    """Ctrl-C or SIGTERM, mostly while Ray starts: nothing but one sentence is said, and no process stays."""
    out, draw = tmp_path / "out", random.Random(seed)
    process = job.start(out, "--workers", "2", stderr=subprocess.PIPE)
    # From here on signals are heard.
    while not (out / "run.json").exists():
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 12))
    number = draw.choice([signal.SIGINT, signal.SIGTERM])
    process.send_signal(number)
    _, said = process.communicate(timeout=240)
    assert process.returncode in (128 + number, 0), said.decode()
    lines = [line for line in said.decode().splitlines() if line and not line.startswith(PHASES)]
    assert lines == ([INTERRUPTED] if process.returncode else [])
    result = job.run(out, "--workers", "2")
    assert result.returncode == 0, result.stderr
    job.check(out)
