"""Which of the files under a root an input means: all media of a folder, or what matches a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from fsspec.utils import glob_translate

from stages.listing_records import printable

MAGIC = re.compile(r"[*?\[]")


class Selection:
    """The files one input means, and in `ignored` how many others it passed over.

    A pattern whose extension is written out (``*.tar``, ``*.csv``, ``*.dat``) names its files as if each were listed by
    hand (`by_name`); a folder, or a pattern such as ``clips/*``, means only the files with an extension of videos or
    images. Names with a leading dot are passed over without being counted, unless the pattern itself has such a name.
    ValueError: a pattern that cannot be understood.
    """

    def __init__(self, pattern: str | None, extensions: Iterable[str]) -> None:
        self.pattern = pattern
        self.ignored = 0
        self.by_name = pattern is not None and _has_plain_suffix(pattern)
        self._suffixes = tuple(f".{extension}" for extension in extensions)
        self._parts = [] if pattern is None else pattern.split("/")
        self._shows_hidden = any(part.startswith(".") for part in self._parts)
        if any("**" in part and part != "**" for part in self._parts):
            raise ValueError(
                f"the pattern {printable(pattern or '')} has '**' beside other characters; it must stand alone"
            )
        self._regex = None if pattern is None else re.compile(glob_translate(pattern))

    @property
    def max_depth(self) -> int | None:
        """How many levels below the root a file can lie; None: any number."""
        return None if self.pattern is None or "**" in self._parts else len(self._parts)

    def hides(self, path: str) -> bool:
        """Whether `path` has a hidden component."""
        return not self._shows_hidden and (path.startswith(".") or "/." in path)

    def may_enter(self, folder: str) -> bool:
        """Whether a file below `folder` can match."""
        if self.pattern is None:
            return True
        names = folder.split("/")
        for name, part in zip(names, self._parts, strict=False):
            if part == "**":
                return True
            if not fnmatchcase(name, part):
                return False
        return len(names) < len(self._parts)

    def takes(self, path: str) -> bool:
        """Whether the file is meant; one that is not media is counted in `ignored`."""
        if self._regex is not None and not self._regex.match(path):
            return False
        if self.by_name or path.lower().endswith(self._suffixes):
            return True
        self.ignored += 1
        return False


def _has_plain_suffix(pattern: str) -> bool:
    name = pattern.rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    return bool(stem and dot and suffix) and not MAGIC.search(suffix) and "]" not in suffix
