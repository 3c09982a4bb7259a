from __future__ import annotations

import numpy as np
import pytest

from train.permutation import permuted


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 64, 1000])
def test_every_element_comes_once(count: int) -> None:
    assert sorted(permuted(place, count, 3, "a") for place in range(count)) == list(range(count))


def test_orders_differ_by_seed_and_name_and_look_random() -> None:
    orders = [[permuted(i, 500, seed, name) for i in range(500)] for seed, name in ((1, "a"), (2, "a"), (1, "b"))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    for order in orders:
        assert abs(np.corrcoef(order, range(500))[0, 1]) < 0.15
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.15


def test_large_counts_need_no_memory() -> None:
    places = [permuted(place, 10**9 + 7, 0, "a") for place in (0, 1, 10**9)]
    assert len(set(places)) == 3
    assert all(0 <= place < 10**9 + 7 for place in places)


@pytest.mark.parametrize("place", [-1, 5])
def test_places_outside_are_refused(place: int) -> None:
    with pytest.raises(ValueError, match=f"no place {place} among 5"):
        permuted(place, 5, 0, "a")
