"""sha256 of files of many gigabytes, remembered by size and modification time.

The memory lies beside the files (``.sha256.json``), or in the user's cache where their folder is read-only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

MEMORY = ".sha256.json"


def user_cache() -> Path:
    """The project's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vivid"


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileHashes:
    """Hashes of the files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        beside, cached = folder / MEMORY, user_cache() / "hashes" / f"{name}.json"
        self._places = (beside, cached) if writable(folder) else (cached,)

    def sha256(self, path: Path) -> str:
        """Hex sha256 of a file below the folder; read only when it changed since the last time."""
        stat, key = path.stat(), path.relative_to(self.folder).as_posix()
        state = [stat.st_size, stat.st_mtime_ns]
        remembered = self._remembered().get(key)
        if isinstance(remembered, list) and len(remembered) == 3 and remembered[:2] == state:
            return str(remembered[2])
        digest = sha256_of_file(path)
        self._remember(key, [*state, digest])
        return digest

    def _remembered(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for place in reversed(self._places):
            known |= _read(place)
        return known

    def _remember(self, key: str, value: list[Any]) -> None:
        for place in self._places:
            # What cannot be remembered is computed again.
            with contextlib.suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                scratch = place.with_name(f"{place.name}.{os.getpid()}.tmp")
                scratch.write_text(json.dumps({**_read(place), key: value}, indent=1, sort_keys=True))
                scratch.replace(place)
                return


def writable(folder: Path) -> bool:
    """Whether the folder is meant to be written to: the administrator may write everywhere and still should not."""
    try:
        return bool(folder.stat().st_mode & 0o222)
    except OSError:
        return False


def _read(place: Path) -> dict[str, Any]:
    try:
        document = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
