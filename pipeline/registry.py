"""Names of stages, as configurations use them. ``package.module:Class`` names a stage of your own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
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
    "score": "stages.score:Score",
    "paste": "stages.deletion:Deletion",
    "augment": "stages.variants:Augment",
}


def stage_class(name: str) -> type[Stage[Record]]:
    """The class behind a name. Raises ValueError with the known names when there is none."""
    reference = NAMES.get(name, name)
    module, _, attribute = reference.partition(":")
    if not attribute:
        raise ValueError(f"there is no stage '{name}'; {suggestion(name, NAMES)}")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"stage '{name}' cannot be imported: {' '.join(str(error).split())}") from error
    if not (isinstance(cls, type) and issubclass(cls, Stage) and hasattr(cls, "name")):
        raise ValueError(f"'{name}' is not a stage: it must be a class derived from stages.stage.Stage, with a name")
    return cls


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown name: the closest of the known ones, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, 1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(choices)}"


def make_stage(name: str, settings: dict[str, Any]) -> Stage[Record]:
    """The stage of that name with validated settings."""
    cls = stage_class(name)
    return cls(cls.Settings.model_validate(settings))
