"""A training run's folder: its settings, its newest checkpoints, its result.

OUTPUT/training.json              dataset, base and settings
OUTPUT/checkpoints/step-00000500/ what was learnt so far, and in `state/` what resuming needs
OUTPUT/final/                     the result: a folder for VividInpaintPipeline and diffusers
OUTPUT/logs/  OUTPUT/validation/  TensorBoard; edited videos
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from manifests.differences import differences
from train.settings import OPERATIONAL, TrainSettings

SETTINGS_FILE = "training.json"
STATE_FOLDER = "state"
_CHECKPOINT = re.compile(r"step-(\d{8})")


class OtherTraining(ValueError):
    """The folder holds another training. The text is one sentence."""


class RunFolder:
    """Paths of a training run, and what is in them."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.final = self.root / "final"
        self.logs = self.root / "logs"
        self.validation = self.root / "validation"

    def bind(self, dataset: str, base: str, settings: TrainSettings) -> None:
        """Write what is trained, or check that the folder is of the same training.

        Raises OtherTraining with the differing fields.
        """
        file = self.root / SETTINGS_FILE
        document = {"dataset": dataset, "base": base, "settings": settings.model_dump(mode="json")}
        if file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            lines = differences(_semantic(document), _semantic(before))
            if lines:
                raise OtherTraining(
                    f"{self.root} holds another training ({'; '.join(lines[:6])}); use its settings or another folder"
                )
        self.root.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(file)

    def checkpoint(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.root / "checkpoints" / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, ascending. A folder is written under another name and renamed when whole."""
        folder = self.root / "checkpoints"
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name)))

    def newest(self) -> Path | None:
        """The newest checkpoint, None in a new folder."""
        steps = self.steps()
        return self.checkpoint(steps[-1]) if steps else None

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` checkpoints."""
        for step in self.steps()[:-keep]:
            shutil.rmtree(self.checkpoint(step))


def _semantic(document: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in document["settings"].items() if name not in OPERATIONAL}
    return {**document, "settings": settings}
