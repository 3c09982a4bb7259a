"""Writes the demo folder: scenes as clips, an image and some broken files in `input/`, their truth in `truth/`.

The pipeline is pointed at `input/` only. Equal arguments give equal bytes.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
from pydantic import BaseModel, Field

from pipeline.demo.render import Rendering
from pipeline.demo.scenes import DEMO_SCENES, SHORT_SCENE, STILL_LIFE
from pipeline.demo.specs import SceneSpec
from pipeline.demo.truth import save_truth
from stages.media import REPEATABLE_X264

CONTENT_VERSION = 3
"""Raised when any drawn pixel or encoded byte changes; older demo folders are then written anew."""

MARKER = "demo.json"
TRUNCATED = "truncated_duck.mp4"
NOT_A_VIDEO = "not-a-video.mp4"
_NO_VIDEO_TEXT = "This file is called a video but holds two lines of text.\nA pipeline must say so and go on.\n"


class WriteSettings(BaseModel, frozen=True, extra="forbid"):
    """How clips and the image are encoded."""

    crf: int = Field(default=20, ge=0, le=51, description="H.264 quality: lower is better and larger.")
    preset: str = Field(default="veryfast", description="libx264 preset; slower ones make smaller files.")
    jpeg_quality: int = Field(default=92, ge=1, le=100, description="Quality of the still image.")


class DemoOptions(BaseModel, frozen=True, extra="forbid"):
    """Everything the files depend on; kept in the marker to tell whether they are still the right ones."""

    version: int = CONTENT_VERSION
    scenes: int = Field(ge=1, description="How many of the ten scenes.")
    size: tuple[int, int] = Field(description="Frame size (height, width), both even.")
    seconds: float = Field(gt=0, description="Length of each clip.")
    fps: int = Field(gt=0, description="Frames per second.")
    seed: int = Field(ge=0, description="Added to every scene's own seed.")
    write: WriteSettings = WriteSettings()


def render_demo(
    folder: Path,
    *,
    scenes: int | None = None,
    size: tuple[int, int] = (720, 1280),
    seconds: float = 5.2,
    fps: int = 16,
    seed: int = 0,
    processes: int = 2,
) -> list[Path]:
    """Make sure `folder` holds the demo and return the files in `folder/input`, sorted.

    `scenes` limits the number of clips (None: all ten); beside them lie an image, a clip of 2 s, a truncated clip and a
    text file named like a video. Files are renamed into place when complete: what an interrupted call finished is
    kept, and a second call renders nothing. ValueError when `scenes` or `size` make no sense.
    """
    if scenes is not None and not 1 <= scenes <= len(DEMO_SCENES):
        raise ValueError(f"the demo has 1 to {len(DEMO_SCENES)} scenes, not {scenes}")
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"H.264 needs even sides, not {size[1]}×{size[0]}")
    count = len(DEMO_SCENES) if scenes is None else scenes
    options = DemoOptions(scenes=count, size=size, seconds=seconds, fps=fps, seed=seed)
    inputs, truths = folder / "input", folder / "truth"
    inputs.mkdir(parents=True, exist_ok=True)
    truths.mkdir(parents=True, exist_ok=True)
    _start_over_if_different(folder, options)
    jobs = [job for name, job in _jobs(inputs, truths, options).items() if not (inputs / name).exists()]
    _run(jobs, processes)
    if not (inputs / TRUNCATED).exists():
        _write_truncated(inputs / f"{_whole_of_truncated(options).name}.mp4", inputs / TRUNCATED)
    if not (inputs / NOT_A_VIDEO).exists():
        # Written anew it would count as changed in every dataset made of the demo.
        _write_whole(inputs / NOT_A_VIDEO, _NO_VIDEO_TEXT.encode())
    return sorted(inputs / name for name in _file_names(options))


def _job_specs(options: DemoOptions) -> list[SceneSpec]:
    """The clips to write: the chosen scenes at the chosen length, then the short one, which keeps its own."""
    scenes = [spec.model_copy(update={"seconds": options.seconds}) for spec in DEMO_SCENES[: options.scenes]]
    return [spec.model_copy(update={"seed": spec.seed + options.seed}) for spec in (*scenes, SHORT_SCENE)]


def _whole_of_truncated(options: DemoOptions) -> SceneSpec:
    """The scene whose clip is cut for the truncated file."""
    return _job_specs(options)[min(2, options.scenes - 1)]


def _jobs(inputs: Path, truths: Path, options: DemoOptions) -> dict[str, Callable[[], None]]:
    """What writes each rendered file, by file name."""
    still = STILL_LIFE.model_copy(update={"seed": STILL_LIFE.seed + options.seed})
    jobs: dict[str, Callable[[], None]] = {
        f"{still.name}.jpg": partial(write_image, still, inputs, truths, options.size, options.write)
    }
    for spec in _job_specs(options):
        jobs[f"{spec.name}.mp4"] = partial(write_clip, spec, inputs, truths, options.size, options.fps, options.write)
    return jobs


def _file_names(options: DemoOptions) -> list[str]:
    clips = [f"{spec.name}.mp4" for spec in _job_specs(options)]
    return [*clips, f"{STILL_LIFE.name}.jpg", TRUNCATED, NOT_A_VIDEO]


def _start_over_if_different(folder: Path, options: DemoOptions) -> None:
    """Remove the files of a demo made with other options or by another version, then write the marker."""
    marker = folder / MARKER
    document: dict[str, Any] = {"options": options.model_dump(mode="json"), "files": _file_names(options)}
    previous = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {"files": _file_names(options)}
    if previous == document:
        return
    # The marker goes first and comes back last: in between nothing passes for complete.
    marker.unlink(missing_ok=True)
    for name in previous["files"]:
        stem = Path(name).stem
        for path in (folder / "input" / name, folder / "truth" / f"{stem}.json", folder / "truth" / f"{stem}.npz"):
            path.unlink(missing_ok=True)
    _write_whole(marker, (json.dumps(document, indent=1) + "\n").encode())


def _run(jobs: list[Callable[[], None]], processes: int) -> None:
    if processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            job()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _write_whole(path: Path, data: bytes) -> None:
    partial_path = path.with_name(f"{path.name}.partial")
    partial_path.write_bytes(data)
    partial_path.replace(path)


def write_clip(
    spec: SceneSpec, inputs: Path, truths: Path, size: tuple[int, int], fps: int, settings: WriteSettings
) -> None:
    """Render `spec` to `inputs/<name>.mp4` and its truth into `truths`; the clip appears last, when all is complete."""
    rendering = Rendering(spec, size, math.ceil(spec.seconds * fps))
    partial_path = inputs / f"{spec.name}.mp4.partial"
    with av.open(str(partial_path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        # One thread: with more, x264 cuts slices and the bytes depend on the machine.
        stream.options = {"crf": str(settings.crf), "preset": settings.preset, "threads": "1", **REPEATABLE_X264}
        for image in rendering.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    save_truth(rendering.truth(), truths)
    partial_path.replace(inputs / f"{spec.name}.mp4")


def write_image(spec: SceneSpec, inputs: Path, truths: Path, size: tuple[int, int], settings: WriteSettings) -> None:
    """Render one frame of `spec` to `inputs/<name>.jpg` and its truth into `truths`."""
    rendering = Rendering(spec, size, 1)
    (image,) = rendering.frames()
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
    if not done:
        raise ValueError(f"the image {spec.name!r} could not be encoded as JPEG")
    save_truth(rendering.truth(), truths)
    _write_whole(inputs / f"{spec.name}.jpg", data.tobytes())


def _write_truncated(whole: Path, target: Path) -> None:
    """The first half of a clip: its index stood at the end, so nothing can open it."""
    data = whole.read_bytes()
    _write_whole(target, data[: len(data) // 2])
