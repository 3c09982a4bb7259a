"""Names of models, as configurations use them, and how to make one.

A model class takes one pydantic settings object (`Settings`, a class attribute) and carries `info`. A name of the form
``package.module:Class`` uses a class of your own. Classes are imported only when used, so that the core install needs
no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import BaseModel, Field

NAMES: dict[str, str] = {
    "motion_discovery": "models.discovery:MotionDiscovery",
    "grabcut": "models.grabcut:GrabCutSegmenter",
    "colour_tracker": "models.colour_tracker:ColourTracker",
    "attributes": "models.attributes:AttributeCaptioner",
}


class ModelChoice(BaseModel, frozen=True, extra="forbid"):
    """Which model does a job, and its settings."""

    name: str = Field(description="a name from the registry, or `package.module:Class` for a class of your own")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the model's own settings; `vivid plan` shows them"
    )


def model_class(name: str) -> Any:
    """The class behind a name. Raises ValueError with the known names when there is none."""
    reference = NAMES.get(name, name)
    module, _, attribute = reference.partition(":")
    if not attribute:
        raise ValueError(f"there is no model '{name}'; known are {', '.join(sorted(NAMES))}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"model '{name}' cannot be imported: {error}") from error


def make_model(choice: ModelChoice) -> Any:
    """The model of a choice. Raises ValueError (pydantic's included) when its settings are wrong."""
    cls = model_class(choice.name)
    return cls(cls.Settings.model_validate(choice.settings))


def full_settings(choice: ModelChoice) -> dict[str, Any]:
    """A choice with every default spelled out: what the run's record keeps."""
    cls = model_class(choice.name)
    return {"name": choice.name, "settings": cls.Settings.model_validate(choice.settings).model_dump(mode="json")}
