"""Which of a tagger's words are entities and which are background regions.

`models/vocabulary/` holds the two lists made for RAM's 4585 tags, with the rule at the head of each. A vocabulary file
has one tag a line; empty lines and lines that begin with ``#`` say nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class Vocabularies:
    """Two disjoint sets of tags, spelt as the tagger spells them."""

    entities: frozenset[str]
    background: frozenset[str]

    @classmethod
    def load(cls, tags: Sequence[str], entities: Path | None = None, background: Path | None = None) -> Vocabularies:
        """The vocabularies of a tagger that knows `tags`, from own files or (None) the shipped ones.

        Case does not matter. Raises ValueError when a line is none of `tags`, a file names nothing or cannot be read,
        or a tag is in both.
        """
        loaded = cls(_read("entities", entities, tags), _read("background", background, tags))
        both = sorted(loaded.entities & loaded.background)
        if both:
            raise ValueError(f"a tag is an entity or background, not both: {', '.join(both[:5])}")
        return loaded


def shipped_words(name: str) -> list[str]:
    """The words of a shipped vocabulary (`entities` or `background`) in file order."""
    return _words(files("models").joinpath("vocabulary", f"{name}.txt").read_text(encoding="utf-8"))


def vocabulary_digest(name: str, path: Path | None) -> str:
    """Hex sha256 of an own file's words or (None) a shipped vocabulary's, whatever their order, case and comments.

    Raises ValueError when the file cannot be read.
    """
    words = shipped_words(name) if path is None else _own_words(path)
    return hashlib.sha256("\n".join(sorted({word.casefold() for word in words})).encode()).hexdigest()


def _words(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _read(name: str, path: Path | None, tags: Sequence[str]) -> frozenset[str]:
    """The vocabulary in the tagger's spelling."""
    if path is None:
        words, origin = shipped_words(name), f"models/vocabulary/{name}.txt"
    else:
        words, origin = _own_words(path), str(path)
    if not words:
        raise ValueError(f"the vocabulary {origin} names no tag")
    spelling = {tag.casefold(): tag for tag in tags}
    for word in words:
        if word.casefold() not in spelling:
            nearest = _nearest(word.casefold(), spelling)
            raise ValueError(
                f"'{word}' in the vocabulary {origin} is no tag of the tagger"
                + (f"; the nearest is '{nearest}'" if nearest else "")
            )
    return frozenset(spelling[word.casefold()] for word in words)


def _own_words(path: Path) -> list[str]:
    try:
        return _words(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the vocabulary {path} cannot be read: {error}") from error


def _nearest(word: str, spelling: dict[str, str]) -> str | None:
    """The tag most like `word`, in the tagger's spelling."""
    if not spelling:
        return None
    return spelling[max(spelling, key=lambda known: SequenceMatcher(None, word, known).ratio())]
