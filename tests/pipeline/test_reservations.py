"""Reservations fit the machines: no actor may wait for what is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Pool
from pipeline.reservations import fit_pools, largest_pool


def pool(num_cpus: float = 1, num_gpus: float = 0, min_actors: int = 1) -> Pool:
    return Pool(name="p", stages=("decode",), num_cpus=num_cpus, num_gpus=num_gpus, min_actors=min_actors)


def gpus_of(pools: tuple[Pool, ...]) -> list[float]:
    return [pool.num_gpus for pool in pools]


def test_what_fits_stays_as_it_is() -> None:
    pools = (pool(2, 0.25), pool(2, 0.5), pool(2, 0.25), pool(1))
    assert fit_pools(pools, 10, cpus=8, gpus=1) == pools


def test_without_a_gpu_none_is_reserved() -> None:
    assert gpus_of(fit_pools((pool(1, 0.25), pool(1, 1)), 10, cpus=8, gpus=0)) == [0, 0]


def test_too_few_gpus_are_shared() -> None:
    assert gpus_of(fit_pools((pool(1, 1), pool(1, 1), pool(1, 0.1)), 10, cpus=8, gpus=1)) == [0.3333, 0.3333, 0.1]
    assert gpus_of(fit_pools((pool(1, 2), pool(1, 0)), 10, cpus=8, gpus=1)) == [1, 0]


def test_shares_that_add_up_and_still_find_no_place_are_lowered() -> None:
    # 1.8 of 2 GPUs, and yet the third of them would wait for ever.
    assert gpus_of(fit_pools((pool(1, 0.6), pool(1, 0.6), pool(1, 0.6)), 10, cpus=8, gpus=2)) == [0.5, 0.5, 0.5]


def test_too_few_cores_are_shared() -> None:
    assert [p.num_cpus for p in fit_pools((pool(2), pool(2), pool(1)), 10, cpus=2, gpus=0)] == [0.8, 0.8, 0.4]


def test_few_parts_start_few_actors() -> None:
    assert fit_pools((pool(1, 1, min_actors=8),), 1, cpus=1, gpus=1) == (pool(1, 1, min_actors=8),)


def test_a_pool_grows_into_what_the_others_leave() -> None:
    others = (pool(1, 0.5), pool(2))
    assert largest_pool(pool(1, 0.25), others, 99, cpus=16, gpus=2) == 6
    assert largest_pool(pool(1, 0.25), others, 99, cpus=7, gpus=2) == 4
    assert largest_pool(pool(1), others, 99, cpus=1, gpus=0) == 1


@given(
    wanted=st.lists(
        st.tuples(st.floats(0.1, 4), st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.7, 1, 2]), st.integers(1, 4)),
        min_size=1,
        max_size=6,
    ),
    parts=st.integers(1, 9),
    cpus=st.integers(1, 64),
    gpus=st.integers(0, 9),
)
def test_the_least_actors_of_all_pools_always_fit(
    wanted: list[tuple[float, float, int]], parts: int, cpus: int, gpus: int
) -> None:
    pools = tuple(pool(*numbers) for numbers in wanted)
    fitted = fit_pools(pools, parts, cpus, gpus)
    actors = [(p.num_cpus, p.num_gpus) for p in fitted for _ in range(min(p.min_actors, parts))]
    assert sum(share for share, _ in actors) <= cpus + 1e-6
    assert sum(share for _, share in actors) <= gpus + 1e-6
    for old, new in zip(pools, fitted, strict=True):
        assert 0 < new.num_cpus <= old.num_cpus
        assert new.num_gpus <= old.num_gpus
        assert (new.num_gpus > 0) == (old.num_gpus > 0 and gpus > 0)


def test_a_share_above_one_gpu_is_whole() -> None:
    with pytest.raises(ValueError, match=r"num_gpus 1\.5 is neither a share"):
        pool(1, 1.5)
