"""Names of stages, as configurations use them. ``package.module:Class`` names a stage of your own."""

from __future__ import annotations

import importlib
from typing import Any

from stages.stage import Record, Stage

NAMES: dict[str, str] = {
    "ingest": "stages.ingest:Ingest",
    "decode": "stages.decode:Decode",
    "tag": "stages.tag:Tagging",
    "detect": "stages.detect:Detect",
    "segment": "stages.segment:Segment",
    "propagate": "stages.propagate:Propagate",
    "measure": "stages.measure:Measure",
    "screen": "stages.screen:Screen",
    "caption": "stages.caption:Caption",
    "paste": "stages.deletion:Deletion",
    "augment": "stages.variants:Augment",
}


def stage_class(name: str) -> type[Stage[Record]]:
    """The class behind a name. Raises ValueError with the known names when there is none."""
    reference = NAMES.get(name, name)
    module, _, attribute = reference.partition(":")
    if not attribute:
        raise ValueError(f"there is no stage '{name}'; known are {', '.join(NAMES)}")
    try:
        cls: type[Stage[Record]] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"stage '{name}' cannot be imported: {error}") from error
    return cls


def make_stage(name: str, settings: dict[str, Any]) -> Stage[Record]:
    """The stage of that name with validated settings."""
    cls = stage_class(name)
    return cls(cls.Settings.model_validate(settings))
