"""How fast the pipeline is, as ratios within one run: ``python tests/bench/speed.py``, about ten minutes.

Prints Markdown and writes the figures to ``bench/speed.json``. A ratio compares two things measured in turn on
the same machine, so that it holds on another one; where the machine is busy with other work, the notes say so.
"""

from __future__ import annotations

import os
import sys

# Read by the linear algebra library when numpy is first imported: one core, as in the pipeline's workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# The checkout first: the tests have folders of the packages' names.
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import cv2
import psutil

from bench import material
from bench.decoding import measure_decodes_per_frame, measure_decoding
from bench.figures import Report
from bench.loader import measure_loader
from bench.mask_variants import measure_variants
from bench.part_overhead import Sleepers, measure_overhead
from bench.real_run import measure_bytes, measure_cores, measure_stages, run_job
from bench.worker_memory import measure_memory
from pipeline.config import load_config
from stages.windows import WindowSettings

RESULT = TESTS.parent / "bench" / "speed.json"
LOOK_AROUND_S = 2.0
"""How long to look what else the machine is doing."""
SHORT_CLIPS = ("stages.ingest.normalise.max_duration=5", "layout.video_part_size=1")
"""More and smaller parts from few clips, so that two workers both have several."""


def measure_everything(work: Path) -> Report:
    """All measurements, one after another, each in a folder of its own below `work`."""
    report = Report()

    def take(name: str, measurement: Callable[[Path], Report]) -> None:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        folder = work / name.replace(" ", "-")
        folder.mkdir()
        report.add(measurement(folder))

    take("decoding", lambda _: measure_decoding(material.clips(work)[:2], repetitions=5))
    take("decodes per frame", lambda folder: measure_decodes_per_frame(folder, clips=4))
    take("mask variants", lambda _: measure_variants(material.masks(work)[:4], repetitions=5))
    take("overhead", lambda folder: measure_overhead(folder, 300, 3, Sleepers(2, 0.100), Sleepers(1, 0.075)))
    take("a real run", lambda folder: _measure_real_run(work, folder))
    take("the loader", lambda folder: _measure_loader(work, folder))
    if importlib.util.find_spec("diffusers") and importlib.util.find_spec("peft"):
        from bench.training_step import measure_training_step

        take("the training step", lambda folder: measure_training_step(folder, repetitions=10))
    else:
        print("the training step is not measured: the extra `train` is not installed", file=sys.stderr, flush=True)
    take("memory", lambda folder: measure_memory(folder, clips=200))
    return report


def _measure_real_run(work: Path, folder: Path) -> Report:
    run = run_job(material.clips(work), folder, load_config("cpu", SHORT_CLIPS))
    report = Report()
    for measure in (measure_cores, measure_bytes, measure_stages):
        report.add(measure(run))
    return report


def _measure_loader(work: Path, folder: Path) -> Report:
    """On clips of the length that the default profile makes: of short ones a window is half of the bytes."""
    run = run_job(material.clips(work)[:2], folder, load_config("cpu"), local=True)
    return measure_loader(run.folder, folder, 12, 3, WindowSettings())


def main() -> int:
    """Measure, print and write; 1 when a target is missed."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cv2.setNumThreads(1)
    others = psutil.cpu_percent(interval=LOOK_AROUND_S)
    with tempfile.TemporaryDirectory(prefix="vivid-bench-") as folder:
        report = measure_everything(Path(folder))
    print(f"The machine was {others:.0f} % busy with other work at the start.\n\n{report.markdown()}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"busy_before_percent": others, **report.document()}, indent=1) + "\n")
    return 0 if all(figure.met for figure in report.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
