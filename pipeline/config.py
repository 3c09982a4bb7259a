"""The configuration: what makes the data (semantic) and how the work is spread (operational).

A profile is a YAML file in `pipeline/profiles`; a user's own file may say ``extends: cpu`` and change a few fields;
``--set a.b=c`` changes single ones. The semantic part with every default spelled out is hashed: a dataset's folder is
bound to that hash.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from models.registry import ModelChoice, full_settings
from pipeline.registry import stage_class
from stages.donors import DonorSettings
from stages.layout import LayoutSettings
from stages.listing import ListingSettings
from stages.stage import check_chain

WORK_PHASES = ("ingest", "annotate", "compose")
GIVEN = {
    "ingest": ("source",),
    "annotate": ("clip", "location"),
    "compose": ("clip", "location", "tracks"),
}
"""Fields a phase's records come with."""


class ConfigError(Exception):
    """The configuration is wrong. The text is one sentence."""


class Pool(BaseModel, frozen=True, extra="forbid"):
    """One Ray actor class: the stages it runs in order, and what each of its actors holds."""

    name: str = Field(description="shown in progress and timings")
    stages: tuple[str, ...] = Field(min_length=1, description="run in this order in one process")
    num_cpus: float = Field(default=1, gt=0, description="CPU cores each actor reserves")
    num_gpus: float = Field(default=0, ge=0, description="GPUs each actor reserves; fractions share one")
    min_actors: int = Field(default=1, ge=1, description="actors started at once; never fewer while work remains")
    max_actors: int | None = Field(default=None, ge=1, description="null: as many as the machine's cores allow")
    deadline_s: float = Field(default=600, gt=0, description="a record that takes longer is stuck and is given up")
    setup_deadline_s: float = Field(default=600, gt=0, description="loading models may take this long")
    memory_mb: int | None = Field(default=6144, ge=128, description="resident memory of a worker before it is ended")
    batch: int = Field(default=1, ge=1, description="records that go through the stages together (GPU batches)")
    prefetch: bool = Field(
        default=False, description="prepare the next records (fetch, decode) during the present ones"
    )


class Config(BaseModel, frozen=True, extra="forbid"):
    """Everything a run is told besides its inputs and its output folder."""

    profile: str = Field(default="custom", description="name of the profile it comes from")
    seed: int = Field(default=0, ge=0, description="all random choices derive from it")
    ingest_slice: int = Field(default=4, ge=1, description="sources per ingest part")
    listing: ListingSettings = Field(default=ListingSettings(), description="which files are taken as sources")
    layout: LayoutSettings = Field(default=LayoutSettings(), description="parts and splits")
    donors: DonorSettings = Field(default=DonorSettings(), description="bank of shapes for deletion")
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict, description="settings of each stage by its name")
    pools: dict[str, tuple[Pool, ...]] = Field(description="pools of each phase; the chain of a phase is their stages")

    @model_validator(mode="after")
    def _check(self) -> Config:
        missing = [phase for phase in WORK_PHASES if not self.pools.get(phase)]
        if missing:
            raise ValueError(f"pools: the phase '{missing[0]}' has no pool")
        for phase in self.pools:
            if phase not in WORK_PHASES:
                raise ValueError(f"pools: there is no phase '{phase}'; phases are {', '.join(WORK_PHASES)}")
            check_chain([stage_class(name) for name in self._chain_with_decodes(phase)], GIVEN[phase])
        used = {name for phase in WORK_PHASES for name in self._chain_with_decodes(phase)}
        for name in self.stages:
            if name not in used:
                close = difflib.get_close_matches(name, used, 1)
                raise ValueError(
                    f"stages: no pool runs a stage '{name}'" + (f"; did you mean '{close[0]}'?" if close else "")
                )
        for name in sorted(used):
            stage_class(name).Settings.model_validate(self.stages.get(name, {}))
        return self

    def _chain_with_decodes(self, phase: str) -> list[str]:
        return [name for pool in self.pools[phase] for name in pool.stages]

    def chain(self, phase: str) -> list[str]:
        """Stage names of a phase in order, each once: how they are spread over pools does not matter to the data."""
        return list(dict.fromkeys(self._chain_with_decodes(phase)))

    def stage_settings(self, name: str) -> dict[str, Any]:
        """All settings of a stage, defaults and those of its models included."""
        settings = stage_class(name).Settings.model_validate(self.stages.get(name, {}))
        return _spell_out(settings)

    def semantic(self) -> dict[str, Any]:
        """What decides the data: every threshold, model, codec, size, seed, and a version per stage."""
        return {
            "seed": self.seed,
            "ingest_slice": self.ingest_slice,
            "listing": self.listing.model_dump(mode="json"),
            "layout": self.layout.model_dump(mode="json"),
            "donors": self.donors.model_dump(mode="json"),
            "chains": {
                phase: [
                    {"stage": name, "version": stage_class(name).version, "settings": self.stage_settings(name)}
                    for name in self.chain(phase)
                ]
                for phase in WORK_PHASES
            },
        }


def _spell_out(value: BaseModel) -> dict[str, Any]:
    result: dict[str, Any] = value.model_dump(mode="json")
    for name in type(value).model_fields:
        field = getattr(value, name)
        if isinstance(field, ModelChoice):
            result[name] = full_settings(field)
        elif isinstance(field, BaseModel):
            result[name] = _spell_out(field)
    return result


def semantic_hash(semantic: Mapping[str, Any]) -> str:
    """Hex sha256 of the semantic configuration."""
    return hashlib.sha256(json.dumps(semantic, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


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


def profiles() -> list[str]:
    """Names of the profiles that come with the project."""
    return sorted(
        f.name.removesuffix(".yaml")
        for f in files("pipeline").joinpath("profiles").iterdir()
        if f.name.endswith(".yaml")
    )


def load_config(source: str, overrides: Iterable[str] = ()) -> Config:
    """A profile's name or a YAML file's path, with ``a.b=c`` overrides. Raises ConfigError with one sentence."""
    document = _load_document(source)
    for override in overrides:
        _apply(document, override)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"configuration '{source}': {where + ': ' if where else ''}{message}") from error


def _load_document(source: str) -> dict[str, Any]:
    path = Path(source)
    if source in profiles():
        text = files("pipeline").joinpath("profiles", f"{source}.yaml").read_text()
    elif path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text()
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {source}: {error.strerror}") from error
    else:
        raise ConfigError(f"there is no profile '{source}'; profiles are {', '.join(profiles())}, or give a .yaml file")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration {source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"the configuration {source} is not a mapping of fields")
    base = document.pop("extends", None)
    return _merge(_load_document(str(base)), document) if base else document


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _apply(document: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes name.name=value, not '{override}'")
    *parents, last = path.split(".")
    target = document
    for name in parents:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: '{name}' is not a group of fields")
        target = inner
    target[last] = yaml.safe_load(text)
