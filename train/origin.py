"""What a training is of, wherever it lies: the dataset, and what the weights start from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.dataset import Dataset
from train.base_identity import base_folder, identify
from train.checkpoint import LORA_FILE, PATCH_EMBED_FILE


@dataclass(frozen=True)
class Origin:
    """A dataset or a base: the name it was given, which may change, and what tells it from others, which may not."""

    name: str
    identity: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it is written into a training's folder."""
        return {"name": self.name, **self.identity}


def dataset_origin(dataset: Dataset, name: str) -> Origin:
    """Of a dataset: it stays the same when it is moved and when it grows."""
    return Origin(name, {"id": dataset.identity})


def base_origin(name: str, transformer: str, lora: str | None) -> Origin:
    """Of a base or a checkpoint.

    Args:
        name: folder or hub name.
        transformer: fingerprint of its transformer, see `train.checkpoint`.
        lora: folder of the LoRA that is trained further, if one is.

    Raises ValueError with one sentence when its parts cannot be found.
    """
    parts = identify(base_folder(name)).model_dump()
    return Origin(name, {**parts, "transformer": transformer, "lora": None if lora is None else _digest(Path(lora))})


def _digest(lora: Path) -> str:
    hasher = hashlib.sha256()
    for name in (LORA_FILE, PATCH_EMBED_FILE):
        hasher.update((lora / name).read_bytes())
    return hasher.hexdigest()[:16]
