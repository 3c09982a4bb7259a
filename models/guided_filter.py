"""Edge-preserving smoothing of a soft mask, steered by a colour image (He et al., Guided Image Filtering, 2010).

In every small window the mask is fitted as a linear function of the image's colours, so that its edge snaps to the edge
of the image. The fit of a small image can be applied to a larger one: that is how a mask gains resolution (fast guided
filter, He and Sun, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""One channel, (height, width) float32."""


_CERTAIN = np.float32(0.45)
"""Distance from 0.5 beyond which a small soft mask needs no second opinion from the full-size image."""


class GuidedFilter:
    """The part of the filter that depends on the image alone; one image serves any number of masks.

    `guide` holds the image's three channels (3, H, W), values in [0, 1]; `radius` is half the window in pixels and
    `epsilon` the colour variance below which a window counts as flat (there the mask is just averaged).
    """

    def __init__(self, guide: npt.NDArray[np.float32], radius: int, epsilon: float) -> None:
        if guide.ndim != 3 or guide.shape[0] != 3:
            raise ValueError(f"a guide has the shape (3, height, width), not {guide.shape}")
        self._guide = np.ascontiguousarray(guide)
        self._window = (2 * radius + 1, 2 * radius + 1)
        self._mean = [self._average(channel) for channel in self._guide]
        self._inverse = self._inverse_covariance(epsilon)

    def _average(self, plane: Plane) -> Plane:
        return np.asarray(cv2.boxFilter(plane, -1, self._window, borderType=cv2.BORDER_REFLECT), np.float32)

    def _inverse_covariance(self, epsilon: float) -> list[list[Plane]]:
        """The inverse of each window's 3×3 colour covariance (+ epsilon on the diagonal), from its cofactors."""
        red, green, blue = self._guide
        mean_red, mean_green, mean_blue = self._mean
        rr = self._average(red * red) - mean_red * mean_red + np.float32(epsilon)
        rg = self._average(red * green) - mean_red * mean_green
        rb = self._average(red * blue) - mean_red * mean_blue
        gg = self._average(green * green) - mean_green * mean_green + np.float32(epsilon)
        gb = self._average(green * blue) - mean_green * mean_blue
        bb = self._average(blue * blue) - mean_blue * mean_blue + np.float32(epsilon)
        co_rr, co_rg, co_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
        scale = 1.0 / (rr * co_rr + rg * co_rg + rb * co_rb)
        inv_rr, inv_rg, inv_rb = co_rr * scale, co_rg * scale, co_rb * scale
        inv_gg, inv_gb, inv_bb = (rr * bb - rb * rb) * scale, (rg * rb - rr * gb) * scale, (rr * gg - rg * rg) * scale
        return [[inv_rr, inv_rg, inv_rb], [inv_rg, inv_gg, inv_gb], [inv_rb, inv_gb, inv_bb]]

    def fit(self, soft: Plane, window: tuple[slice, slice] | None = None) -> Plane:
        """The linear fit of a soft mask as four planes (4, h, w): a weight per channel, then the offset.

        `soft` covers `window` of the guide (rows, columns), or all of it.
        """
        here = window or (slice(None), slice(None))
        guide = [channel[here] for channel in self._guide]
        mean = [channel[here] for channel in self._mean]
        if soft.shape != guide[0].shape:
            raise ValueError(f"a mask of {soft.shape} does not fit a guide window of {guide[0].shape}")
        mean_soft = self._average(soft)
        covariance = [self._average(g * soft) - m * mean_soft for g, m in zip(guide, mean, strict=True)]
        planes = np.empty((4, *soft.shape), np.float32)
        offset = mean_soft
        for index, inverse in enumerate(self._inverse):
            weight = _sum_products([plane[here] for plane in inverse], covariance)
            offset = offset - weight * mean[index]
            planes[index] = self._average(weight)
        planes[3] = self._average(offset)
        return planes

    def apply(self, fit: Plane, window: tuple[slice, slice] | None = None) -> Plane:
        """A fit of `window` applied to the guide there: the smoothed mask, (h, w)."""
        here = window or (slice(None), slice(None))
        smoothed: Plane = _sum_products(list(fit[:3]), [channel[here] for channel in self._guide])
        smoothed += fit[3]
        return smoothed


def _sum_products(first: Sequence[Plane], second: Sequence[Plane]) -> Plane:
    """The sum over channels of the products of two lists of planes."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total += a * b
    return total


def enlarge_fit(
    fit: Plane, soft: Plane, image: npt.NDArray[np.uint8], origin: tuple[float, float], scale: tuple[float, float]
) -> Plane:
    """A soft mask at the resolution of `image`: the fit of its small copy, applied to the image itself.

    `fit` (4, h, w) and `soft` (h, w) are of the small copy; `image` (H, W, 3) uint8 is a crop of the full picture whose
    first pixel lies `origin` (x, y) full-size pixels right of and below the corner of the small crop; `scale` (x, y) is
    full size over small size. Where `soft` is certain it stands; elsewhere the image's own edges decide.
    """
    height, width = image.shape[:2]
    (left, top), (scale_x, scale_y) = origin, scale
    # Pixel centres lie at +0.5 in both grids.
    to_small = np.array(
        [[1 / scale_x, 0, (left + 0.5) / scale_x - 0.5], [0, 1 / scale_y, (top + 0.5) / scale_y - 0.5]], np.float64
    )

    def enlarge(plane: Plane) -> Plane:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        large = cv2.warpAffine(plane, to_small, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(large, np.float32)

    guide = [np.asarray(channel, np.float32) * np.float32(1 / 255) for channel in cv2.split(image)]
    refined = _sum_products([enlarge(weight) for weight in fit[:3]], guide) + enlarge(fit[3])
    large_soft = enlarge(soft)
    return np.where(np.abs(large_soft - np.float32(0.5)) < _CERTAIN, refined, large_soft)
