"""Placing a donor's mask inside a background region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from manifests.masks import Mask, iou
from stages.morphology import tight_box
from stages.paste import PasteSettings, Placement, apply_placement, place

SETTINGS = PasteSettings()


def figure(height: int = 120, width: int = 160) -> Mask:
    """An L: off-centre, not convex, 2300 pixels of 120 × 160."""
    mask = np.zeros((height, width), np.bool_)
    mask[20:80, 90:110] = True
    mask[60:80, 55:110] = True
    return mask


def background(height: int = 240, width: int = 400) -> Mask:
    """A wide band with a slanted upper edge and a hole."""
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [np.array([[0, 60], [399, 20], [399, 239], [0, 239]], np.int32)], 1)
    region[120:180, 180:230] = 0
    return region.astype(np.bool_)


@pytest.mark.parametrize("search_side", [16, 160])
def test_placements_lie_inside_and_keep_their_bounds(search_side: int) -> None:
    """At 16 pixels the search itself is wrong about many places; the check at full resolution must sort them out."""
    donor, region = figure(), background()
    limits = PasteSettings(min_area=0.02, max_area=0.06, search_side=search_side)
    for n in range(40):
        placement = place(donor, region, 3, f"clip-{n}", limits)
        assert placement is not None
        pasted = apply_placement(donor, placement, (240, 400))
        assert (pasted & region).sum() / pasted.sum() == placement.inside >= limits.min_inside
        assert limits.min_area <= pasted.sum() / pasted.size <= limits.max_area
        # Nothing is cut: the same placement on a larger frame has the same area.
        assert apply_placement(donor, placement, (600, 900)).sum() == pasted.sum()


def test_placements_are_repeatable_and_varied() -> None:
    donor, region = figure(), background()
    placements = [place(donor, region, 3, f"clip-{n}", SETTINGS) for n in range(60)]
    assert placements == [place(donor, region, 3, f"clip-{n}", SETTINGS) for n in range(60)]
    assert placements != [place(donor, region, 4, f"clip-{n}", SETTINGS) for n in range(60)]
    found = [placement for placement in placements if placement]
    assert len(found) == 60
    boxes = np.array([tight_box(apply_placement(donor, placement, (240, 400))) for placement in found])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.ptp(centres[:, 0]) > 250
    assert np.ptp(centres[:, 1]) > 60
    assert max(p.scale for p in found) > 1.5 * min(p.scale for p in found)
    # Corners are not bound to the reduced frame's grid (2.5 pixels).
    assert len({(x0 * 2) % 5 for x0 in boxes[:, 0]}) == 5


def test_places_are_uniform_over_the_feasible_ones() -> None:
    donor = np.zeros((100, 100), np.bool_)
    donor[40:60, 40:60] = True
    region = np.zeros((100, 200), np.bool_)
    region[:, :60] = True
    region[:, 140:] = True
    limits = PasteSettings(min_area=0.019, max_area=0.021, min_inside=1.0)
    placements = [place(donor, region, 0, str(n), limits) for n in range(300)]
    corners = np.array([p.dx + p.scale * 40 for p in placements if p])
    assert len(corners) == 300
    assert all(p.inside == 1 for p in placements if p)
    left = corners[corners < 100]
    assert 110 < len(left) < 190
    # 0 … 40 are the corners that fit on the left: a uniform draw has this mean and spread.
    assert abs(left.mean() - 20) < 4
    assert abs(left.std() - 41 / 12**0.5) < 2.5


def test_the_only_place_is_found() -> None:
    donor = figure()
    region = np.zeros((240, 400), np.bool_)
    region |= apply_placement(donor, Placement(210, 130, 1.2, 1), (240, 400))
    region = cv2.dilate(region.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    # Nearly all scales are too large: the last trial is the smallest one.
    limits = PasteSettings(min_area=0.0325, max_area=0.2, trials=2)
    found = [p for p in (place(donor, region, 0, str(n), limits) for n in range(10)) if p]
    assert len(found) == 10
    for placement in found:
        assert abs(placement.dx + placement.scale * 80 - (210 + 1.2 * 80)) < 8


@pytest.mark.parametrize(
    ("donor", "region"),
    [
        (np.zeros((50, 50), np.bool_), np.ones((50, 50), np.bool_)),
        (figure(), np.zeros((50, 50), np.bool_)),
        # A checkerboard: half of any mask lies outside.
        (figure(), (np.indices((240, 400)).sum(axis=0) // 8 % 2).astype(np.bool_)),
        # A strip that is narrower than the smallest mask.
        (figure(), np.arange(240)[:, None].repeat(400, axis=1) < 8),
        # 1 % of the frame would need a magnification far above the largest scale.
        (np.pad(np.ones((2, 2), np.bool_), 200), np.ones((400, 400), np.bool_)),
    ],
)
def test_none_when_nothing_fits(donor: Mask, region: Mask) -> None:
    assert place(donor, region, 0, "clip", SETTINGS) is None


def test_scale_bounds_count_after_frames_are_normalised() -> None:
    """The same picture as a donor of another size gives the same range of pasted sizes."""
    small, region = figure(), np.ones((240, 320), np.bool_)
    large = np.kron(small, np.ones((4, 4), np.bool_))
    limits = PasteSettings(min_scale=0.9, max_scale=1.1, min_area=0.001, max_area=0.9)
    for donor, factor in ((small, 2.0), (large, 0.5)):
        scales = [p.scale for p in (place(donor, region, 0, str(n), limits) for n in range(30)) if p]
        assert len(scales) == 30
        assert 0.9 * factor <= min(scales) < 0.97 * factor
        assert 1.03 * factor < max(scales) <= 1.1 * factor


def test_whole_pixel_shifts_are_exact_copies() -> None:
    donor = figure()
    noisy = donor & (np.random.default_rng(0).random(donor.shape) < 0.5)
    pasted = apply_placement(noisy, Placement(-60, 15, 1.0, 1.0), (130, 90))
    expected = np.zeros((130, 90), np.bool_)
    expected[15:, :90] = noisy[:115, 60:150]
    np.testing.assert_array_equal(pasted, expected)


@pytest.mark.parametrize("scale", [0.37, 0.5, 0.8, 1.3, 2.0, 2.7])
def test_scaled_masks_match_the_shape_drawn_at_that_scale(scale: float) -> None:
    def disc(height: int, width: int, x: float, y: float, radius: float) -> Mask:
        rows, columns = np.mgrid[:height, :width]
        inside: Mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
        return inside

    pasted = apply_placement(disc(200, 200, 90, 110, 60), Placement(12, -7, scale, 1), (600, 600))
    expected = disc(600, 600, 90 * scale + 12, 110 * scale - 7, 60 * scale)
    assert iou(pasted, expected) > 1 - 1.5 / (60 * scale)
    assert abs(pasted.sum() / expected.sum() - 1) < 0.0025


def test_detail_too_fine_for_the_target_is_decided_by_majority() -> None:
    columns = np.arange(240)[None].repeat(240, axis=0)
    for stripes, covered in ((columns % 3 == 0, False), (columns % 3 != 0, True)):
        pasted = apply_placement(stripes, Placement(0, 0, 0.23, 1), (56, 56))
        assert (pasted[5:50, 5:50] == covered).all()


def test_a_mask_outside_the_frame_or_empty_is_empty() -> None:
    donor = figure()
    assert not apply_placement(donor, Placement(-500, 0, 1.5, 1), (100, 100)).any()
    assert not apply_placement(np.zeros_like(donor), Placement(0, 0, 1.5, 1), (100, 100)).any()
    with pytest.raises(ValueError, match="scale must be a positive number, not 0"):
        apply_placement(donor, Placement(0, 0, 0, 1), (100, 100))


def test_contradicting_bounds_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_area 0.3 is above max_area 0.2"):
        PasteSettings(min_area=0.3, max_area=0.2)
    with pytest.raises(ValidationError, match=r"min_scale 3.0 is above max_scale 2.0"):
        PasteSettings(min_scale=3)
