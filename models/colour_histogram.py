"""How much more often a colour occurs in an object than around it: smoothed three-dimensional Lab histograms."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.protocols import Image

Bins = npt.NDArray[np.int32]
"""The number of each pixel's histogram cell, (height, width)."""
Histogram = npt.NDArray[np.float32]
"""Share of the weight in each cell, flat, sums to 1."""

_FLOOR = np.float32(1e-6)
"""Added to both shares before their ratio is taken: a colour seen nowhere says nothing."""


class ColourHistogramSettings(BaseModel, frozen=True, extra="forbid"):
    """The colour model of one object."""

    cells: int = Field(
        default=20, ge=4, le=64, description="Cells per Lab axis; fewer mix colours up, more leave most of them unseen."
    )
    chroma_stretch: float = Field(
        default=2.2,
        ge=1,
        le=8,
        description="Widening of the a and b axes: natural colours use less than half of their range.",
    )
    smoothing: float = Field(
        default=1.0,
        gt=0,
        le=4,
        description="Gaussian over the cells (cells): without it noise decides at cell borders.",
    )
    limit: float = Field(
        default=4.0, gt=0, description="Largest log ratio a colour may give, so that no cell rules alone."
    )
    first_share: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Share of the first frame's histogram; the rest is the running one. 0 drifts.",
    )
    learning_rate: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of each new frame in the running histogram; 0 ignores changes of light.",
    )


def colour_bins(image: Image, settings: ColourHistogramSettings) -> Bins:
    """The histogram cell of every pixel of an RGB image."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    levels = np.arange(256, dtype=np.float32)
    stretched = np.clip((levels - 128) * settings.chroma_stretch + 128, 0, 255)
    lightness, chroma = (
        np.minimum(axis * (settings.cells / 256), settings.cells - 1).astype(np.int32) for axis in (levels, stretched)
    )
    # Table look-ups: 256 values per axis instead of arithmetic on every pixel.
    cells = settings.cells
    bins = (lightness * (cells * cells))[lab[..., 0]]
    bins += (chroma * cells)[lab[..., 1]]
    bins += chroma[lab[..., 2]]
    return np.asarray(bins, np.int32)


def count(bins: Bins, weights: npt.NDArray[np.float32] | None, settings: ColourHistogramSettings) -> Histogram:
    """Weight per cell, not smoothed and not normalised; every pixel weighs 1 without `weights`."""
    flat = None if weights is None else weights.ravel()
    return np.bincount(bins.ravel(), flat, settings.cells**3).astype(np.float32)


def smooth(counts: Histogram, settings: ColourHistogramSettings) -> Histogram:
    """Counts blurred over neighbouring cells in all three axes and scaled to sum 1."""
    cells = settings.cells
    kernel = cv2.getGaussianKernel(2 * int(4 * settings.smoothing + 0.5) + 1, settings.smoothing, cv2.CV_32F)
    cube: npt.NDArray[np.float32] = counts.reshape(cells, cells, cells)
    for _ in range(3):
        rows = np.ascontiguousarray(cube.reshape(cells, cells * cells))
        blurred = np.asarray(cv2.filter2D(rows, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
        # The next axis comes to the front; after three turns the cube stands as it was.
        cube = blurred.reshape(cells, cells, cells).transpose(1, 2, 0)
    total = float(cube.sum())
    return np.ascontiguousarray(cube, np.float32).ravel() / np.float32(total + 1e-9)


class ColourModel:
    """Object and surroundings of one track: a fixed first histogram of each, and a running one."""

    def __init__(self, inside: Histogram, around: Histogram, settings: ColourHistogramSettings) -> None:
        """`inside` and `around` are weights per cell (`count`) of the first frame."""
        self._settings = settings
        self._first = (smooth(inside, settings), smooth(around, settings))
        self._running = self._first

    def log_ratio(self) -> Histogram:
        """log(share inside / share around) per cell, within ±limit; index it with `colour_bins`."""
        keep = np.float32(self._settings.first_share)
        inside, around = (
            keep * first + (1 - keep) * running + _FLOOR
            for first, running in zip(self._first, self._running, strict=True)
        )
        ratio: Histogram = np.log(inside / around)
        return ratio.clip(-self._settings.limit, self._settings.limit)

    def update(self, inside: Histogram, around: Histogram) -> None:
        """Blend a new frame's weights per cell into the running histograms; an empty one is left out."""
        rate = np.float32(self._settings.learning_rate)
        blended = (
            (1 - rate) * running + rate * smooth(new, self._settings) if new.any() else running
            for running, new in zip(self._running, (inside, around), strict=True)
        )
        inside_now, around_now = blended
        self._running = (inside_now, around_now)
