"""Mask augmentation (VIVID-10M, mask augmentation): six variants of every mask, random once per track.

A variant is a few stored numbers, never a stored mask: `apply_variant` rebuilds the mask of any single frame from them,
so the training loader makes masks while it reads. Growth is a fraction of the object's box in that frame, so a variant
follows the object as it moves and changes size, yet keeps its character over time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypedDict

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, Field

from manifests.ids import VARIANT_CODES, draw_uniform
from manifests.masks import Mask, MaskTrack
from stages.morphology import Growth, PixelBox, convex_hull, grow, tight_box

OPERATOR_VERSION = 1
"""Raised whenever the same parameters would give other masks; stored parameters of another version are refused."""

_SIDES = ("left", "right", "top", "bottom")


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= interval[0] <= interval[1] <= 1:
        raise ValueError(f"an interval must be low, high with 0 ≤ low ≤ high ≤ 1, not {interval}")
    return interval


_Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]


class AugmentSettings(BaseModel, frozen=True, extra="forbid"):
    """How far variants grow, and which masks are dropped for their size."""

    expand_ratio: _Interval = Field(
        default=(0.1, 0.3),
        description="Interval of the growth per side of `expand`, as a fraction of the box side. Near 0 the variant "
        "repeats the original; far above 0.3 it loses the object's shape.",
    )
    hull_ratio: _Interval = Field(
        default=(0.05, 0.2),
        description="The same for `hull_expand`; smaller, because the hull is already larger than the object.",
    )
    box_ratio: _Interval = Field(
        default=(0.2, 0.5),
        description="The same for `box_expand`; larger, so that the model also meets loose hand-drawn boxes.",
    )
    side_weight: _Interval = Field(
        default=(0.25, 1.0),
        description="Interval of the four independent weights that share the ratio out to the sides. (1, 1) grows all "
        "sides alike, and the object always sits in the middle of its mask: the model would learn to rely on that.",
    )
    max_area_fraction: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="Largest share of the frame a mask may cover in any frame. Above it nothing is left to condition "
        "a local edit on.",
    )
    min_area_fraction: float = Field(
        default=0.004,
        ge=0,
        lt=1,
        description="Smallest mean share of the frame over the track. Below it the mask vanishes when it is resized to "
        "the latent grid (0.004 of 480×720 is about 37 px square, 5 latent cells).",
    )


class VariantParameters(TypedDict):
    """All that is needed to rebuild a variant; plain JSON.

    `op` is the variant's name; the growth of a side in pixels is `ratio` × the side's weight × the box side (width for
    left and right, height for top and bottom). Variants that do not grow have zeros.
    """

    op: str
    version: int
    ratio: float
    left: float
    right: float
    top: float
    bottom: float


def draw_variants(seed: int, track_id: str, settings: AugmentSettings) -> dict[str, VariantParameters]:
    """The six variants of a track in the order of `VARIANT_CODES`, each with its own draws from (seed, track, name)."""
    ratios = {
        "expand": settings.expand_ratio,
        "hull_expand": settings.hull_ratio,
        "box_expand": settings.box_ratio,
    }

    def parameters(name: str) -> VariantParameters:
        ratio, weights = 0.0, [0.0] * len(_SIDES)
        if name in ratios:
            # Four digits are finer than a pixel for any box below 10 000 pixels and keep the stored rows short.
            ratio = round(draw_uniform(seed, track_id, f"augment/{name}/ratio", *ratios[name]), 4)
            weights = [
                round(draw_uniform(seed, track_id, f"augment/{name}/{side}", *settings.side_weight), 4)
                for side in _SIDES
            ]
        left, right, top, bottom = weights
        return VariantParameters(
            op=name, version=OPERATOR_VERSION, ratio=ratio, left=left, right=right, top=top, bottom=bottom
        )

    return {name: parameters(name) for name in VARIANT_CODES}


def _check(parameters: VariantParameters) -> None:
    if parameters["op"] not in VARIANT_CODES:
        raise ValueError(f"unknown mask variant {parameters['op']!r}, known are {', '.join(VARIANT_CODES)}")
    if parameters["version"] != OPERATOR_VERSION:
        raise ValueError(
            f"mask variant of operator version {parameters['version']}, but this release rebuilds {OPERATOR_VERSION}"
        )
    for name in ("ratio", *_SIDES):
        value = float(parameters[name])  # type: ignore[literal-required]
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} of a mask variant must be a number ≥ 0, not {value}")


def _growth(box: PixelBox, frame: tuple[int, int], parameters: VariantParameters) -> Growth:
    """Pixels to grow on each side: the drawn fraction of the box side, at most half the gap to the frame's border."""
    x0, y0, x1, y1 = box
    height, width = frame
    across, down = parameters["ratio"] * (x1 - x0), parameters["ratio"] * (y1 - y0)
    return Growth(
        left=min(int(across * parameters["left"]), x0 // 2),
        top=min(int(down * parameters["top"]), y0 // 2),
        right=min(int(across * parameters["right"]), (width - x1) // 2),
        bottom=min(int(down * parameters["bottom"]), (height - y1) // 2),
    )


def _grown_box(box: PixelBox, growth: Growth) -> PixelBox:
    return box[0] - growth.left, box[1] - growth.top, box[2] + growth.right, box[3] + growth.bottom


def apply_variant(mask: Mask, parameters: VariantParameters) -> Mask:
    """One frame's mask (H, W) bool as the variant described by `parameters`; a new array of the same size.

    Every variant contains the mask; an empty mask stays empty. `hull_expand` is the convex hull of the grown mask, so
    it contains the hull. Growing by a convex oval at once is what several smaller dilations that add up to it would do.
    Raises ValueError for parameters this release cannot rebuild.
    """
    _check(parameters)
    op = parameters["op"]
    if op == "original":
        return mask.copy()
    box = tight_box(mask)
    if box is None:
        return mask.copy()
    growth = _growth(box, (mask.shape[0], mask.shape[1]), parameters)
    x0, y0, x1, y1 = _grown_box(box, growth)
    result = np.zeros(mask.shape, dtype=np.bool_)
    if op in ("box", "box_expand"):
        result[y0:y1, x0:x1] = True
        return result
    window = mask[box[1] : box[3], box[0] : box[2]]
    result[y0:y1, x0:x1] = grow(window, growth) if op == "expand" else convex_hull(window, growth)
    return result


def variant_of_frame(track: MaskTrack, frame: int, parameters: VariantParameters) -> Mask:
    """`apply_variant` on one frame of a track; box variants need no decoded mask."""
    _check(parameters)
    if parameters["op"] not in ("box", "box_expand"):
        return apply_variant(track.mask(frame), parameters)
    x0, y0, x1, y1 = track.take([frame]).boxes()[0].tolist()
    result = np.zeros(track.size, dtype=np.bool_)
    if x1 > x0:
        left, top, right, bottom = _grown_box((x0, y0, x1, y1), _growth((x0, y0, x1, y1), track.size, parameters))
        result[top:bottom, left:right] = True
    return result


def apply_variant_track(track: MaskTrack, parameters: VariantParameters) -> MaskTrack:
    """`apply_variant` on every frame of a track, one decoded mask at a time."""
    _check(parameters)
    if parameters["op"] == "original":
        return track
    return MaskTrack.from_masks(apply_variant(mask, parameters) for mask in track.masks())


def variant_areas(track: MaskTrack, variants: Mapping[str, VariantParameters]) -> dict[str, npt.NDArray[np.int64]]:
    """Pixels every variant covers in each frame, (frames,) per variant name, as `apply_variant` would give them.

    Meant for the size filter: original and box variants need no decoded mask, the others one decoding in all.
    """
    areas = {name: np.zeros(len(track), dtype=np.int64) for name in variants}
    drawn: dict[str, VariantParameters] = {}
    for name, parameters in variants.items():
        _check(parameters)
        if parameters["op"] == "original":
            areas[name] = track.areas()
        elif parameters["op"] in ("box", "box_expand"):
            areas[name] = _box_areas(track, parameters)
        else:
            drawn[name] = parameters
    if drawn:
        for frame, mask in enumerate(track.masks()):
            for name, parameters in drawn.items():
                areas[name][frame] = np.count_nonzero(apply_variant(mask, parameters))
    return areas


def _box_areas(track: MaskTrack, parameters: VariantParameters) -> npt.NDArray[np.int64]:
    areas = np.zeros(len(track), dtype=np.int64)
    for frame, (x0, y0, x1, y1) in enumerate(track.boxes().tolist()):
        if x1 > x0:
            box = (x0, y0, x1, y1)
            left, top, right, bottom = _grown_box(box, _growth(box, track.size, parameters))
            areas[frame] = (right - left) * (bottom - top)
    return areas


def size_reason(
    areas: npt.NDArray[np.int64], frame_area: int, settings: AugmentSettings
) -> tuple[str, float, float] | None:
    """Why a mask sequence is dropped for its size, as (reason, value, threshold), or None when it is kept.

    `areas` are pixels per frame, `frame_area` the pixels of a frame. ``mask_too_large``: the largest fraction of the
    frame over the track is above `max_area_fraction`; ``mask_too_small``: the mean fraction is below
    `min_area_fraction` (frames without the object count as 0).
    """
    if len(areas) == 0 or frame_area < 1:
        raise ValueError(f"a size needs frames and pixels, not {len(areas)} frames of {frame_area} pixels")
    largest = float(areas.max()) / frame_area
    if largest > settings.max_area_fraction:
        return "mask_too_large", largest, settings.max_area_fraction
    mean = float(areas.mean()) / frame_area
    if mean < settings.min_area_fraction:
        return "mask_too_small", mean, settings.min_area_fraction
    return None
