"""Clips and masks to measure on: the real ones beside the checkout, or the demo's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from manifests.masks import Mask
from pipeline.demo.truth import load_truth
from pipeline.demo.write import render_demo

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HEIGHT, WIDTH = 720, 1280
DEMO_SCENES = 3


def clips(work: Path) -> list[Path]:
    """720p clips: those in the shared folder (smaller ones left out), or scenes of the demo rendered into `work`."""
    if (SHARED / "clips").is_dir():
        return [path for path in sorted((SHARED / "clips").glob("*.mp4")) if _height(path) >= HEIGHT]
    return [path for path in _demo(work) if path.with_suffix(".mp4").exists()][:DEMO_SCENES]


def masks(work: Path) -> list[Mask]:
    """One 720p mask of every DAVIS sequence, from its middle, or of every entity of the demo's scenes."""
    sequences = sorted((SHARED / "davis" / "Annotations").glob("*"))
    if sequences:
        return [_enlarged(sorted(sequence.glob("*.png"))) for sequence in sequences]
    truths = [load_truth(path) for path in sorted((_demo(work)[0].parents[1] / "truth").glob("*.json"))]
    found = [entity.masks.mask(truth.num_frames // 2) for truth in truths for entity in truth.entities]
    return [mask for mask in found if mask.any()]


def _demo(work: Path) -> list[Path]:
    return render_demo(work / "demo", scenes=DEMO_SCENES)


def _height(path: Path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_HEIGHT))


def _enlarged(frames: list[Path]) -> Mask:
    with PIL.Image.open(frames[len(frames) // 2]) as picture:
        enlarged = picture.convert("L").resize((WIDTH, HEIGHT), PIL.Image.Resampling.NEAREST)
    return np.asarray(np.asarray(enlarged) > 127, dtype=np.bool_)
