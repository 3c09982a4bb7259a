"""A training run's folder: its settings, its newest checkpoints, its result.

OUTPUT/training.json              dataset, base (by name, and by what tells them apart) and settings
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
from train.origin import Origin
from train.settings import OPERATIONAL, TrainSettings

SETTINGS_FILE = "training.json"
STATE_FILE = "state/training.pt"
"""In a checkpoint: what resuming needs."""
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

    def check(self, dataset: Origin, base: Origin | None, settings: TrainSettings) -> None:
        """Raise OtherTraining with the differing fields when something else has been learnt here.

        A folder in which nothing was learnt yet may be bound anew: a training that cannot be is told only by trying.
        The last course may be given more steps, where the steps that are done would have been the same. Without `base`
        the rest is checked, before one is loaded.
        """
        file = self.root / SETTINGS_FILE
        if not file.is_file() or (self.newest() is None and not self.final.is_dir()):
            return
        ours = _comparable(_document(dataset, base, settings))
        before = _comparable(json.loads(file.read_text(encoding="utf-8")))
        theirs = {part: _as_named_in(value, before[part]) for part, value in ours.items()}
        steps = _last_steps(theirs)
        longer = steps < _last_steps(ours)
        if longer and not differences(ours, _with_last_steps(theirs, _last_steps(ours))):
            if settings.optimizer.schedule == "constant":
                return
            raise OtherTraining(
                f"{self.root} holds a training whose cosine schedule ends after {steps} steps of its last course, and "
                f"with more of them the steps done would have had other rates; train {self.final} further instead, "
                "in another folder"
            )
        lines = differences(ours, theirs)
        if lines:
            raise OtherTraining(
                f"{self.root} holds another training ({'; '.join(lines[:6])}); use its settings or another folder"
            )

    def bind(self, dataset: Origin, base: Origin, settings: TrainSettings) -> None:
        """Write what is trained. Raises OtherTraining as `check` does."""
        self.check(dataset, base, settings)
        file = self.root / SETTINGS_FILE
        self.root.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(
            json.dumps(_document(dataset, base, settings), indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
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
            folder = self.checkpoint(step)
            # One that is half removed has no checkpoint's name.
            folder.rename(folder.with_name(f".{folder.name}.removed"))
        for removed in (self.root / "checkpoints").glob(".*.removed"):
            shutil.rmtree(removed)


def _last_steps(document: dict[str, Any]) -> int:
    return int(document["settings"]["courses"][-1]["steps"])


def _with_last_steps(document: dict[str, Any], steps: int) -> dict[str, Any]:
    settings = document["settings"]
    *before, last = settings["courses"]
    return {**document, "settings": {**settings, "courses": [*before, {**last, "steps": steps}]}}


def _document(dataset: Origin, base: Origin | None, settings: TrainSettings) -> dict[str, Any]:
    origins = {"dataset": dataset.to_json()} | ({"base": base.to_json()} if base is not None else {})
    return {**origins, "settings": settings.model_dump(mode="json")}


def _comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Without the settings that do not decide what is learnt."""
    settings = {name: value for name, value in document["settings"].items() if name not in OPERATIONAL}
    return {**document, "settings": settings}


def _as_named_in(ours: dict[str, Any], theirs: Any) -> Any:
    """The same origin under our name of it; anything else as it is."""
    return ours if isinstance(theirs, dict) and {**theirs, "name": None} == {**ours, "name": None} else theirs
