"""How good the masks, deletion pairs and captions of the default profile are, against ground truth.

Run as ``python tests/bench/quality.py [DATA] [--parts …]``. DATA holds ``davis/JPEGImages`` and ``davis/Annotations``
(default: ``../shared/data`` beside the checkout; without it only what the demo can tell is measured). Tables go to
standard output as Markdown and to ``bench/quality.md`` and ``bench/quality.json``; the exit code is 1 when a target is
missed. The demo and the random scenes are rendered once into ``bench``; random scenes are unseen material: give another
``--first-seed`` for others. Deletion pairs and captions are read from a fresh run of the pipeline.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Read by the linear algebra library when numpy is first imported: one core, as in the pipeline's workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
from quality_captions import caption_tables
from quality_deletion import deletion_tables
from quality_masks import carry, carry_scene, cycle_table, discovery_table, propagation_table
from quality_material import Built, Scene, davis_sequences, demo_scenes, random_scenes, run_pipeline
from quality_tables import Table

from manifests.dataset import Dataset
from stages.screen import ScreenSettings

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = ("masks", "deletion", "captions")


def main() -> int:
    """Measure the parts asked for; 1 when a target is missed."""
    arguments = _parser().parse_args()
    cv2.setNumThreads(1)
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    scenes = demo_scenes(folder / "demo")
    scenes += random_scenes(folder / f"random-{arguments.first_seed}", arguments.first_seed, arguments.scenes)
    tables: list[Table] = []
    for table in _tables(arguments, scenes):
        print(table.markdown(), flush=True)
        tables.append(table)
    (folder / "quality.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
    (folder / "quality.json").write_text(
        json.dumps([table.document() for table in tables], indent=1, default=float), encoding="utf-8"
    )
    missed = [target for table in tables for target in table.targets if not target.reached]
    print(f"{len(missed)} of {sum(len(table.targets) for table in tables)} targets missed")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = CHECKOUT.parent / "shared" / "data"
    parser.add_argument("data", nargs="?", type=Path, default=data, help="folder that holds davis/")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--scenes", type=int, default=20, help="random scenes beside the demo")
    parser.add_argument("--first-seed", type=int, default=2000, help="seed of the first random scene")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "bench", help="where scenes and tables are written")
    parser.add_argument("--dataset", type=Path, help="a run on these scenes to read instead of making one")
    return parser


def _tables(arguments: argparse.Namespace, scenes: list[Scene]) -> Iterator[Table]:
    if "masks" in arguments.parts:
        yield from _mask_tables(arguments.data / "davis", scenes)
    if "deletion" in arguments.parts or "captions" in arguments.parts:
        out = arguments.dataset or arguments.folder / "out"
        if arguments.dataset is None:
            inputs = {scene.group: scene.file.parent for scene in scenes}
            run_pipeline(inputs, out)
        built = Built(Dataset(out), scenes)
        if "deletion" in arguments.parts:
            yield from deletion_tables(built)
        if "captions" in arguments.parts:
            yield from caption_tables(built)


def _mask_tables(davis: Path, scenes: list[Scene]) -> Iterator[Table]:
    groups = {}
    sequences = davis_sequences(davis) if davis.is_dir() else []
    if sequences:
        groups["davis"] = [f for s in sequences for f in carry(s.name, s.frames, [s.truth])]
        yield propagation_table("Propagation from the true first mask, DAVIS", groups["davis"], judged=True)
    for name in ("demo", "random"):
        groups[name] = [f for scene in scenes if scene.group == name for f in carry_scene(scene)]
        if groups[name]:
            yield propagation_table(f"Propagation from the true first mask, {name}", groups[name], judged=False)
    yield cycle_table(groups, ScreenSettings().min_stability)
    yield discovery_table(sequences, scenes)


if __name__ == "__main__":
    sys.exit(main())
