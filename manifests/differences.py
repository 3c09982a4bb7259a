"""In which fields two configurations differ, as a person would say it."""

from __future__ import annotations

import json
from typing import Any


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """``a.b.c: theirs → ours`` for every leaf that differs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted({*ours, *theirs})
        return [
            line
            for key in keys
            for line in differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}.{_label(a, i)}")]
    return [] if ours == theirs else [f"{path}: {json.dumps(theirs)} → {json.dumps(ours)}"]


def _label(item: Any, index: int) -> str:
    return str(item["stage"]) if isinstance(item, dict) and "stage" in item else str(index)
