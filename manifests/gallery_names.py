"""What the gallery calls a clip's entities: a letter and a word for each, or its looks where it has no name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import ascii_uppercase

from manifests.records import TrackRow

NAMELESS = "object"
"""The tag of every entity that was found without weights."""
LONGEST = 60
"""Longest description, characters; captions of a network may run on."""


def letter(index: int) -> str:
    """A, B, …, Z, AA, AB, … by place in the list."""
    rest, last = divmod(index, len(ascii_uppercase))
    return (letter(rest - 1) if rest else "") + ascii_uppercase[last]


def looks(track: TrackRow) -> str:
    """An entity's tag; for a nameless one its medium caption without article and "object", if that leaves a word."""
    if track.tag != NAMELESS or not track.caption_medium:
        return track.tag
    phrase = re.sub(r"^(an?|the)\s+", "", track.caption_medium.strip(), flags=re.IGNORECASE)
    phrase = re.sub(rf"\b{NAMELESS}\b", "", phrase, count=1, flags=re.IGNORECASE)
    phrase = " ".join(phrase.split()).strip(" ,.")
    return (phrase if len(phrase) <= LONGEST else phrase[: LONGEST - 1] + "…") or track.tag


def entity_names(entities: Iterable[TrackRow]) -> dict[str, str]:
    """Names such as "A: small purple and white" by track id, for one clip's entities in order."""
    return {track.track_id: f"{letter(index)}: {looks(track)}" for index, track in enumerate(entities)}
