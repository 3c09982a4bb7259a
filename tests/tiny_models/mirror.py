"""A weights folder with a tiny checkpoint for every network of the profile `vivid`, listed with its real hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from models.weights import WEIGHTS_FILE
from tiny_models.clip import save_tiny_clip
from tiny_models.grounding_dino import save_tiny_grounding_dino
from tiny_models.internvl import save_talking_internvl, save_tiny_internvl
from tiny_models.raft import save_tiny_raft
from tiny_models.ram import save_tiny_ram
from tiny_models.sam2 import save_tiny_sam2

BUILDERS: dict[str, Callable[[Path], None]] = {
    "ram-swin-large": save_tiny_ram,
    "grounding-dino-tiny": save_tiny_grounding_dino,
    "sam2.1-hiera-large": save_tiny_sam2,
    "raft-large": save_tiny_raft,
    "internvl3-2b-hf": save_tiny_internvl,
    "clip-vit-base-patch16": save_tiny_clip,
}


def save_tiny_mirror(base: Path, *, talking: bool = False) -> Path:
    """Fill the folder (VIVID_WEIGHTS for a run) and return it; `talking` has a captioner that was taught an answer."""
    builders = {**BUILDERS, "internvl3-2b-hf": save_talking_internvl} if talking else BUILDERS
    entries = {}
    for name, save in builders.items():
        (base / name).mkdir(parents=True)
        save(base / name)
        files = sorted(path for path in (base / name).rglob("*") if path.is_file())
        entries[name] = {
            "revision": "tiny",
            "files": {path.relative_to(base / name).as_posix(): _described(path) for path in files},
        }
    (base / WEIGHTS_FILE).write_text(json.dumps(entries, indent=1))
    return base


def _described(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
