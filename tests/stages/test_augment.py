"""Mask variants: what must hold for every mask, against slow exact references."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scipy import ndimage

from manifests.ids import VARIANT_CODES
from manifests.masks import Mask, MaskTrack
from stages.augment import (
    AugmentSettings,
    VariantParameters,
    apply_variant,
    apply_variant_track,
    draw_variants,
    size_reason,
    variant_areas,
    variant_of_frame,
)
from stages.morphology import Growth, convex_hull, grow, tight_box

SETTINGS = AugmentSettings()

fractions = st.floats(0, 1, allow_nan=False)
sides = st.integers(0, 7)
growths = st.builds(Growth, sides, sides, sides, sides)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """A few blobs on an odd-sized frame, or noise; possibly touching the border, possibly empty."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 70))
    if draw(st.booleans()):
        return draw(hnp.arrays(np.bool_, (min(height, 12), min(width, 12))))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        centre = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        axes = draw(st.integers(0, 12)), draw(st.integers(0, 12))
        cv2.ellipse(mask, centre, axes, draw(st.integers(0, 180)), 0, 360, 1, -1)
    return mask.astype(np.bool_)


def parameters_of(op: str, ratio: float, weights: tuple[float, float, float, float]) -> VariantParameters:
    left, right, top, bottom = weights
    return VariantParameters(op=op, version=1, ratio=ratio, left=left, right=right, top=top, bottom=bottom)


def grow_by_definition(mask: Mask, growth: Growth) -> Mask:
    """Dilation by the oval written out pixel by pixel, with scipy."""
    left, top, right, bottom = astuple(growth)
    reach = max(left, top, right, bottom)
    oval = np.zeros((2 * reach + 1, 2 * reach + 1), np.bool_)
    for dy in range(-top, bottom + 1):
        for dx in range(-left, right + 1):
            across, along = (right if dx > 0 else left), (bottom if dy > 0 else top)
            # (dx / across)² + (dy / along)² ≤ 1 in integers.
            oval[dy + reach, dx + reach] = dx**2 * max(along, 1) ** 2 + dy**2 * max(across, 1) ** 2 <= (
                max(along, 1) ** 2 * max(across, 1) ** 2
            )
    grown: Mask = ndimage.binary_dilation(np.pad(mask, ((top, bottom), (left, right))), oval)
    return grown


def hull_by_definition(mask: Mask) -> Mask:
    """Pixels that no line between two mask pixels separates from all the others, in integers."""
    points = np.argwhere(mask)[:, ::-1].astype(np.int64)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    inside = np.ones(mask.shape, np.bool_)
    for x0, y0 in points:
        for x1, y1 in points:
            dx, dy = x1 - x0, y1 - y0
            if (dx * (points[:, 1] - y0) - dy * (points[:, 0] - x0) >= 0).all():
                inside &= dx * (rows - y0) - dy * (columns - x0) >= 0
    box = tight_box(mask)
    assert box is not None
    x0, y0, x1, y1 = box
    # Points on one line leave the whole line inside; the box cuts it to the segment.
    inside &= (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    return inside


@settings(max_examples=150)
@given(masks(), growths)
def test_growing_is_dilation_by_the_oval(mask: Mask, growth: Growth) -> None:
    np.testing.assert_array_equal(grow(mask, growth), grow_by_definition(mask, growth))


def test_growing_is_dilation_by_the_oval_across_strips(shared_data: Path) -> None:
    image = cv2.imread(str(shared_data / "davis/Annotations/horsejump-high/00010.png"), cv2.IMREAD_GRAYSCALE)
    mask = np.asarray(image)[::2, ::2] > 0
    growth = Growth(left=19, top=8, right=3, bottom=26)
    np.testing.assert_array_equal(grow(mask, growth), grow_by_definition(mask, growth))


@settings(max_examples=80)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_hull_is_every_pixel_in_the_convex_hull(mask: Mask) -> None:
    np.testing.assert_array_equal(convex_hull(mask), hull_by_definition(mask))


@settings(max_examples=150)
@given(masks(), growths)
def test_hull_of_the_grown_mask_needs_no_growing(mask: Mask, growth: Growth) -> None:
    np.testing.assert_array_equal(convex_hull(mask, growth), convex_hull(grow(mask, growth)))


@settings(max_examples=200)
@given(masks(), fractions, st.tuples(fractions, fractions, fractions, fractions))
def test_what_holds_for_every_mask(mask: Mask, ratio: float, weights: tuple[float, float, float, float]) -> None:
    given_mask = mask.copy()
    made = {op: apply_variant(mask, parameters_of(op, ratio if "expand" in op else 0, weights)) for op in VARIANT_CODES}

    np.testing.assert_array_equal(mask, given_mask)
    np.testing.assert_array_equal(made["original"], mask)
    for variant in made.values():
        assert variant.dtype == np.bool_
        assert variant.shape == mask.shape
        assert variant[mask].all()
    box = tight_box(mask)
    if box is None:
        assert not any(variant.any() for variant in made.values())
        return
    x0, y0, x1, y1 = box
    height, width = mask.shape
    assert tight_box(made["box"]) == box
    assert made["box"].sum() == (x1 - x0) * (y1 - y0)
    for inner, outer in (("hull", "box"), ("hull", "hull_expand"), ("box", "box_expand"), ("expand", "hull_expand")):
        assert made[outer][made[inner]].all()
    for op in ("hull", "hull_expand"):
        np.testing.assert_array_equal(convex_hull(made[op]), made[op])
    grown = (
        x0 - min(int(ratio * (x1 - x0) * weights[0]), x0 // 2),
        y0 - min(int(ratio * (y1 - y0) * weights[2]), y0 // 2),
        x1 + min(int(ratio * (x1 - x0) * weights[1]), (width - x1) // 2),
        y1 + min(int(ratio * (y1 - y0) * weights[3]), (height - y1) // 2),
    )
    for op in ("expand", "hull_expand", "box_expand"):
        assert tight_box(made[op]) == grown


@settings(max_examples=100)
@given(masks(), fractions, st.tuples(fractions, fractions, fractions, fractions))
def test_a_variant_of_a_stored_frame_is_that_of_its_mask(
    mask: Mask, ratio: float, weights: tuple[float, float, float, float]
) -> None:
    track = MaskTrack.from_masks([np.zeros_like(mask), mask])
    for op in VARIANT_CODES:
        parameters = parameters_of(op, ratio, weights)
        np.testing.assert_array_equal(variant_of_frame(track, 1, parameters), apply_variant(mask, parameters))
        assert not variant_of_frame(track, 0, parameters).any()


@pytest.mark.parametrize("density", [0.0005, 0.01, 0.5])
@pytest.mark.parametrize("growth", [Growth(45, 12, 3, 31), Growth(0, 40, 40, 0)])
def test_far_growing_of_noise_is_dilation_by_the_oval(density: float, growth: Growth) -> None:
    noise = np.random.default_rng(0).random((70, 90)) < density
    np.testing.assert_array_equal(grow(noise, growth), grow_by_definition(noise, growth))


def test_draws_are_made_once_per_track_and_differ_between_tracks() -> None:
    first = draw_variants(7, "0123456789abcdef-00", SETTINGS)
    assert list(first) == list(VARIANT_CODES)
    assert first == draw_variants(7, "0123456789abcdef-00", SETTINGS)
    others = [draw_variants(7, f"0123456789abcdef-{n:02d}", SETTINGS) for n in range(1, 60)]
    for op, interval in (
        ("expand", SETTINGS.expand_ratio),
        ("hull_expand", SETTINGS.hull_ratio),
        ("box_expand", SETTINGS.box_ratio),
    ):
        ratios = [drawn[op]["ratio"] for drawn in others]
        assert len(set(ratios)) > 50
        assert interval[0] <= min(ratios) < np.mean(interval) < max(ratios) <= interval[1]
        assert len({first[op][side] for side in ("left", "right", "top", "bottom")}) == 4
    assert first != draw_variants(8, "0123456789abcdef-00", SETTINGS)


def test_stored_json_rebuilds_the_same_bytes_frame_by_frame(shared_data: Path) -> None:
    paths = sorted((shared_data / "davis/Annotations/camel").glob("*.png"))[:40:13]
    track = MaskTrack.from_masks(np.asarray(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)) > 0 for p in paths)
    variants = draw_variants(1, "camel", SETTINGS)
    stored = json.loads(json.dumps(variants))
    areas = variant_areas(track, variants)
    for name in variants:
        made = apply_variant_track(track, variants[name])
        assert made.to_bytes() == apply_variant_track(track, stored[name]).to_bytes()
        np.testing.assert_array_equal(made.mask(2), apply_variant(track.mask(2), stored[name]))
        np.testing.assert_array_equal(areas[name], made.areas())
        if name != "original":
            assert (made.areas() > track.areas()).all()


def test_growth_follows_the_object_size() -> None:
    mask = np.zeros((400, 400), np.bool_)
    parameters = parameters_of("box_expand", 0.25, (1, 0.5, 0, 1))
    for side in (20, 60, 100):
        mask[150 : 150 + side, 150 : 150 + side] = True
        assert tight_box(apply_variant(mask, parameters)) == (
            150 - side // 4,
            150,
            150 + side + int(side / 8),
            150 + side + side // 4,
        )


def test_areas_of_a_track_with_empty_frames() -> None:
    mask = np.zeros((30, 40), np.bool_)
    mask[5:12, 6:20] = True
    track = MaskTrack.from_masks([mask, np.zeros_like(mask), mask])
    for areas in variant_areas(track, draw_variants(0, "t", SETTINGS)).values():
        assert areas[1] == 0
        assert areas[0] == areas[2] >= 98


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"op": "round"}, "unknown mask variant 'round'"),
        ({"version": 2}, "operator version 2"),
        ({"left": -0.1}, "left of a mask variant must be a number ≥ 0, not -0.1"),
        ({"ratio": float("nan")}, "ratio of a mask variant must be a number ≥ 0, not nan"),
    ],
)
def test_parameters_that_cannot_be_rebuilt_are_refused(changed: dict[str, object], message: str) -> None:
    parameters = {**parameters_of("expand", 0.2, (1, 1, 1, 1)), **changed}
    with pytest.raises(ValueError, match=message):
        apply_variant(np.ones((3, 3), np.bool_), parameters)  # type: ignore[arg-type]


def test_size_filter_names_reason_value_and_threshold() -> None:
    limits = AugmentSettings(max_area_fraction=0.5, min_area_fraction=0.1)
    assert size_reason(np.array([20, 50]), 100, limits) is None
    assert size_reason(np.array([20, 51]), 100, limits) == ("mask_too_large", 0.51, 0.5)
    assert size_reason(np.array([18, 0]), 100, limits) == ("mask_too_small", 0.09, 0.1)
    assert size_reason(np.array([20, 0]), 100, limits) is None
    with pytest.raises(ValueError, match="0 frames"):
        size_reason(np.array([], np.int64), 100, limits)


def test_intervals_must_be_ordered_fractions() -> None:
    for interval in ((0.3, 0.1), (-0.1, 0.2), (0.5, 1.5)):
        with pytest.raises(ValidationError, match="low ≤ high"):
            AugmentSettings(box_ratio=interval)
