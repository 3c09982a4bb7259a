"""Reservations of pools that fit the machines: an actor that reserves what is not there would wait for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.config import Pool

GRAIN = 1e-4
"""Ray counts resources in ten-thousandths."""


def fit_pools(pools: Sequence[Pool], parts: int, cpus: float, gpus: float) -> tuple[Pool, ...]:
    """The pools, with reservations lowered until the least number of actors of all of them fit at once.

    All pools of a phase run side by side, so none may wait for another to end. Without a GPU none is reserved.
    """
    shrink_cpus = min(1.0, cpus / sum(pool.num_cpus * _least(pool, parts) for pool in pools))
    shares = _gpu_shares(pools, parts, int(gpus))
    return tuple(
        pool.model_copy(update={"num_cpus": max(GRAIN, _floor(pool.num_cpus * shrink_cpus)), "num_gpus": share})
        for pool, share in zip(pools, shares, strict=True)
    )


def largest_pool(pool: Pool, others: Sequence[Pool], parts: int, cpus: float, gpus: float) -> int:
    """Most actors of a pool that leave room for the least number of the others' actors."""
    cpus_left = cpus - sum(other.num_cpus * _least(other, parts) for other in others)
    most = max(1, int(cpus_left / pool.num_cpus + GRAIN))
    if pool.num_gpus:
        gpus_left = gpus - sum(other.num_gpus * _least(other, parts) for other in others)
        most = min(most, max(1, int(gpus_left / pool.num_gpus + GRAIN)))
    return most


def _least(pool: Pool, parts: int) -> int:
    return min(pool.min_actors, parts)


def _floor(value: float) -> float:
    return round(math.floor(value / GRAIN + GRAIN) * GRAIN, 4) if value < 1 else value


def _gpu_shares(pools: Sequence[Pool], parts: int, gpus: int) -> list[float]:
    """GPUs each actor of each pool reserves."""
    if gpus == 0:
        return [0.0 for _ in pools]
    actors = [pool.num_gpus for pool in pools for _ in range(_least(pool, parts)) if pool.num_gpus]
    if _fit(actors, gpus):
        return [pool.num_gpus for pool in pools]
    # As many actors on each GPU as there must be; one that asked for less than its even share keeps that.
    even = _floor(1 / math.ceil(len(actors) / gpus))
    return [min(pool.num_gpus, even) for pool in pools]


def _fit(actors: Sequence[float], gpus: int) -> bool:
    """Whether all actors find a place; parts of a GPU are parts of one, more than one are whole ones."""
    free = [1.0] * gpus
    for wanted in sorted(actors, reverse=True):
        shares = [wanted] if wanted <= 1 else [1.0] * math.ceil(wanted)
        for share in shares:
            place = next((i for i, room in enumerate(free) if room + GRAIN / 2 >= share), None)
            if place is None:
                return False
            free[place] -= share
    return True
