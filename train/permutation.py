"""A random order of N things that needs no memory: which one comes at place i is computed, not stored.

A Feistel network over the smallest even number of bits that holds N, walked on until it lands below N. So a loader
over ten million samples jumps to any step at once, on any rank, and resumes exactly.
"""

from __future__ import annotations

from manifests.ids import draw

ROUNDS = 4


def permuted(place: int, count: int, seed: int, name: str) -> int:
    """The element at `place` of the random order called `name` of range(count).

    Raises ValueError unless 0 ≤ place < count.
    """
    if not 0 <= place < count:
        raise ValueError(f"there is no place {place} among {count}")
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    value = _feistel(place, half, seed, name)
    while value >= count:
        value = _feistel(value, half, seed, name)
    return value


def _feistel(value: int, half: int, seed: int, name: str) -> int:
    low = (1 << half) - 1
    left, right = value >> half, value & low
    for turn in range(ROUNDS):
        left, right = right, left ^ (draw(seed, name, f"{turn} {right}") & low)
    return left << half | right
