"""The mask variants against the same in plain scipy: equal, and how much faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bench.figures import Figure, Report, Table
from bench.plain_variants import plain_variant
from manifests.masks import Mask
from stages.augment import AugmentSettings, apply_variant, draw_variants


def seconds_of(work: Callable[[], Mask], repetitions: int) -> tuple[float, Mask]:
    """Median processor time of some work, and its result."""
    spent = []
    for _ in range(repetitions):
        start = time.process_time()
        result = work()
        spent.append(time.process_time() - start)
    return statistics.median(spent), result


def measure_variants(masks: Sequence[Mask], repetitions: int) -> Report:
    """Seconds of every variant, ours and scipy's, over `masks` (H, W) bool. AssertionError when results differ."""
    ours: dict[str, float] = {}
    plain: dict[str, float] = {}
    fourier: dict[str, float] = {}
    for number, mask in enumerate(masks):
        for kind, parameters in draw_variants(0, f"track-{number}", AugmentSettings()).items():
            cost, result = seconds_of(partial(apply_variant, mask, parameters), repetitions)
            plain_cost, expected = seconds_of(partial(plain_variant, mask, parameters), 1)
            fast_cost, again = seconds_of(partial(plain_variant, mask, parameters, by_fourier=True), 1)
            assert np.array_equal(result, expected), f"{kind} of mask {number} differs from scipy's"
            assert np.array_equal(result, again), f"{kind} of mask {number} differs from the convolution's"
            ours[kind] = ours.get(kind, 0.0) + cost
            plain[kind] = plain.get(kind, 0.0) + plain_cost
            fourier[kind] = fourier.get(kind, 0.0) + fast_cost
    ratio = sum(plain.values()) / sum(ours.values())
    size = f"{masks[0].shape[1]}×{masks[0].shape[0]}"
    note = f"all six variants of {len(masks)} masks of {size}, every pixel equal; scipy works on the same crop as ours"
    rows: list[tuple[str | float, ...]] = [
        (kind, *(1000 * spent[kind] / len(masks) for spent in (ours, plain, fourier)), plain[kind] / ours[kind])
        for kind in ours
    ]
    columns = ("variant", "ours, ms", "scipy, ms", "scipy with FFT dilation, ms", "scipy ÷ ours")
    return Report(
        [Figure("mask variants against scipy.ndimage", ratio, "at least", 10, note)],
        [Table("Mask variants per 720p mask, processor time", columns, rows)],
    )
