"""Keeping what was not to be edited: outside the mask the result is the original, to the bit."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask
from models.protocols import Image


def restore_unmasked(
    original: npt.NDArray[np.uint8], edited: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], feather_px: int = 0
) -> npt.NDArray[np.uint8]:
    """The edited frames inside the mask and the original frames outside it.

    The seam is blended inside the mask: the edit counts 1 / (feather_px + 1) on its outermost pixels and fully from
    `feather_px` pixels further in. The frame's border is no seam.

    Args:
        original: RGB frames (F, H, W, 3).
        edited: as many of the same size.
        mask: (F, H, W), true where the edit counts.
        feather_px: width of the blend, pixels; 0 for a hard seam. The original shows through the rim, so a mask that
            fits a thing closely wants none: else the thing's outline stays.

    Raises ValueError when the sizes differ or the width is negative.
    """
    if edited.shape != original.shape or mask.shape != original.shape[:3]:
        raise ValueError(
            f"an edit of {edited.shape} with a mask of {mask.shape} does not fit frames of {original.shape}"
        )
    if feather_px < 0:
        raise ValueError(f"a feather cannot be {feather_px} pixels wide")
    restored = original.copy()
    for frame, (before, after, region) in enumerate(zip(original, edited, mask, strict=True)):
        restored[frame] = _blend(before, after, region, feather_px)
    return restored


def _blend(before: Image, after: Image, region: Mask, feather_px: int) -> Image:
    weight = _edit_weight(region, feather_px)[..., None]
    blended = np.rint(before + weight * (after.astype(np.float32) - before)).astype(np.uint8)
    return np.where(region[..., None], blended, before)


def _edit_weight(region: Mask, feather_px: int) -> npt.NDArray[np.float32]:
    """Share of the edit per pixel (H, W) float32, 0 outside the mask."""
    if feather_px == 0 or region.all():
        return region.astype(np.float32)
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight: npt.NDArray[np.float32] = np.minimum(depth / np.float32(feather_px + 1), np.float32(1))
    return weight
