"""Where the weights of a network lie on this machine, and which revision they are.

`models/weights.json` lists every weight: origin, revision, licence, and each file with its sha256 and size. What was
not known when the list was written is null; `vivid weights --lock` fills it in on the first fetch. A weights folder
(``VIVID_WEIGHTS``, else ``~/.cache/vivid/weights``) holds ``<name>/<file>``, or just ``<file>``; a `weights.json` in it
replaces entries of the same names (a mirror with its own revisions).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field, ValidationError, field_validator

WEIGHTS_FILE = "weights.json"


class WeightsError(ValueError):
    """A weight is missing, unknown or not what the list says. The text is one sentence."""


class WeightFile(BaseModel, frozen=True, extra="forbid"):
    """One file of a weight."""

    url: str | None = Field(default=None, description="where it is fetched from; null: from the entry's hub repository")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="null: not known yet")
    size: int | None = Field(default=None, ge=0, description="bytes; null: not known yet")


class WeightEntry(BaseModel, frozen=True, extra="forbid"):
    """One weight: a folder of files from one origin."""

    hub: str | None = Field(default=None, description="repository on the Hugging Face hub")
    revision: str | None = Field(default=None, description="commit of the repository, or version of the release")
    licence: str | None = Field(default=None, description="SPDX name, or the licence's own")
    files: dict[str, WeightFile] = Field(min_length=1, description="files by path relative to the weight's folder")

    @field_validator("files")
    @classmethod
    def _inside(cls, value: dict[str, WeightFile]) -> dict[str, WeightFile]:
        for path in value:
            parts = PurePosixPath(path).parts
            if not parts or path.startswith("/") or ".." in parts or "\\" in path:
                raise ValueError(f"'{path}' is not a path inside the weight's folder")
        return value


@dataclass(frozen=True)
class Weights:
    """A weight on this machine. `paths` are its files by the names the list gives them."""

    name: str
    revision: str
    paths: Mapping[str, Path]

    @property
    def folder(self) -> Path:
        """The folder with all its files, for loaders that want one (`from_pretrained`)."""
        first, path = next(iter(self.paths.items()))
        return path.parents[len(PurePosixPath(first).parts) - 1]

    def file(self, suffix: str) -> Path:
        """The one file whose name ends so. Raises WeightsError when there is none or more than one."""
        found = [path for name, path in sorted(self.paths.items()) if name.endswith(suffix)]
        if len(found) != 1:
            raise WeightsError(f"the weight '{self.name}' has {len(found)} files that end with '{suffix}', not one")
        return found[0]


def weights_folder() -> Path:
    """``VIVID_WEIGHTS``, else the user's cache."""
    chosen = os.environ.get("VIVID_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "vivid" / "weights"


@dataclass(frozen=True)
class WeightsList:
    """All known weights and the folder they are looked for in."""

    base: Path

    @cached_property
    def entries(self) -> dict[str, WeightEntry]:
        """By name; the folder's own list wins."""
        own = self.base / WEIGHTS_FILE
        shipped = _parse(files("models").joinpath(WEIGHTS_FILE).read_text(encoding="utf-8"), f"models/{WEIGHTS_FILE}")
        return {**shipped, **(_parse(own.read_text(encoding="utf-8"), str(own)) if own.is_file() else {})}

    def entry(self, name: str) -> WeightEntry:
        """Raises WeightsError with the known names when there is none."""
        if name not in self.entries:
            raise WeightsError(f"there is no weight '{name}'; known are {', '.join(sorted(self.entries))}")
        return self.entries[name]

    def path(self, name: str, file: str) -> Path:
        """Where a file of a weight lies, or would lie."""
        nested, flat = self.base / name / file, self.base / file
        return flat if flat.is_file() and not nested.is_file() else nested

    def missing(self, name: str) -> list[str]:
        """Files of the weight that are not there."""
        return [file for file in self.entry(name).files if not self.path(name, file).is_file()]

    def find(self, name: str) -> Weights:
        """The weight on this machine. Raises WeightsError when files are missing; contents are not read."""
        missing = self.missing(name)
        if missing:
            raise WeightsError(
                f"the weight '{name}' is not on this machine: {', '.join(missing)} missing in {self.base}; "
                f"fetch it with `vivid weights {name}`, or name a mirror in VIVID_WEIGHTS"
            )
        paths = {file: self.path(name, file) for file in self.entry(name).files}
        return Weights(name, self.revision(name), paths)

    def revision(self, name: str) -> str:
        """What track rows and the semantic configuration say: the revision and a digest of what is known of the files.

        Files whose sha256 is in the list stand by it; the others do not tell, and `vivid weights --lock` makes them.
        """
        entry = self.entry(name)
        known = {file: spec.sha256 for file, spec in sorted(entry.files.items()) if spec.sha256}
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8] if known else "unlocked"
        return f"{entry.revision or 'unknown'}-{digest}"


def _parse(text: str, origin: str) -> dict[str, WeightEntry]:
    try:
        document = json.loads(text)
        return {str(name): WeightEntry.model_validate(value) for name, value in document.items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WeightsError(f"the list of weights {origin}: {where}: {first['msg']}") from error
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"the list of weights {origin} is not JSON of named entries: {error}") from error
