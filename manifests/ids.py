"""Names and random draws that depend on what a thing is, never on when or where it was made.

Every id is a hash of stable facts; every "random" choice is a hash of (run seed, id, name of the draw). So a result
does not change with the number of workers, the order of arrival or an interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

ID_HEX_DIGITS = 16
"""64 bits: with 10 million clips the chance of any collision is about 3 in a million."""

BACKGROUND_TRACK = 80
"""First two-digit number of a clip's background tracks; entities count from 00."""
PASTED_TRACK = 90
"""First two-digit number of a clip's pasted tracks (deletion)."""


def _digest(*parts: object) -> bytes:
    # Length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
    hasher = hashlib.sha256()
    for part in parts:
        data = str(part).encode("utf-8", "surrogateescape")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.digest()


def source_id(root: str, path: str) -> str:
    """16 hex digits naming a source by its root's alias and POSIX path (``archive.tar!member`` for a tar member)."""
    return _digest("source", root, path).hex()[:ID_HEX_DIGITS]


def clip_id(root: str, path: str, start_us: int, end_us: int, kind: str, origin: str) -> str:
    """16 hex digits naming a clip: the source's name, the interval in integer microseconds, kind and origin."""
    return _digest("clip", root, path, int(start_us), int(end_us), kind, origin).hex()[:ID_HEX_DIGITS]


def track_id(clip: str, number: int) -> str:
    """``<clip_id>-NN``; numbers below 80 are entities, 80–89 background regions, 90–99 pasted tracks."""
    if not 0 <= number <= 99:
        raise ValueError(f"track number {number} is not in 0..99")
    return f"{clip}-{number:02d}"


VARIANT_CODES = {"original": "o", "expand": "e", "hull": "h", "box": "b", "hull_expand": "he", "box_expand": "be"}
CAPTION_CODES = {"short": "s", "medium": "m", "long": "l", "fixed": "f"}


def sample_id(track: str, variant: str, caption_kind: str) -> str:
    """``<track_id>-<variant code>-<caption code>``, e.g. ``0123456789abcdef-00-he-m``."""
    return f"{track}-{VARIANT_CODES[variant]}-{CAPTION_CODES[caption_kind]}"


def draw(seed: int, key: str, name: str) -> int:
    """A uniform integer in [0, 2**64): the draw called `name` for the thing called `key` in the run of `seed`."""
    return int.from_bytes(_digest("draw", int(seed), key, name)[:8], "big")


def draw_fraction(seed: int, key: str, name: str) -> float:
    """`draw` as a float in [0, 1)."""
    return float(Fraction(draw(seed, key, name) >> 11, 1 << 53))


def draw_uniform(seed: int, key: str, name: str, low: float, high: float) -> float:
    """A uniform float from low to high (rounding may reach high)."""
    return low + (high - low) * draw_fraction(seed, key, name)


def draw_choice(seed: int, key: str, name: str, count: int) -> int:
    """A uniform index in [0, count)."""
    if count < 1:
        raise ValueError("nothing to choose from")
    return draw(seed, key, name) * count >> 64


def draw_order(seed: int, name: str, keys: Sequence[str]) -> list[str]:
    """`keys` in a random order that does not depend on the order they came in."""
    return sorted(keys, key=lambda key: (draw(seed, key, name), key))
