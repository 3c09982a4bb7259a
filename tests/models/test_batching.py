"""Batches shrink when memory is short, and lose nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

torch = pytest.importorskip("torch")

from models.batching import Batches


def squares(largest: int, seen: list[int]):
    """Work that squares numbers and runs out of memory above `largest` of them."""

    def work(batch: Sequence[int]) -> list[int]:
        seen.append(len(batch))
        if len(batch) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [number * number for number in batch]

    return work


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_every_item_gets_its_result_in_order(size: int) -> None:
    seen: list[int] = []
    assert Batches(size).run(range(8), squares(100, seen)) == [n * n for n in range(8)]
    assert max(seen) == min(size, 8)
    assert sum(seen) == 8


def test_the_size_that_worked_is_kept() -> None:
    seen: list[int] = []
    batches = Batches(8)
    assert batches.run(range(8), squares(3, seen)) == [n * n for n in range(8)]
    assert seen == [8, 4, 2, 2, 2, 2]
    assert batches.size == 2
    seen.clear()
    batches.run(range(4), squares(3, seen))
    assert seen == [2, 2]


def test_a_short_batch_that_does_not_fit_sets_the_size() -> None:
    seen: list[int] = []
    batches = Batches(64)
    assert batches.run(range(6), squares(3, seen)) == [n * n for n in range(6)]
    assert seen == [6, 3, 3]


def test_one_item_that_does_not_fit_raises() -> None:
    seen: list[int] = []
    with pytest.raises(torch.OutOfMemoryError):
        Batches(4).run(range(4), squares(0, seen))
    assert seen == [4, 2, 1]


def test_other_errors_are_not_hidden() -> None:
    def broken(batch: Sequence[int]) -> list[int]:
        raise RuntimeError("a fault of the model")

    with pytest.raises(RuntimeError, match="a fault of the model"):
        Batches(4).run(range(4), broken)


def test_no_items_ask_for_no_work() -> None:
    assert Batches(4).run([], squares(0, [])) == []


def test_wrong_counts_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 results for 2 items"):
        Batches(2).run([1, 2], lambda batch: batch[:1])
    with pytest.raises(ValueError, match="at least one item, not 0"):
        Batches(0)
