"""Tiny inputs and a configuration for them: the whole weight-free pipeline in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import psutil
import yaml

from stages.media import ClipWriter, MediaSettings, encode_image

TEST_MARK = "VIVID_TEST_PROCESS"
INTERRUPTED = "vivid: interrupted; run the same command again: what is finished is kept"
HEIGHT, WIDTH, FRAMES, FPS = 64, 96, 12, 12

CONFIG = {
    "extends": "cpu",
    "ingest_slice": 2,
    "layout": {"video_part_size": 2, "image_part_size": 2},
    "stages": {
        "ingest": {
            "normalise": {"min_short_side": 64, "min_duration": 0.5, "max_duration": 10},
            "image_fraction": 0.0,
        },
        "screen": {"min_area": 0.001, "min_stability": 0.0, "max_area_jump": 10},
        "augment": {"min_area_fraction": 0.001},
    },
}
"""Thresholds for 64×96 clips of one second; stability is not what these runs are about."""


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """A colour texture with detail at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 10, 30):
        noise = rng.random((cells, cells, 3), np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return (40 + 175 * np.clip(picture, 0, 1)).astype(np.uint8)


def moving_square(seed: int, frames: int = FRAMES) -> list[np.ndarray]:
    """Frames of a coloured square that crosses a still texture."""
    background = texture(seed, HEIGHT, WIDTH)
    colour = [(220, 30, 30), (30, 60, 220), (240, 220, 20), (20, 200, 60)][seed % 4]
    pictures = []
    for index in range(frames):
        picture = background.copy()
        x, y = 8 + 4 * index, 20 + seed % 3 * 6
        picture[y : y + 18, x : x + 18] = colour
        pictures.append(picture)
    return pictures


def write_clip(path: Path, seed: int, frames: int = FRAMES) -> Path:
    """A tiny mp4 with one moving thing."""
    writer = ClipWriter(WIDTH, HEIGHT, Fraction(FPS), MediaSettings())
    for picture in moving_square(seed, frames):
        writer.add(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(writer.finish())
    return path


def write_inputs(folder: Path, clips: int = 4, images: int = 1) -> Path:
    """Clips, images, a too-short clip and a text file named .mp4, with fixed times."""
    for index in range(clips):
        write_clip(folder / f"clip{index}.mp4", index)
    for index in range(images):
        (folder / f"image{index}.jpg").write_bytes(encode_image(moving_square(10 + index)[3]))
    write_clip(folder / "short.mp4", 5, frames=3)
    (folder / "text.mp4").write_text("this is no video\n")
    return folder


def write_config(path: Path, changes: Mapping[str, object] | None = None) -> Path:
    """The tiny configuration as a file, with top-level changes."""
    path.write_text(yaml.safe_dump({**CONFIG, **(changes or {})}))
    return path


def job_environment() -> dict[str, str]:
    """Environment of a job: it imports what the tests import, and its processes can be told from others'."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), TEST_MARK: str(os.getpid())}


def processes_left() -> list[str]:
    """Command lines of the processes that jobs of this test process have left."""
    left = []
    for process in psutil.process_iter(["cmdline", "status", "environ"]):
        ours = (process.info["environ"] or {}).get(TEST_MARK) == str(os.getpid())
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            left.append(" ".join(process.info["cmdline"] or ())[:120])
    return left


def vivid(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        env={**job_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def data_files(
    folder: Path, parts: Sequence[str] = ("shards", "manifests", "clips", "masks", "donors")
) -> dict[str, bytes]:
    """Content of every data file of a dataset by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }
