"""How well first masks are carried through the DAVIS sequences, and how fast.

Run as ``python tests/bench/quality.py [DATA]``, where DATA holds ``davis/JPEGImages`` and ``davis/Annotations``
(default: ``../shared/data`` beside the checkout). J is the mean intersection over union with the true masks, first and
last frame left out as in the DAVIS benchmark; cycle is the overlap of the first mask with what comes back when the last
one is carried backwards; ms/frame is the time of the forward pass on one core, learning the first frame included.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Read by the linear algebra library when numpy is first imported: one core, as in the pipeline's workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np

from manifests.masks import Mask, iou
from models.colour_tracker import ColourTracker
from models.protocols import Image, Tracker

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Result:
    """Figures of one sequence."""

    sequence: str
    frames: int
    mean_j: float
    late_j: float
    cycle: float
    ms_per_frame: float


def read_frames(folder: Path) -> list[Image]:
    """The RGB frames of a sequence, in order."""
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(folder.glob("*.jpg"))]


def read_masks(folder: Path) -> list[Mask]:
    """The true masks of a sequence, in order."""
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127 for path in sorted(folder.glob("*.png"))]


def measure(tracker: Tracker, davis: Path, sequence: str) -> Result:
    """Carry the true first mask through a sequence, and the last mask found back to its start."""
    frames = read_frames(davis / "JPEGImages" / sequence)
    truth = read_masks(davis / "Annotations" / sequence)
    start = time.process_time()
    found = [masks[0] for masks in tracker.track(frames, truth[:1])]
    seconds = time.process_time() - start
    *_, (returned,) = tracker.track(frames[::-1], found[-1:])
    overlaps = [iou(mask, true) for mask, true in zip(found, truth, strict=True)][1:-1]
    return Result(
        sequence=sequence,
        frames=len(frames),
        mean_j=float(np.mean(overlaps)),
        late_j=float(np.mean(overlaps[-len(overlaps) // 4 :])),
        cycle=iou(truth[0], returned),
        ms_per_frame=1000 * seconds / (len(frames) - 1),
    )


def main() -> int:
    """Print one line per sequence and their mean; 1 when the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DEFAULT_DATA, help="folder that holds davis/")
    davis = parser.parse_args().data / "davis"
    if not davis.is_dir():
        print(f"no DAVIS sequences in {davis}", file=sys.stderr)
        return 1
    cv2.setNumThreads(1)
    print(f"{'sequence':16s} frames  mean J  last quarter  cycle  ms/frame")
    results = []
    for folder in sorted((davis / "JPEGImages").iterdir()):
        results.append(measure(ColourTracker(), davis, folder.name))
        print_row(results[-1])
    frames = sum(result.frames for result in results)
    means = np.mean([[r.mean_j, r.late_j, r.cycle, r.ms_per_frame] for r in results], axis=0)
    print_row(Result("mean", frames, *means.tolist()))
    return 0


def print_row(result: Result) -> None:
    """One line of the table."""
    print(
        f"{result.sequence:16s} {result.frames:6d} {result.mean_j:7.3f} {result.late_j:13.3f} {result.cycle:6.3f} "
        f"{result.ms_per_frame:9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
