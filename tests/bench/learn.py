"""Does the editor learn? A small CogVideoX, trained in full on shards of rendered clips, judged on held-out ones.

Run as ``python tests/bench/learn.py``. Clips are rendered and put through ``vivid shards`` first (not counted); then a
VAE, the editor and a LoRA are trained within 40 minutes on two cores. Tables go to standard output and, with curves
and pictures, to ``bench/learn.md``, ``bench/learn.json`` and ``bench/learn*.png``; the exit code is 1 when a target is
missed.
What a stage has made in ``bench/learn`` is used again; ``--fresh`` makes all but the shards anew. Guidance is chosen on
clips that were trained on; held-out clips are only judged.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Read when torch is first imported: waiting threads sleep, so that CPU time is work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

CHECKOUT = Path(__file__).resolve().parents[2]
# The checkout first: the tests have folders of the packages' names.
sys.path[:0] = [str(CHECKOUT), str(Path(__file__).parent)]

import cv2
import torch
from learn_report import make_report
from learn_run import FULL_SIZE, SMALL_SIZE, LearnRun


def main() -> int:
    """Train what is not there, judge, print and write; 1 when a target is missed."""
    arguments = _parser().parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    size = SMALL_SIZE if arguments.small else FULL_SIZE
    run = LearnRun(arguments.folder, size, fresh=arguments.fresh, processes=arguments.processes)
    if arguments.only_shards:
        run.shards()
        return 0
    report = make_report(run)
    report.write(arguments.folder.parent, arguments.folder.name)
    missed = [target for target in report.targets if not target.reached]
    print(f"{len(missed)} of {len(report.targets)} targets missed")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "bench" / "learn", help="where all is made")
    parser.add_argument(
        "--processes", type=int, default=2, help="that train the editor; the VAE is too small for more than one"
    )
    parser.add_argument("--fresh", action="store_true", help="train anew; the shards stay")
    parser.add_argument("--small", action="store_true", help="a few steps on a few clips: shows only that it runs")
    parser.add_argument("--only-shards", action="store_true", help="make the shards and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
