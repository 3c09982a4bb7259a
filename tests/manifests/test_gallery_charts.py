"""Distributions on the contact sheet."""

from __future__ import annotations

import re

import pytest

from manifests.gallery_charts import distributions


def values(counts: list[int], largest: float) -> dict[str, object]:
    """A histogram of `manifests.statistics` with these counts."""
    if not sum(counts):
        return {"count": 0, "mean": None, "p05": None, "p50": None, "p95": None, "max": None, "counts": counts}
    middle = {"mean": 0.5, "p05": 0.1, "p50": 0.5, "p95": 0.9}
    return {"count": sum(counts), **middle, "max": largest, "counts": counts, "edges": list(range(len(counts) + 1))}


def charts(**given: dict[str, object]) -> str:
    groups = (
        "caption_words",
        "mask_area",
        "variant_area",
        "motion",
        "stability",
        "paste_scale",
        "paste_position",
    )
    grid = {"columns": 2, "rows": 1, "counts": [[6, 3]]}
    return distributions({group: {"x": given.get(group, values([0], 0))} for group in groups} | {"paste_grid": grid})


def test_charts_without_values_are_left_out():
    markup = charts(stability=values([6, 2], 7.0))
    assert markup.count("<h3>") == 1
    heights = [float(height) for height in re.findall(r"<rect[^>]* height=\"([\d.]+)\"", markup)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)


def test_bars_that_hold_more_than_the_scale_says_are_explained():
    assert "The last bar also holds what lies beyond the scale, up to 7." in charts(motion=values([6, 2], 7.0))
    assert "beyond the scale" not in charts(motion=values([6, 2], 1.5))


def test_a_few_values_make_no_histogram():
    few, enough = charts(paste_position=values([3, 1], 1.5)), charts(paste_position=values([3, 2], 1.5))
    assert "too few for a histogram" in few
    assert "<svg" not in few
    assert "too few for a histogram" not in enough
    assert "Map of the frame" in enough
    assert "the most of all cells, 6." in enough
