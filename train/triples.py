"""What is evaluated: (video, mask, caption) triples, from a dataset's held-out samples or from a folder of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manifests.dataset import Dataset
from manifests.ids import draw_choice, draw_order
from manifests.storage import StorageError
from stages.media import MediaError
from stages.windows import WindowSettings
from train.data import SampleReader
from train.mixing import TASKS, Slot
from train.sample_table import Sample, SampleTable
from train.video_files import read_masks, read_video

SOURCE, MASK = "_src", "_mask"
CAPTION_ENDING = ".txt"
DELETE = "delete"
ADD_MODIFY = "add_modify"


@dataclass(frozen=True)
class Triple:
    """One thing to edit: `frames` (frames, height, width, 3) uint8 RGB and `masks` (frames, height, width) bool.

    `truth` is what the result should look like, where that is known.
    """

    name: str
    task: str
    frames: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    caption: str
    fps: float
    truth: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class TripleSource:
    """A triple that is read when its turn comes: a hundred decoded videos do not fit into memory.

    `source_id` names the video it comes from: edits of one video are not independent. `read` raises ValueError (one
    sentence) when it cannot be used.
    """

    name: str
    task: str
    source_id: str
    read: Callable[[], Triple]


def held_out_triples(
    url: str, count: int, windows: WindowSettings, seed: int, split: str = "eval"
) -> list[TripleSource]:
    """At most `count` video samples per task of a split, one per track, cut to windows as in training, in seeded order.

    Their truth is the clip itself. Raises ValueError when the split has none.
    """
    dataset = Dataset(url)
    table = SampleTable(dataset, split)
    reader = SampleReader(url, windows, seed)
    samples = [sample for task in TASKS for sample in _one_per_track(table, task, count, seed)]
    if not samples:
        raise ValueError(f"the split '{split}' of {url} has no video samples to evaluate on")
    source_ids = _source_ids(dataset, samples)
    return [
        TripleSource(sample.sample_id, sample.task, source_ids[sample.clip_id], partial(_read_sample, reader, sample))
        for sample in samples
    ]


def _source_ids(dataset: Dataset, samples: Sequence[Sample]) -> dict[str, str]:
    """Source of each of the samples' clips, by clip id."""
    clips = dataset.table("clips").select(["clip_id", "source_id"])
    wanted = clips.filter(pc.is_in(clips["clip_id"], pa.array({sample.clip_id for sample in samples})))
    return dict(zip(wanted["clip_id"].to_pylist(), wanted["source_id"].to_pylist(), strict=True))


def _one_per_track(table: SampleTable, task: str, count: int, seed: int) -> list[Sample]:
    stratum = ("video", task)
    if stratum not in table.strata:
        return []
    tracks: dict[str, list[int]] = {}
    for row, name in enumerate(table.strata[stratum]["track_id"].to_pylist()):
        tracks.setdefault(name, []).append(row)
    chosen = draw_order(seed, f"evaluate {task}", list(tracks))[:count]
    rows = [tracks[name][draw_choice(seed, name, "evaluated sample", len(tracks[name]))] for name in chosen]
    return [table.sample(stratum, row) for row in rows]


def _read_sample(reader: SampleReader, sample: Sample) -> Triple:
    slot = Slot(f"evaluate {sample.sample_id}", sample.kind, sample.task, 0, kive=False)
    try:
        example = reader.read(slot, sample)
    except (StorageError, MediaError, OSError, ValueError) as error:
        raise ValueError(f"{sample.sample_id} cannot be read: {' '.join(str(error).split())}") from error
    frames = example.frames
    assert frames is not None, "only stored latents replace frames"
    fps = reader.windows.fps or sample.fps or 1.0
    return Triple(sample.sample_id, sample.task, frames, example.masks, sample.caption, fps, frames)


def folder_triples(folder: str | Path, delete_caption: str) -> list[TripleSource]:
    """A triple for every ``<name>_src.*`` in a folder, in order (the naming of VIVID's demo page).

    Its mask is ``<name>_mask.*``, a video or one picture for all frames, and its caption the text of ``<name>.txt``;
    without one it is a deletion. Raises ValueError when there is no triple, a name has two sources or masks, one lacks
    its mask, or its caption cannot be read.
    """
    root = Path(folder)
    files = sorted(path for path in root.iterdir() if path.is_file()) if root.is_dir() else []
    sources, masks = _by_name(files, SOURCE), _by_name(files, MASK)
    found = []
    for name, path in sources.items():
        if name not in masks:
            raise ValueError(f"{path} has no mask beside it ({name}{MASK}.mp4, .mkv, .png, …)")
        text = root / f"{name}{CAPTION_ENDING}"
        caption = _read_caption(text) if text.is_file() else delete_caption
        task = DELETE if caption == delete_caption else ADD_MODIFY
        found.append(TripleSource(name, task, name, partial(_read_files, name, task, path, masks[name], caption)))
    if not found:
        raise ValueError(f"{folder} holds neither a dataset nor triples, whose videos are called <name>{SOURCE}.mp4")
    return found


def _by_name(files: Sequence[Path], ending: str) -> dict[str, Path]:
    """Files called ``<name><ending>.*``, by that name."""
    found: dict[str, Path] = {}
    for path in files:
        if not path.stem.endswith(ending) or path.name.startswith("."):
            continue
        name = path.stem.removesuffix(ending)
        if name in found:
            raise ValueError(f"both {found[name]} and {path.name} are there; which is meant?")
        found[name] = path
    return found


def _read_caption(path: Path) -> str:
    try:
        caption = path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"the caption {path} is not UTF-8 text") from error
    if not caption:
        raise ValueError(f"the caption {path} is empty; without that file it is a deletion")
    return caption


def _read_files(name: str, task: str, source: Path, mask: Path, caption: str) -> Triple:
    video = read_video(source)
    masks = np.broadcast_to(read_masks(mask, video), video.frames.shape[:3])
    return Triple(name, task, video.frames, masks, caption, video.fps)
