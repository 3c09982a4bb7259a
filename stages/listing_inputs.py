"""What one INPUT of the command line says: its alias, its root, and what lies under it."""

# Names stay the strings that the user and the file system gave, undecodable bytes and all.
# ruff: noqa: PTH100, PTH110, PTH111, PTH112

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.listing_match import MAGIC
from stages.listing_records import is_url, is_utf8, printable
from stages.listing_roots import LocalRoot, Root, StoreRoot

_NOT_IN_ALIAS = re.compile(r"[^A-Za-z0-9._\-]")


@dataclass(frozen=True)
class Input:
    """`path` is relative to `root`: empty for a folder, a pattern, or one file. `written`: the root as named."""

    text: str
    alias: str | None
    root: Root
    written: str
    path: str = ""
    is_pattern: bool = False


@dataclass(frozen=True)
class NamedRoot:
    """A root under its alias; `declared`: the user gave the alias with ``alias=path``."""

    alias: str
    declared: bool
    root: Root
    written: str


def parse_input(text: str) -> Input:
    """Understand ``path`` or ``alias=path``. ValueError: nothing is there, or its protocol cannot be used."""
    alias, place = _split_alias(text)
    plain = re.sub(r"^(file|local)://", "", place, flags=re.IGNORECASE)
    if not plain.strip() or "\0" in plain:
        raise ValueError(f"the input {printable(text)!r} names no file or folder")
    if "::" in plain and "://" in plain:
        raise ValueError(f"the input {printable(place)} chains file systems with '::', which is not supported")
    given = _store_input(plain, alias) if is_url(plain) else _local_input(plain, alias)
    if not is_utf8(given.root.url):
        raise ValueError(f"the folder {printable(given.root.url)} has a name that is not valid UTF-8; rename it")
    return given


def name_roots(inputs: Sequence[Input]) -> list[NamedRoot]:
    """The root of each input under its alias. ValueError: two roots would share one.

    The alias is the one given, or the one another input gave to the same root, or the root's own name.
    """
    declared: dict[str, str] = {}
    for given in inputs:
        if given.alias is not None:
            declared[given.root.url] = min(given.alias, declared.get(given.root.url, given.alias))
    urls: dict[str, str] = {}
    named = []
    for given in inputs:
        url = given.root.url
        alias = (
            given.alias
            or declared.get(url)
            or _clean_alias(given.written.rpartition("://")[2].rstrip("/").rpartition("/")[2])
        )
        if urls.setdefault(alias, url) != url:
            raise ValueError(
                f"two different roots are called '{alias}' ({printable(urls[alias])} and {printable(url)}); "
                "give one another name with alias=path"
            )
        named.append(NamedRoot(alias, url in declared, given.root, given.written))
    return named


def _split_alias(text: str) -> tuple[str | None, str]:
    # A file of this very name is meant as such; otherwise a path with "=" in its first part needs "./" before it.
    alias, equals, place = text.partition("=")
    if not equals or not alias or "/" in alias or MAGIC.search(alias) or os.path.lexists(text.replace("\0", "")):
        return None, text
    return _clean_alias(alias), place


def _clean_alias(name: str) -> str:
    alias = _NOT_IN_ALIAS.sub("-", name)
    return "root" if alias in ("", ".", "..") else alias


def _local_input(place: str, alias: str | None) -> Input:
    home = os.path.expanduser(place)
    # Behind a link ".." means the parent of its target, which only the file system knows.
    full = os.path.realpath(home) if ".." in home.split("/") else os.path.abspath(home)
    if os.path.isdir(full):
        return Input(place, alias, LocalRoot(full), full)
    if os.path.exists(full):
        folder, name = os.path.split(full)
        return Input(place, alias, LocalRoot(folder), folder, name)
    folder, pattern = _split_pattern(full)
    if not pattern or not os.path.isdir(folder or "/"):
        raise ValueError(f"the input {printable(place)} does not exist")
    return Input(place, alias, LocalRoot(folder or "/"), folder or "/", pattern, is_pattern=True)


def _store_input(url: str, alias: str | None) -> Input:
    protocol, _, rest = url.partition("://")
    protocol = protocol.lower()
    if protocol in ("http", "https") and re.search(r"[?#]", rest):
        raise ValueError(
            f"the URL {printable(url.partition('?')[0])} has a query or fragment, which cannot name a source"
        )
    root = StoreRoot(f"{protocol}://{rest}")
    kind = root.kind()
    if kind == "folder" or (kind == "file" and url.endswith("/")):
        return Input(url, alias, root, root.url)
    if kind == "file":
        folder, _, name = rest.rpartition("/")
        root = StoreRoot(f"{protocol}://{folder}")
        return Input(url, alias, root, root.url, name)
    folder, pattern = _split_pattern(rest)
    if not pattern:
        raise ValueError(f"the input {printable(url)} does not exist")
    root = StoreRoot(f"{protocol}://{folder}")
    return Input(url, alias, root, root.url, pattern, is_pattern=True)


def _split_pattern(path: str) -> tuple[str, str]:
    """The folders before the first wildcard, and the pattern from there on (empty if there is no wildcard)."""
    parts = path.split("/")
    for position, part in enumerate(parts):
        if MAGIC.search(part):
            return "/".join(parts[:position]), "/".join(parts[position:])
    return path, ""
