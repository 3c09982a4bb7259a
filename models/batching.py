"""Batches that shrink when the GPU's memory is too small for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Runs work on a few items at a time. A size that was too big is halved, and what fits is kept for later calls.

    Items may not depend on each other, but the last bits of a float do depend on the size: libraries choose other
    kernels. So results are equal run by run for one size on one device, and between sizes as far as float32 goes.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a batch holds at least one item, not {size}")
        self.size = size

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
        """The results of `work` over slices of at most `size` items, in order: one result per item.

        Out of memory at a size above 1 halves the size and repeats the slice; at 1 torch.OutOfMemoryError rises.
        """
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            done = self._attempt(batch, work)
            if done is None:
                # Outside the except block: there the error's traceback would still hold the tensors of the attempt.
                torch.cuda.empty_cache()
                self.size = len(batch) // 2
            else:
                results.extend(done)
        return results

    def _attempt(
        self, batch: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result] | None:
        """The results of one slice, None when it must be made smaller."""
        try:
            done = work(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            return None
        if len(done) != len(batch):
            raise ValueError(f"the work gave {len(done)} results for {len(batch)} items")
        return done
