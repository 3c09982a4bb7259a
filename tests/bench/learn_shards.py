"""The two splits as datasets: rendered clips through the real job, ``vivid shards`` with the weight-free profile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from learn_clips import FIRST_SHAPES, OTHER_SHAPES, write_clips

DISCOVERY = {"saliency": {"long_side": 256}, "background": {"gap": 15, "min_width": 9}}
"""Work copies of 256 pixels, with the lengths in them scaled along: the clips have 96."""
CONFIG: dict[str, Any] = {
    "extends": "cpu",
    "ingest_slice": 64,
    "layout": {"video_part_size": 16, "eval_fraction": 0.25},
    "stages": {
        "ingest": {
            "normalise": {"min_short_side": 64, "min_duration": 0.5, "max_duration": 10},
            "image_fraction": 0.0,
        },
        "tag": {"tagger": {"name": "motion_discovery", "settings": DISCOVERY}},
        "detect": {"detector": {"name": "motion_discovery", "settings": DISCOVERY}},
        "propagate": {"tracker": {"name": "colour_tracker", "settings": {"working_side": 192, "flow_side": 192}}},
    },
}
"""The profile `cpu` for clips of 96 pixels and less than a second; a quarter of them is held out."""


@dataclass(frozen=True)
class Split:
    """Rendered clips of some shapes and the dataset made of them."""

    name: str
    shapes: tuple[str, ...]
    clips: int
    seed: int

    def build(self, folder: Path) -> Path:
        """Render the clips and run the job on them below `folder`; returns the dataset. What is done stays."""
        clips = write_clips(folder / self.name / "clips", self.clips, self.seed, self.shapes)
        return run_shards(clips, folder / self.name / "shards")


FIRST = Split("first", FIRST_SHAPES, clips=320, seed=11)
OTHER = Split("other", OTHER_SHAPES, clips=100, seed=12)


def run_shards(clips: Path, out: Path, options: Sequence[str] = ("--local",)) -> Path:
    """Run the job; a finished dataset is left as it is. Raises RuntimeError with what the job said when it fails."""
    if (out / "summary.json").is_file():
        return out
    config = out.with_name("config.yaml")
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    command = [sys.executable, "-m", "pipeline.cli", "shards", str(clips), "--out", str(out), "--config", str(config)]
    run = subprocess.run([*command, *options], cwd=Path(__file__).resolve().parents[2], text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"the shards of {clips} were not made; the job ended with {run.returncode}")
    return out
