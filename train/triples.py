"""What is evaluated: (video, mask, caption) triples, from a dataset's held-out samples or from a folder of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from manifests.dataset import Dataset
from manifests.ids import draw_choice, draw_order
from stages.windows import WindowSettings
from train.data import SampleReader
from train.mixing import TASKS, Slot
from train.sample_table import Sample, SampleTable
from train.video_files import read_masks, read_video

SOURCE_ENDINGS = ("_src.mp4", "_src.mkv", "_src.png", "_src.jpg")
MASK_ENDINGS = ("_mask.mp4", "_mask.mkv", "_mask.png")
CAPTION_ENDING = ".txt"
DELETE = "delete"
ADD_MODIFY = "add_modify"


@dataclass(frozen=True)
class Triple:
    """One thing to edit. `truth` is what the result should look like where that is known."""

    name: str
    task: str
    frames: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    caption: str
    fps: float
    truth: npt.NDArray[np.uint8] | None = None


def held_out_samples(url: str, count: int, seed: int, split: str = "eval") -> list[Sample]:
    """At most `count` video samples per task of a split, one per track, in a seeded order.

    Raises ValueError when the split has none.
    """
    table = SampleTable(Dataset(url), split)
    chosen: list[Sample] = []
    for task in TASKS:
        rows = table.strata.get(("video", task))
        tracks: dict[str, list[int]] = {}
        for row, name in enumerate(rows["track_id"].to_pylist() if rows is not None else []):
            tracks.setdefault(name, []).append(row)
        for name in draw_order(seed, f"evaluate {task}", list(tracks))[:count]:
            row = tracks[name][draw_choice(seed, name, "evaluated sample", len(tracks[name]))]
            chosen.append(table.sample(("video", task), row))
    if not chosen:
        raise ValueError(f"the split '{split}' of {url} has no video samples to evaluate on")
    return chosen


def read_samples(url: str, samples: Sequence[Sample], windows: WindowSettings, seed: int) -> Iterator[Triple]:
    """The samples in windows, as training would see them; their truth is the clip itself."""
    reader = SampleReader(url, windows, seed)
    for sample in samples:
        slot = Slot(f"evaluate {sample.sample_id}", sample.kind, sample.task, 0, kive=False)
        example = reader.read(slot, sample)
        assert example.frames is not None, "only stored latents replace frames"
        fps = windows.fps or sample.fps or 1.0
        frames = example.frames
        yield Triple(sample.sample_id, sample.task, frames, example.masks, sample.caption, fps, frames)


def folder_triples(folder: str | Path, delete_caption: str) -> list[tuple[str, Path, Path, str]]:
    """(name, video, mask, caption) of every ``<name>_src.*`` in a folder, in order.

    Its mask is ``<name>_mask.*`` and its caption the text of ``<name>.txt``; without one it is a deletion. Raises
    ValueError when there is none, or a mask is missing.
    """
    root = Path(folder)
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        ending = next((end for end in SOURCE_ENDINGS if path.name.endswith(end)), None)
        if ending is None:
            continue
        name = path.name.removesuffix(ending)
        mask = next((root / f"{name}{end}" for end in MASK_ENDINGS if (root / f"{name}{end}").is_file()), None)
        if mask is None:
            raise ValueError(f"{path} has no mask beside it ({', '.join(name + end for end in MASK_ENDINGS)})")
        text = root / f"{name}{CAPTION_ENDING}"
        found.append((name, path, mask, text.read_text(encoding="utf-8").strip() if text.is_file() else delete_caption))
    if not found:
        raise ValueError(f"{folder} holds no triples: videos are called <name>{SOURCE_ENDINGS[0]}")
    return found


def read_folder(folder: str | Path, delete_caption: str) -> Iterator[Triple]:
    """The triples of a folder, one at a time. Raises ValueError (one sentence) when a file cannot be used."""
    for name, source, mask_file, caption in folder_triples(folder, delete_caption):
        video = read_video(source)
        masks = np.broadcast_to(read_masks(mask_file, video), video.frames.shape[:3])
        yield Triple(name, DELETE if caption == delete_caption else ADD_MODIFY, video.frames, masks, caption, video.fps)
