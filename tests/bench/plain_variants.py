"""The mask variants as their definition reads, with scipy: slow and plainly right."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal, spatial

from manifests.masks import Mask
from stages.augment import VariantParameters

Box = tuple[int, int, int, int]
Sides = tuple[int, int, int, int]
"""Growth in pixels: left, top, right, bottom."""

ON_THE_EDGE = 1e-7
"""A pixel centre this far outside an edge of the hull lies on it."""


def plain_variant(mask: Mask, parameters: VariantParameters, *, by_fourier: bool = False) -> Mask:
    """What `stages.augment.apply_variant` has to return; works on the crop that holds the result, as that does.

    `by_fourier` dilates by convolution instead of `binary_dilation`: the fastest exact way of scipy's.
    """
    kind = parameters["op"]
    (rows, columns), *_ = ndimage.find_objects(mask.view(np.uint8))
    box = (columns.start, rows.start, columns.stop, rows.stop)
    sides = _growth(box, mask.shape, parameters)
    window = (
        slice(box[1] - sides[1], box[3] + sides[3]),
        slice(box[0] - sides[0], box[2] + sides[2]),
    )
    result = np.zeros_like(mask)
    crop = mask[window]
    if kind in ("box", "box_expand"):
        result[window] = True
    elif kind == "original":
        result[window] = crop
    elif kind == "hull":
        result[window] = _hull(crop)
    else:
        grown = _dilate_by_fourier(crop, sides) if by_fourier else _dilate(crop, sides)
        result[window] = _hull(grown) if kind == "hull_expand" else grown
    return result


def _growth(box: Box, frame: tuple[int, ...], parameters: VariantParameters) -> Sides:
    across, down = parameters["ratio"] * (box[2] - box[0]), parameters["ratio"] * (box[3] - box[1])
    return (
        min(int(across * parameters["left"]), box[0] // 2),
        min(int(down * parameters["top"]), box[1] // 2),
        min(int(across * parameters["right"]), (frame[1] - box[2]) // 2),
        min(int(down * parameters["bottom"]), (frame[0] - box[3]) // 2),
    )


def _oval(sides: Sides) -> Mask:
    """The structuring element, its origin in the middle: four quarters of ellipses with the sides as half axes."""
    left, top, right, bottom = sides
    widest, highest = max(left, right), max(top, bottom)
    y, x = np.ogrid[-highest : highest + 1, -widest : widest + 1]
    across, along = np.where(x < 0, left, right), np.where(y < 0, top, bottom)
    inside = x**2 * along**2 + y**2 * across**2 <= across**2 * along**2
    return np.asarray(inside & (abs(x) <= across) & (abs(y) <= along), dtype=np.bool_)


def _dilate(mask: Mask, sides: Sides) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, structure=_oval(sides)), dtype=np.bool_)


def _dilate_by_fourier(mask: Mask, sides: Sides) -> Mask:
    hits = signal.fftconvolve(mask.astype(np.float64), _oval(sides).astype(np.float64), mode="same")
    return np.asarray(hits > 0.5, dtype=np.bool_)


def _hull(mask: Mask) -> Mask:
    border = mask & ~ndimage.binary_erosion(mask)
    edges = spatial.ConvexHull(np.argwhere(border)).equations
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    inside = np.ones_like(mask)
    for down, across, offset in edges:
        inside &= down * y + across * x + offset <= ON_THE_EDGE
    return inside
