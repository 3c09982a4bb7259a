"""Damage that shows without reading a file of many gigabytes: for weights whose sha256 nobody has noted yet."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

PICKLE = b"\x80"
"""First byte of a checkpoint in torch's old format."""


def damage(path: Path, name: str | None = None) -> str | None:
    """What is wrong with a file of its kind, in words; None when nothing shows. `name` is its own where the path's is
    a temporary one.
    """
    suffix = Path(name or path.name).suffix
    if path.stat().st_size == 0:
        return "is empty"
    if suffix == ".safetensors":
        return _safetensors_damage(path)
    if suffix in (".pt", ".pth", ".bin"):
        return _checkpoint_damage(path)
    return _json_damage(path) if suffix == ".json" else None


def _safetensors_damage(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size:
            return "is not a safetensors file, or cut off"
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "is not a safetensors file"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size:,} bytes where its header speaks of {expected:,}"


def _checkpoint_damage(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        # The list of what is in a zip archive stands at its end.
        return None if zipfile.is_zipfile(path) else "is cut off"
    return None if start.startswith(PICKLE) else "is not a checkpoint of torch"


def _json_damage(path: Path) -> str | None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return "is not JSON"
    return None
