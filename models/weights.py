"""Where the weights of a network lie on this machine, and which revision they are.

`models/weights.json` lists every weight: origin, revision, licence, and each file with its sha256 and size. What was
not known when the list was written is null; `vivid weights --lock` fills it in on the first fetch. A weights folder
holds ``<name>/<file>``, or just ``<file>``; a `weights.json` in it replaces entries of the same names: a mirror with
its own revisions, or what `vivid weights --lock` found. ``VIVID_WEIGHTS`` is looked at first, then the user's cache
(``~/.cache/vivid/weights``); a weight is taken whole from one of them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field, ValidationError, field_validator

from models.file_damage import damage
from models.file_hashes import FileHashes, user_cache

WEIGHTS_FILE = "weights.json"


class WeightsError(ValueError):
    """A weight is missing, unknown or not what the list says. The text is one sentence."""


class WeightFile(BaseModel, frozen=True, extra="forbid"):
    """One file of a weight."""

    url: str | None = Field(default=None, description="where it is fetched from; null: from the entry's hub repository")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="null: not known yet")
    size: int | None = Field(default=None, ge=0, description="bytes; null: not known yet")
    also_sha256: tuple[str, ...] = Field(
        default=(), description="other exports of the same network that are taken as well; revisions tell them apart"
    )
    optional: bool = Field(
        default=False, description="not missed when absent: some revisions of a repository have it and some do not"
    )


class WeightEntry(BaseModel, frozen=True, extra="forbid"):
    """One weight: a folder of files from one origin."""

    hub: str | None = Field(default=None, description="repository on the Hugging Face hub")
    origin: str | None = Field(default=None, description="where a person gets files that have no address of their own")
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


def weights_folders() -> tuple[Path, ...]:
    """Where weights are looked for, in order: ``VIVID_WEIGHTS`` where it is set, then the user's cache."""
    chosen = os.environ.get("VIVID_WEIGHTS")
    mirror = (Path(chosen).expanduser().absolute(),) if chosen else ()
    return (*mirror, user_cache() / "weights")


def weights_folder() -> Path:
    """Where weights are fetched to: the first folder that is looked at."""
    return weights_folders()[0]


def list_with(name: str, folders: Sequence[Path] | None = None) -> WeightsList:
    """The list of the first folder that holds all of a weight; where none does, of the first that knows its name."""
    lists = [WeightsList(folder) for folder in folders or weights_folders()]
    for known in lists:
        if name in known.entries and not known.missing(name):
            return known
    return next((known for known in lists if name in known.entries), lists[0])


def file_fault(spec: WeightFile, path: Path, digest_of: Callable[[Path], str], name: str | None = None) -> str | None:
    """What is wrong with a file, in words; None when it is as listed, or nothing shows where the list is silent.

    `digest_of` gives its hex sha256, `name` is its own where the path's is a temporary one.
    """
    size = path.stat().st_size
    if spec.size is not None and size != spec.size and not spec.also_sha256:
        return f"has {size:,} bytes, not {spec.size:,}"
    if spec.sha256 is None:
        return damage(path, name)
    digest = digest_of(path)
    if digest in (spec.sha256, *spec.also_sha256):
        return None
    return f"has the sha256 {digest[:12]}…, not {spec.sha256[:12]}…"


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
        """Raises WeightsError with what may have been meant when there is none."""
        if name not in self.entries:
            close = difflib.get_close_matches(name, self.entries, 1)
            known = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(sorted(self.entries))}"
            raise WeightsError(f"there is no weight '{name}'; {known}")
        return self.entries[name]

    def path(self, name: str, file: str) -> Path:
        """Where a file of a weight lies, or would lie."""
        nested, flat = self.base / name / file, self.base / file
        return flat if flat.is_file() and not nested.is_file() else nested

    def missing(self, name: str) -> list[str]:
        """Files of the weight that are not there and would be missed."""
        return [
            file
            for file, spec in self.entry(name).files.items()
            if not (spec.optional and spec.sha256 is None) and not self.path(name, file).is_file()
        ]

    def present(self, name: str) -> dict[str, Path]:
        """Files of the weight that are there, by their names in the list."""
        paths = {file: self.path(name, file) for file in self.entry(name).files}
        return {file: path for file, path in paths.items() if path.is_file()}

    def find(self, name: str) -> Weights:
        """The weight on this machine. Raises WeightsError when files are missing; contents are not read."""
        missing = self.missing(name)
        if missing:
            raise WeightsError(
                f"the weight '{name}' is not on this machine: {', '.join(missing)} missing in {self.base}; "
                f"fetch it with `vivid weights {name}`, or name a mirror in VIVID_WEIGHTS"
            )
        return Weights(name, self.revision(name), self.present(name))

    def check(self, name: str) -> Weights:
        """`find`, with sizes and hashes compared to the list's. Raises WeightsError naming the first wrong file."""
        found = self.find(name)
        for file, path in found.paths.items():
            fault = self.fault(self.entry(name).files[file], path)
            if fault:
                raise WeightsError(
                    f"the weight '{name}' is not the one in the list: {path} {fault}; "
                    f"remove it and run `vivid weights {name}`"
                )
        return found

    def fault(self, spec: WeightFile, path: Path) -> str | None:
        """What is wrong with a file, in words; None when it is as listed, or nothing shows where the list is silent."""
        return file_fault(spec, path, self._hashes.sha256)

    def sha256(self, path: Path) -> str:
        """Hex sha256 of a file in the folder; read again only when it changed."""
        return self._hashes.sha256(path)

    def unlocked(self, name: str) -> list[str]:
        """Files that are there and whose sha256 the list does not know: nothing would notice another content."""
        return [file for file in self.present(name) if self.entry(name).files[file].sha256 is None]

    def revision(self, name: str) -> str:
        """What track rows and the semantic configuration say: the revision and a digest of what is known of the files.

        Files whose sha256 is in the list stand by it; the others do not tell, and `vivid weights --lock` makes them.
        """
        entry = self.entry(name)
        known = {file: self._known(name, file, spec) for file, spec in sorted(entry.files.items()) if spec.sha256}
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8] if known else "unlocked"
        return f"{entry.revision or 'unknown'}-{digest}"

    def _known(self, name: str, file: str, spec: WeightFile) -> str | None:
        path = self.path(name, file)
        if spec.also_sha256 and path.is_file():
            return self._hashes.sha256(path)
        return spec.sha256

    @cached_property
    def _hashes(self) -> FileHashes:
        return FileHashes(self.base)


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
