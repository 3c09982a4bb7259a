"""Procedural surfaces: fractal noise, colour ramps and the ground that recedes to a horizon.

A *field* is a float32 array (height, width) of about 0..1; a *picture* is float32 RGB (height, width, 3) of 0..255.
Every texture carries detail at several scales, so that optical flow and corner trackers find something to hold on to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""A scalar field (height, width), about 0..1."""
Picture = npt.NDArray[np.float32]
"""RGB (height, width, 3), 0..255."""
Rgb = tuple[float, float, float]
"""A colour, each channel 0..255."""


def resized(values: npt.NDArray[Any], shape: tuple[int, int], interpolation: int = cv2.INTER_CUBIC) -> Field:
    """`values` stretched to `shape` (height, width)."""
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=interpolation), dtype=np.float32)


def fractal(
    shape: tuple[int, int],
    rng: np.random.Generator,
    cell: float,
    *,
    stretch: tuple[float, float] = (1.0, 1.0),
    gain: float = 0.6,
    finest: float = 1.0,
) -> Field:
    """Fractal noise of `shape` in [0, 1] with mean 0.5.

    Blobs range from `cell` down to `finest` pixels; each halving has `gain` times the amplitude (1 = as strong as the
    coarse blobs). `stretch` (x, y) draws the blobs out, which gives grain, ripples and bark.
    """
    height = max(2, round(shape[0] / (stretch[1] * finest)))
    width = max(2, round(shape[1] / (stretch[0] * finest)))
    levels = max(1, round(np.log2(max(cell / finest, 2.0))))
    field = np.zeros((1, 1), np.float32)
    for level in range(levels, -1, -1):
        # Built coarse to fine by doubling: all octaves together cost little more than the finest one.
        size = (max(2, (height >> level) + 1), max(2, (width >> level) + 1))
        field = resized(field, size) + rng.standard_normal(size, np.float32) * np.float32(gain ** (levels - level))
    field = resized(field, shape)
    field -= field.mean()
    return np.asarray(np.clip(field / (4.5 * field.std() + 1e-6) + 0.5, 0.0, 1.0), np.float32)


def ramp(field: Field, colours: Sequence[Rgb]) -> Picture:
    """`field` 0..1 coloured along evenly spaced `colours`."""
    stops = np.linspace(0.0, 255.0, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, [c[i] for c in colours]) for i in range(3)], axis=1)
    return table.astype(np.float32)[(np.clip(field, 0.0, 1.0) * 255.0).astype(np.uint8)]


def mix(below: Picture, above: Picture | Rgb, weight: Field) -> Picture:
    """`above` laid over `below` with an opacity field of 0..1 (anything that broadcasts to (height, width))."""
    return below + (np.asarray(above, np.float32) - below) * np.asarray(weight, np.float32)[..., None]


def smoothstep(low: float, high: float, values: npt.NDArray[Any]) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def relief(field: Field, strength: float) -> Field:
    """Light and shade on a bumpy surface lit from the upper left, around 1.0: multiply a picture by it."""
    slope = cv2.Sobel(field, cv2.CV_32F, 1, 0, ksize=3) + cv2.Sobel(field, cv2.CV_32F, 0, 1, ksize=3)
    return np.asarray(np.clip(1.0 + strength * slope, 0.35, 1.75), dtype=np.float32)


def receding(tile: npt.NDArray[np.float32], shape: tuple[int, int], horizon: float, focal: float) -> Picture:
    """`tile` (any channels) laid on flat ground seen to a horizon, as float32 of `shape`.

    `horizon` is the row in pixels of the vanishing line and `focal` the focal length in pixels; one tile pixel is one
    canvas pixel at the bottom row. The tile is mirrored where it ends, and far rows use ever more blurred copies,
    so nothing glitters. Rows above the horizon repeat the first row below it.
    """
    height, width = shape
    rows = np.maximum(np.arange(height, dtype=np.float32) - np.float32(horizon), 1.0)
    depth = np.float32(max(height - horizon, 1.0)) / rows
    columns = (np.arange(width, dtype=np.float32) - width / 2.0)[None, :]
    # Off the tile's middle, or mirrored copies would radiate symmetrically from the vanishing point.
    x = columns * depth[:, None] + tile.shape[1] * 0.31
    y = np.repeat((depth * np.float32(focal))[:, None], width, axis=1)
    # Rows are squeezed by the square of the depth: that decides how blurred a copy is needed.
    blur = np.clip(np.log2(np.maximum(depth**2 * np.float32(focal) / max(height - horizon, 1.0), 1.0)), 0.0, 6.0)
    ground = np.zeros((height, width, *tile.shape[2:]), np.float32)
    copy = tile
    for level in range(7):
        weight = np.clip(1.0 - np.abs(blur - level), 0.0, 1.0).astype(np.float32)
        used = np.flatnonzero(weight)
        if used.size and min(copy.shape[:2]) >= 4:
            band = slice(int(used[0]), int(used[-1]) + 1)
            scale = np.float32(copy.shape[1] / tile.shape[1])
            sampled = cv2.remap(
                copy,
                np.mod(x[band] * scale, 2.0 * copy.shape[1]),
                np.mod(y[band] * scale, 2.0 * copy.shape[0]),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
            ground[band] += sampled * weight[band].reshape(-1, *(1,) * (tile.ndim - 1))
        copy = np.asarray(cv2.pyrDown(copy), dtype=np.float32) if min(copy.shape[:2]) >= 8 else copy
    return ground


def bricks(
    shape: tuple[int, int], rng: np.random.Generator, course: float, colours: Sequence[Rgb], mortar: Rgb
) -> Picture:
    """A brick wall in running bond; one course is `course` pixels high and a brick 2.6 times as long."""
    height, width = shape
    length = course * 2.6
    rows = np.arange(height, dtype=np.float32)
    row_index = np.floor(rows / course).astype(np.int64)
    columns = np.arange(width, dtype=np.float32)[None, :] + (row_index % 2)[:, None].astype(np.float32) * length / 2.0
    column_index = np.floor(columns / length).astype(np.int64)
    tones = rng.random((int(row_index.max()) + 1, int(column_index.max()) + 1), np.float32)
    tone = tones[row_index[:, None], column_index]
    grain = fractal(shape, rng, course * 1.5)
    gap = max(course * 0.13, 0.8)
    wobble = (fractal(shape, rng, course * 0.6) - 0.5) * gap
    edge_y = np.minimum(rows % course, course - rows % course)[:, None] + wobble
    edge_x = np.minimum(columns % length, length - columns % length) + wobble
    inside = smoothstep(gap * 0.4, gap * 1.1, np.minimum(edge_x, edge_y))
    face = ramp(0.62 * tone + 0.38 * grain, colours) * relief(inside * 0.35 + grain * 0.5, 0.35)[..., None]
    seams = np.asarray(mortar, np.float32) * (0.75 + 0.5 * fractal(shape, rng, 6.0))[..., None]
    return mix(seams, face, inside)


def planks(
    shape: tuple[int, int], rng: np.random.Generator, board: float, colours: Sequence[Rgb], *, gap: float = 0.02
) -> Picture:
    """Wooden boards running along x, each `board` pixels wide, with grain, rings and dark joints."""
    rows = np.arange(shape[0], dtype=np.float32)
    index = np.floor(rows / board).astype(np.int64)
    shade = rng.random(int(index.max()) + 1, np.float32)[index][:, None]
    shift = rng.random(int(index.max()) + 1, np.float32)[index][:, None] * 40.0
    warp = fractal(shape, rng, board * 1.5, stretch=(7.0, 1.0))
    rings = 0.5 + 0.5 * np.sin(2.0 * np.pi * (rows[:, None] / board * 1.7 + warp * 5.0 + shift))
    fibres = fractal(shape, rng, max(board / 5.0, 2.0), stretch=(12.0, 1.0), gain=0.9)
    joint = smoothstep(0.0, gap * board + 0.8, np.minimum(rows % board, board - rows % board))[:, None]
    field = np.asarray(0.3 * rings + 0.42 * fibres + 0.28 * shade, dtype=np.float32)
    return ramp(field, colours) * (0.4 + 0.6 * joint)[..., None]
