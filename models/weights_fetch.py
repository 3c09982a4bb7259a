"""Fetching weights into the weights folder, and locking what was not known of them.

Files of a hub repository come from the entry's commit (of an entry without one: from the newest, which all its files
then share); other files from their address. A file is written under a temporary name and renamed when its size and
sha256 are right, so that one which is there is whole. Nothing here is called by a run.
"""

from __future__ import annotations

import json
from pathlib import Path

from models.download import FetchError, FetchSettings, NotThere, Report, download, read_text, shown
from models.file_hashes import sha256_of_file, writable
from models.weights import WEIGHTS_FILE, WeightEntry, WeightFile, WeightsError, WeightsList, file_fault

COMMIT_FILE = ".commit"
"""In a weight's folder: the commit of the hub repository its files were fetched from."""


def fetch_weight(
    weights: WeightsList, name: str, report: Report, settings: FetchSettings | None = None
) -> tuple[str, ...]:
    """Fetch what is missing of a weight and verify all of it; returns the names of the files fetched.

    Raises FetchError or WeightsError, one sentence each; a fetch that broke off goes on where it stopped.
    """
    settings = settings or FetchSettings()
    entry, present = weights.entry(name), weights.present(name)
    fetched = []
    commit = entry.revision
    for file, spec in entry.files.items():
        if file in present:
            continue
        if spec.url is None and entry.hub is not None and commit is None:
            commit = _newest_commit(weights.base / name / COMMIT_FILE, entry.hub, settings)
        url = spec.url or (_hub_url(entry.hub, commit, file) if entry.hub and commit else None)
        if url is None:
            raise FetchError(
                f"the weight '{name}' has no address to fetch {file} from: put it at {weights.base / name / file}"
                + (f" (it is {entry.origin})" if entry.origin else "")
            )
        _check_writable(weights.base)
        if _fetch_file(url, weights.base / name / file, spec, report, settings):
            fetched.append(file)
    weights.check(name)
    return tuple(fetched)


def _check_writable(base: Path) -> None:
    if base.exists() and not writable(base):
        raise FetchError(
            f"the weights folder {base} is read-only: name another in VIVID_WEIGHTS, or none to use the user's cache"
        )


def _fetch_file(url: str, target: Path, spec: WeightFile, report: Report, settings: FetchSettings) -> bool:
    """Whether the file was there to fetch; only an optional one may not be."""
    pinned = spec.url is None or spec.sha256 is not None
    # Other files may pass for this one where they lie; its origin gives the one that is listed first.
    strict = spec.model_copy(update={"also_sha256": ()})
    try:
        download(
            url, target, lambda part: file_fault(strict, part, sha256_of_file, target.name), pinned, report, settings
        )
    except NotThere:
        if spec.optional:
            return False
        raise
    except OSError as error:
        raise FetchError(f"cannot write {target}: {error.strerror or error}") from error
    return True


def lock_weight(weights: WeightsList, name: str) -> int:
    """Write what the list does not know of a weight that is there into the folder's own list; returns how many values.

    From then on any other content is an error. Raises WeightsError when the weight is not there or already differs.
    """
    found, entry = weights.check(name), weights.entry(name)
    files, learnt = dict(entry.files), 0
    for file, path in found.paths.items():
        spec = files[file]
        known = {"sha256": spec.sha256 or weights.sha256(path), "size": spec.size or path.stat().st_size}
        learnt += (spec.sha256 is None) + (spec.size is None)
        files[file] = spec.model_copy(update=known)
    commit = _read_commit(weights.base / name / COMMIT_FILE)
    if entry.hub and entry.revision is None and commit:
        entry = entry.model_copy(update={"revision": commit})
        learnt += 1
    if learnt:
        _check_writable(weights.base)
        _write_entry(weights.base / WEIGHTS_FILE, name, entry.model_copy(update={"files": files}))
    return learnt


def _write_entry(path: Path, name: str, entry: WeightEntry) -> None:
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        known[name] = entry.model_dump(mode="json", exclude_defaults=True)
        scratch = path.with_name(f"{path.name}.tmp")
        scratch.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise WeightsError(f"cannot write {path}: {error.strerror or error}") from error


def _hub_url(hub: str, commit: str, file: str) -> str:
    try:
        from huggingface_hub import hf_hub_url
    except ImportError as error:
        raise FetchError(
            "files of the Hugging Face hub need the extra `models`: pip install 'vivid-pipeline[models]'"
        ) from error
    return str(hf_hub_url(hub, file, revision=commit))


def _newest_commit(remembered: Path, hub: str, settings: FetchSettings) -> str:
    """The commit an interrupted fetch began with, else the newest of the repository, which is noted."""
    commit = _read_commit(remembered)
    if commit is None:
        head = _hub_url(hub, "main", "x").split(f"/{hub}/")[0]
        url = f"{head}/api/models/{hub}/revision/main"
        answer = read_text(url, settings)
        try:
            commit = str(json.loads(answer)["sha"])
        except (ValueError, KeyError, TypeError) as error:
            raise FetchError(f"{shown(url)} does not say which commit is the newest") from error
        try:
            remembered.parent.mkdir(parents=True, exist_ok=True)
            remembered.write_text(f"{commit}\n")
        except OSError as error:
            raise FetchError(f"cannot write {remembered}: {error.strerror or error}") from error
    return commit


def _read_commit(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
