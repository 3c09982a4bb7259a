"""Names of models, as configurations use them, and how to make one.

A model class takes one pydantic settings object (`Settings`, a class attribute) and carries `info`. The settings of a
network have a field `weights`, the name of an entry in the list of weights, and its class is called with (settings,
weights, placement). A name of the form ``package.module:Class`` uses a class of your own. Classes are imported only
when used, so that the core install needs no torch.

Settings decide the data, and a dataset is bound to them. A class says what does not: `operational` names the settings
that only say how the work is done (a batch size, an address). And it says what does beside them: `contents(settings)`
gives digests of the files that settings name, which stand for the paths.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from models.placement import DeviceChoice, place
from models.weights import Weights, WeightsError, list_with, weights_folder, weights_folders

NAMES: dict[str, str] = {
    "motion_discovery": "models.discovery:MotionDiscovery",
    "grabcut": "models.grabcut:GrabCutSegmenter",
    "colour_tracker": "models.colour_tracker:ColourTracker",
    "attributes": "models.attributes:AttributeCaptioner",
    "lucas_kanade": "models.point_flow:LucasKanade",
    "yolox": "models.yolox:Yolox",
    "ram": "models.ram:RamTagger",
    "grounding_dino": "models.grounding_dino:GroundingDino",
    "sam2": "models.sam2:Sam2Segmenter",
    "sam2_tracker": "models.sam2_tracker:Sam2Tracker",
    "raft": "models.raft:RaftFlow",
    "internvl": "models.internvl:InternVLCaptioner",
    "openai_captioner": "models.openai_captioner:OpenAICaptioner",
    "clip": "models.clip:ClipScorer",
}

EXTRA_OF_PACKAGE = {
    "onnxruntime": "lite",
    "huggingface_hub": "models",
    "safetensors": "models",
    "timm": "models",
    "torch": "models",
    "torchvision": "models",
    "transformers": "models",
    "accelerate": "train",
    "diffusers": "train",
    "peft": "train",
}
"""Which extra of this project brings a package that a model may import."""


class ModelChoice(BaseModel, frozen=True, extra="forbid"):
    """Which model does a job, and its settings."""

    name: str = Field(description="a name from the registry, or `package.module:Class` for a class of your own")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the model's own settings; run.json spells all of them out"
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
        package = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and package in EXTRA_OF_PACKAGE:
            raise ValueError(
                f"the model '{name}' needs the package {package} of the extra `{EXTRA_OF_PACKAGE[package]}`: "
                f"pip install 'vivid-pipeline[{EXTRA_OF_PACKAGE[package]}]', or run it by `make shards PROFILE=…`"
            ) from error
        raise ValueError(f"model '{name}' cannot be imported: {error}") from error


@dataclass(frozen=True)
class ModelResources:
    """What a worker gives its networks: the folder of weights, and a device per model name.

    `folder` is the first of the machine the run was started on; a node looks into its own VIVID_WEIGHTS before it, and
    into its user's cache after it. `revisions` are those the run was started with, by weight: others are refused.
    """

    folder: Path = field(default_factory=weights_folder)
    devices: Mapping[str, DeviceChoice] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)

    def device(self, name: str) -> DeviceChoice:
        """The choice for a model; `default` stands for those without their own."""
        return self.devices.get(name) or self.devices.get("default") or DeviceChoice()

    def weights(self, name: str) -> Weights:
        """A weight on this machine. Raises WeightsError when it is not there, or is of another revision."""
        *mirror, cache = weights_folders()
        known = list_with(name, (*mirror, self.folder, cache))
        found = known.find(name)
        expected = self.revisions.get(name, found.revision)
        if found.revision != expected:
            raise WeightsError(
                f"the weight '{name}' in {known.base} is of revision {found.revision}, and the run has {expected}"
            )
        return found


def weights_of(choice: ModelChoice) -> str | None:
    """Name of the weight a model needs, None for one without."""
    name = getattr(model_class(choice.name).Settings.model_validate(choice.settings), "weights", None)
    return None if name is None else str(name)


def make_model(choice: ModelChoice, resources: ModelResources | None = None) -> Any:
    """The model of a choice. Raises ValueError (pydantic's and WeightsError too) when settings or weights are wrong."""
    cls = model_class(choice.name)
    settings = cls.Settings.model_validate(choice.settings)
    name = getattr(settings, "weights", None)
    if name is None:
        return cls(settings)
    resources = resources or ModelResources()
    return cls(settings, resources.weights(name), place(resources.device(choice.name)))


def full_settings(choice: ModelChoice) -> dict[str, Any]:
    """A choice with every default spelled out: what the run's record keeps."""
    cls = model_class(choice.name)
    return {"name": choice.name, "settings": cls.Settings.model_validate(choice.settings).model_dump(mode="json")}


def semantic_settings(choice: ModelChoice) -> dict[str, Any]:
    """`full_settings` as far as they decide the data, with the digests of what they point at.

    Raises ValueError when a file that they name cannot be read.
    """
    cls, full = model_class(choice.name), full_settings(choice)
    operational: frozenset[str] = getattr(cls, "operational", frozenset())
    settings = {name: value for name, value in full["settings"].items() if name not in operational}
    contents = getattr(cls, "contents", None)
    if contents is not None:
        settings |= contents(cls.Settings.model_validate(choice.settings))
    return {**full, "settings": settings}
