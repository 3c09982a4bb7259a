"""What quality is measured on: DAVIS sequences, the demo with its exact truth, random scenes, a real run on both."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from manifests.dataset import Dataset
from manifests.masks import Mask, MaskTrack, iou
from manifests.records import ClipRow, SampleRow, SourceRow, TrackRow
from models.protocols import Image
from pipeline.demo import SceneTruth, load_truth, random_scene, render_demo
from pipeline.demo.write import WriteSettings, write_clip
from stages.media import decode_clip

RANDOM_SIZE = (720, 1280)
RANDOM_FPS = 16
"""The demo's rate: lower ones make motion harder than in real clips."""
SMALLEST_THING = 0.002
"""Share of the frame below which an entity is not expected to be found."""


@dataclass(frozen=True)
class DavisSequence:
    """A DAVIS sequence: RGB frames and the true masks of its one thing."""

    name: str
    frames: list[Image]
    truth: list[Mask]


@dataclass(frozen=True)
class Scene:
    """A rendered clip or image and the truth about it."""

    group: str
    file: Path
    truth: SceneTruth

    @property
    def name(self) -> str:
        """The scene's name."""
        return self.file.stem

    def frames(self, count: int | None = None) -> list[Image]:
        """The first `count` frames (None: all), RGB."""
        wanted = None if count is None else range(min(count, self.truth.num_frames))
        return decode_clip(self.file.read_bytes(), indices=wanted)

    def visible(self) -> list[int]:
        """Indices of the entities that can be seen in the first frame."""
        least = SMALLEST_THING * self.truth.size[0] * self.truth.size[1]
        return [i for i, entity in enumerate(self.truth.entities) if entity.masks.areas()[0] >= least]


def davis_sequences(davis: Path) -> list[DavisSequence]:
    """All sequences of a folder with `JPEGImages` and `Annotations`."""
    return [
        DavisSequence(folder.name, _frames(folder), _masks(davis / "Annotations" / folder.name))
        for folder in sorted((davis / "JPEGImages").iterdir())
    ]


def _frames(folder: Path) -> list[Image]:
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(folder.glob("*.jpg"))]


def _masks(folder: Path) -> list[Mask]:
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127 for path in sorted(folder.glob("*.png"))]


def demo_scenes(folder: Path) -> list[Scene]:
    """The demo's clips and its image, rendered into `folder` where they are missing."""
    files = render_demo(folder)
    return _with_truth("demo", files, folder / "truth")


def random_scenes(folder: Path, first_seed: int, count: int) -> list[Scene]:
    """`count` scenes drawn at random, rendered into `folder` where they are missing."""
    for part in ("input", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    specs = [random_scene(seed) for seed in range(first_seed, first_seed + count)]
    for spec in specs:
        if not (folder / "input" / f"{spec.name}.mp4").exists():
            write_clip(spec, folder / "input", folder / "truth", RANDOM_SIZE, RANDOM_FPS, WriteSettings())
    return _with_truth("random", [folder / "input" / f"{spec.name}.mp4" for spec in specs], folder / "truth")


def _with_truth(group: str, files: Sequence[Path], truths: Path) -> list[Scene]:
    paths = [(file, truths / f"{file.stem}.json") for file in files]
    return [Scene(group, file, load_truth(path)) for file, path in paths if path.exists()]


def run_pipeline(inputs: Mapping[str, Path | str], out: Path) -> None:
    """Build a fresh dataset in `out` from inputs by root alias, with the default profile."""
    shutil.rmtree(out, ignore_errors=True)
    named = [f"{alias}={path}" for alias, path in inputs.items()]
    subprocess.run([sys.executable, "-m", "pipeline.cli", "shards", *named, "--out", str(out)], check=True)


@dataclass(frozen=True)
class Annotated:
    """A clip of a dataset, the scene it came from, and its tracks with their masks."""

    clip: ClipRow
    scene: Scene
    tracks: list[TrackRow]
    masks: Mapping[str, MaskTrack]

    def of_role(self, role: str) -> list[TrackRow]:
        """Tracks of a role."""
        return [track for track in self.tracks if track.role == role]

    def true_entity(self, track: TrackRow, least_iou: float) -> int | None:
        """Index of the true entity that a track's first mask shows, None when it shows none of them."""
        found = self.masks[track.track_id].mask(0)
        overlaps = [iou(found, entity.masks.mask(0)) for entity in self.scene.truth.entities]
        best = int(np.argmax(overlaps)) if overlaps else -1
        return best if best >= 0 and overlaps[best] >= least_iou else None


class Built:
    """A dataset with everything the checks need of it."""

    def __init__(self, dataset: Dataset, scenes: Sequence[Scene]) -> None:
        self.dataset = dataset
        self.samples: dict[str, SampleRow] = {}
        self._clip_samples: dict[str, SampleRow] = {}
        for sample in dataset.rows("samples", SampleRow):
            self.samples.setdefault(sample.track_id, sample)
            self._clip_samples.setdefault(sample.clip_id, sample)
        self.masks = {**self._annotated_masks(), **self._pasted_masks()}
        self.clips = self._clips({scene.name: scene for scene in scenes})

    def frames(self, clip: ClipRow) -> list[Image]:
        """The clip's frames as the shard holds them."""
        return decode_clip(self.dataset.clip_bytes(self._clip_samples[clip.clip_id]))

    def _annotated_masks(self) -> dict[str, MaskTrack]:
        masks: dict[str, MaskTrack] = {}
        for commit in self.dataset.commits["annotate"].values():
            tar = commit.file("masks.tar")
            for name, (offset, size) in commit.facts["masks"].items() if tar else ():
                masks[name] = MaskTrack.from_bytes(self.dataset.store.read_range(tar.path, offset, size))
        return masks

    def _pasted_masks(self) -> dict[str, MaskTrack]:
        pasted = [sample for sample in self.samples.values() if sample.task == "delete"]
        return {sample.track_id: self.dataset.masks(sample) for sample in pasted}

    def _clips(self, scenes: Mapping[str, Scene]) -> list[Annotated]:
        sources = {row.source_id: Path(row.path).stem for row in self.dataset.rows("sources", SourceRow)}
        tracks = self.dataset.rows("tracks", TrackRow)
        return [
            Annotated(clip, scenes[name], [t for t in tracks if t.clip_id == clip.clip_id], self.masks)
            for clip in self.dataset.rows("clips", ClipRow)
            if (name := sources[clip.source_id]) in scenes
        ]
