"""The configuration: what makes the data (semantic) and how the work is spread (operational).

A profile is a YAML file in `pipeline/profiles`; a user's own file may say ``extends: cpu`` and change a few fields;
``--set a.b=c`` changes single ones. The semantic part with every default spelled out is hashed: a dataset's folder is
bound to that hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from models.placement import DeviceChoice
from models.registry import NAMES as MODELS
from models.registry import ModelChoice, full_settings, semantic_settings, weights_of
from models.weights import WeightsError, list_with
from pipeline.config_errors import sentence
from pipeline.registry import stage_class, suggestion
from pipeline.stage_models import OfModel, choices, spell_out
from stages.donors import DonorSettings
from stages.layout import LayoutSettings
from stages.listing import ListingSettings
from stages.stage import Record, check_chain
from stages.work import ClipWork, SourceWork

WORK_PHASES = ("ingest", "annotate", "compose")
HOW_STORES_ARE_ASKED = {"rows_per_folder_request", "archive_block_bytes"}
"""Fields of the listing that do not decide which sources it finds."""
GIVEN = {
    "ingest": ("source",),
    "annotate": ("clip", "location"),
    "compose": ("clip", "location", "tracks"),
}
"""Fields a phase's records come with."""
RECORDS: dict[str, type[Record]] = {"ingest": SourceWork, "annotate": ClipWork, "compose": ClipWork}
"""What flows through a phase."""


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

    @model_validator(mode="after")
    def _check(self) -> Pool:
        if self.max_actors is not None and self.max_actors < self.min_actors:
            raise ValueError(f"max_actors {self.max_actors} is less than min_actors {self.min_actors}")
        if self.num_gpus > 1 and not self.num_gpus.is_integer():
            raise ValueError(f"num_gpus {self.num_gpus:g} is neither a share of one GPU nor a whole number of them")
        return self


class Config(BaseModel, frozen=True, extra="forbid"):
    """Everything a run is told besides its inputs and its output folder."""

    profile: str = Field(default="custom", description="name of the profile it comes from")
    seed: int = Field(default=0, ge=0, description="all random choices derive from it")
    ingest_slice: int = Field(default=4, ge=1, description="sources per ingest part")
    listing: ListingSettings = Field(default=ListingSettings(), description="which files are taken as sources")
    layout: LayoutSettings = Field(default=LayoutSettings(), description="parts and splits")
    donors: DonorSettings = Field(default=DonorSettings(), description="bank of shapes for deletion")
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict, description="settings of each stage by its name")
    devices: dict[str, DeviceChoice] = Field(
        default_factory=dict, description="device and number format per model name; `default` for all others"
    )
    pools: dict[str, tuple[Pool, ...]] = Field(description="pools of each phase; the chain of a phase is their stages")
    _bound_weights: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Config:
        missing = [phase for phase in WORK_PHASES if not self.pools.get(phase)]
        if missing:
            raise ValueError(f"pools: the phase '{missing[0]}' has no pool")
        for phase in self.pools:
            if phase not in WORK_PHASES:
                raise ValueError(f"pools: there is no phase '{phase}'; phases are {', '.join(WORK_PHASES)}")
            self._check_phase(phase)
        used = {name for phase in WORK_PHASES for name in self.chain(phase)}
        for name in self.stages:
            if name not in used:
                raise ValueError(f"stages: no pool runs a stage '{name}'; {suggestion(name, used)}")
        for name in sorted(used):
            self._semantic_settings(name)
        self._check_devices()
        self.weights()
        return self

    def _check_devices(self) -> None:
        known = {"default", *MODELS, *(choice.name for choice in self.models().values())}
        for name in self.devices:
            if name not in known:
                raise ValueError(f"devices: there is no model '{name}'; {suggestion(name, known)}")

    def _check_phase(self, phase: str) -> None:
        known = set(GIVEN[phase])
        for pool in self.pools[phase]:
            stages = [stage_class(name) for name in pool.stages]
            try:
                check_chain(stages, sorted(known))
            except ValueError as error:
                raise ValueError(f"pools.{phase}: in the pool '{pool.name}' {error}") from error
            # Frames are too big to travel: the next pool decodes again.
            known = known.union(*(stage.writes for stage in stages)).difference(RECORDS[phase].transient)

    def chain(self, phase: str) -> list[str]:
        """Stage names of a phase in order, each once: how they are spread over pools does not matter to the data."""
        return list(dict.fromkeys(name for pool in self.pools[phase] for name in pool.stages))

    def stage_settings(self, name: str) -> dict[str, Any]:
        """All settings of a stage, defaults and those of its models included. Raises ValueError, one sentence."""
        return self._spelt_out(name, full_settings)

    def _semantic_settings(self, name: str) -> dict[str, Any]:
        """Those that decide the data."""
        return self._spelt_out(name, semantic_settings)

    def _spelt_out(self, name: str, of_model: OfModel) -> dict[str, Any]:
        model, where = stage_class(name).Settings, f"stages.{name}"
        try:
            return spell_out(model.model_validate(self.stages.get(name, {})), where, of_model)
        except ValidationError as error:
            raise ValueError(sentence(error, model, where)) from error

    def models(self, phases: Sequence[str] = WORK_PHASES) -> dict[str, ModelChoice]:
        """Every model that stages of these phases use, by where the configuration has it (``stages.tag.tagger``)."""
        found: dict[str, ModelChoice] = {}
        for phase in phases:
            for name in self.chain(phase):
                settings = stage_class(name).Settings.model_validate(self.stages.get(name, {}))
                found.update(choices(settings, f"stages.{name}"))
        return found

    def weights(self, phases: Sequence[str] = WORK_PHASES) -> dict[str, str]:
        """Revision of every weight that stages of these phases use, by name. Raises ValueError for an unknown one."""
        revisions = {}
        for place, choice in self.models(phases).items():
            name = weights_of(choice)
            if name is not None:
                try:
                    revisions[name] = self._revision(name)
                except WeightsError as error:
                    raise ValueError(f"{place}.settings.weights: {error}") from error
        return dict(sorted(revisions.items()))

    def _revision(self, name: str) -> str:
        known = list_with(name)
        bound = self._bound_weights.get(name)
        return bound if bound is not None and known.missing(name) else known.revision(name)

    def bound_to(self, weights: Mapping[str, str]) -> Config:
        """The same with a dataset's revisions of weights that are not on this machine: of those nothing is known here.

        So a finished dataset is recognised where no weights are; what is there is compared as ever.
        """
        bound = self.model_copy(deep=True)
        bound._bound_weights.update(weights)
        return bound

    def semantic(self) -> dict[str, Any]:
        """What decides the data: every threshold, model, weight, codec, size, seed, and a version per stage."""
        weights = self.weights()
        return {
            **({"weights": weights} if weights else {}),
            "seed": self.seed,
            "ingest_slice": self.ingest_slice,
            "listing": self.listing.model_dump(mode="json", exclude=HOW_STORES_ARE_ASKED),
            "layout": self.layout.model_dump(mode="json"),
            "donors": self.donors.model_dump(mode="json"),
            "chains": {
                phase: [
                    {"stage": name, "version": stage_class(name).version, "settings": self._semantic_settings(name)}
                    for name in self.chain(phase)
                ]
                for phase in WORK_PHASES
            },
        }


def semantic_hash(semantic: Mapping[str, Any]) -> str:
    """Hex sha256 of the semantic configuration."""
    return hashlib.sha256(json.dumps(semantic, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def profiles() -> list[str]:
    """Names of the profiles that come with the project."""
    return sorted(
        f.name.removesuffix(".yaml")
        for f in files("pipeline").joinpath("profiles").iterdir()
        if f.name.endswith(".yaml")
    )


def load_config(source: str, overrides: Iterable[str] = ()) -> Config:
    """A profile's name or a YAML file's path, with ``a.b=c`` overrides. Raises ConfigError with one sentence."""
    document = _load_document(source, ())
    for override in overrides:
        document = _apply(document, override)
    return parse_config(document, f"configuration '{source}'")


def parse_config(document: Mapping[str, Any], origin: str) -> Config:
    """The configuration a document spells out. Raises ConfigError with one sentence that names its origin."""
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {sentence(error, Config)}") from error


def _load_document(source: str, extended_by: tuple[str, ...]) -> dict[str, Any]:
    if source in extended_by:
        raise ConfigError(f"the configuration {source} extends itself")
    document = _parse(source, _read(source))
    base = document.pop("extends", None)
    if base is None:
        return document
    if str(base) not in profiles():
        # As the file's author sees it, not from where the command is run.
        base = Path(source).parent / str(base)
    return _merge(_load_document(str(base), (*extended_by, source)), document)


def _read(source: str) -> str:
    if source in profiles():
        return files("pipeline").joinpath("profiles", f"{source}.yaml").read_text(encoding="utf-8")
    if Path(source).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"there is no profile and no .yaml file '{source}'; {suggestion(source, profiles())}")
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {source} is not a text file in UTF-8") from error


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration {source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"the configuration {source} is not a mapping of fields")
    return document


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _apply(document: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    names = [name.strip() for name in path.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"--set takes name.name=value, not '{override}'")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: '{text}' is not a YAML value") from error
    changed: dict[str, Any] = _changed(document, names, value, override)
    return changed


def _changed(group: Any, names: Sequence[str], value: Any, override: str) -> Any:
    """A copy of `group` (a YAML alias may stand in several places) with the named field changed."""
    if not names:
        return value
    name, *rest = names
    if isinstance(group, list):
        if not name.isdecimal() or int(name) >= len(group):
            raise ConfigError(f"--set {override}: '{name}' is not a position in a list of {len(group)}, from 0")
        return [_changed(item, rest, value, override) if i == int(name) else item for i, item in enumerate(group)]
    if not isinstance(group, dict | None):
        raise ConfigError(f"--set {override}: there is no field '{name}' in the value {json.dumps(group, default=str)}")
    fields = group or {}
    return {**fields, name: _changed(fields.get(name), rest, value, override)}


Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(
    model: type[Settings], file: Path | None, overrides: Iterable[str], defaults: Mapping[str, Any]
) -> Settings:
    """Settings of another command: defaults, then a YAML file, then ``a.b=c``. Raises ConfigError, one sentence."""
    document = _merge(dict(defaults), _parse(str(file), _read(str(file))) if file else {})
    for override in overrides:
        document = _apply(document, override)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{file or 'settings'}: {sentence(error, model)}") from error
