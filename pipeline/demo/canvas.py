"""The painting surface of a backdrop, and what painters put on it: skies, hills, scattered blades and leaves.

Painters think in view fractions (u across, v down; 0..1 is what an unmoved camera sees) and in units (one unit is the
view's height), so the same scene can be painted at 64×96 or at 720p. The surface reaches beyond the view as far as the
camera will look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.demo.shapes import Light
from pipeline.demo.textures import Field, Picture, Rgb, fractal, mix, ramp, smoothstep

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """A surface for a view of `view` (height, width) pixels that reaches `reach` (left, top, right, bottom) further."""

    view: tuple[int, int]
    reach: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        left, top, right, bottom = self.reach
        return self.view[0] + top + bottom, self.view[1] + left + right

    @property
    def unit(self) -> float:
        """The view's height in pixels."""
        return float(self.view[0])

    @property
    def u(self) -> Field:
        """View fraction across of every column, (1, width)."""
        return np.asarray((np.arange(self.shape[1]) - self.reach[0]) / self.view[1], np.float32)[None, :]

    @property
    def v(self) -> Field:
        """View fraction down of every row, (height, 1)."""
        return np.asarray((np.arange(self.shape[0]) - self.reach[1]) / self.view[0], np.float32)[:, None]

    def x(self, u: float) -> float:
        """Pixel column of a view fraction."""
        return self.reach[0] + u * self.view[1]

    def y(self, v: float) -> float:
        """Pixel row of a view fraction."""
        return self.reach[1] + v * self.view[0]

    def span_u(self) -> tuple[float, float]:
        """View fractions of the surface's left and right edge."""
        return -self.reach[0] / self.view[1], 1.0 + self.reach[2] / self.view[1]

    def columns(self, start: float, end: float) -> slice:
        """Pixel columns from view fraction `start` to `end`, cut to the surface (at least one column)."""
        first = int(np.clip(np.floor(self.x(start)), 0, self.shape[1] - 1))
        return slice(first, int(np.clip(np.ceil(self.x(end)), first + 1, self.shape[1])))

    def plain(self, colour: Rgb) -> Picture:
        """A picture of one colour."""
        return np.full((*self.shape, 3), colour, np.float32)

    def noise(
        self, rng: np.random.Generator, cell: float, *, stretch: tuple[float, float] = (1.0, 1.0), gain: float = 0.6
    ) -> Field:
        """Fractal noise whose largest blobs measure `cell` units."""
        return fractal(self.shape, rng, max(cell * self.unit, 2.0), stretch=stretch, gain=gain)


@dataclass(frozen=True)
class Backdrop:
    """A painted scene without its entities.

    `picture` is uint8 RGB of the canvas; `regions` labels its pixels with indices into `region_names`; `brightness`
    (canvas-sized, about 1) darkens and lights what stands there.
    """

    picture: Bytes
    regions: Bytes
    region_names: tuple[str, ...]
    light: Light
    brightness: Field


def finished(picture: Picture) -> Bytes:
    """The picture as uint8 RGB."""
    return np.clip(picture, 0.0, 255.0).astype(np.uint8)


def labelled(
    canvas: Canvas, bands: Sequence[tuple[str, npt.NDArray[np.bool_] | None]]
) -> tuple[Bytes, tuple[str, ...]]:
    """A label map from (name, mask) pairs, later ones on top; the first may have None for its mask: everything."""
    labels = np.zeros(canvas.shape, np.uint8)
    for index, (_, mask) in enumerate(bands):
        if mask is not None:
            labels[np.broadcast_to(mask, canvas.shape)] = index
    return labels, tuple(name for name, _ in bands)


def sky(
    canvas: Canvas,
    rng: np.random.Generator,
    colours: Sequence[Rgb],
    horizon: float,
    *,
    cloud: Rgb = (255, 255, 255),
    shadow: Rgb = (176, 186, 204),
    cover: float = 0.5,
) -> Picture:
    """A gradient from the zenith (first colour) to the horizon (last) with lit, flat-bottomed clouds."""
    down = np.clip((canvas.v + 0.15) / (horizon + 0.15), 0.0, 1.0)
    picture = ramp(np.broadcast_to(down, canvas.shape), colours)
    puffs = canvas.noise(rng, 0.42, stretch=(2.1, 1.0), gain=0.58)
    density = smoothstep(1.02 - cover, 1.32 - cover, puffs * (1.12 - 0.3 * down))
    lower = max(1, round(0.045 * canvas.unit))
    above = np.pad(puffs, ((lower, 0), (0, 0)), mode="edge")[:-lower]
    lit = np.clip(0.62 + 2.6 * (puffs - above), 0.0, 1.0)
    return mix(picture, ramp(lit, (shadow, cloud)), density * (0.92 - 0.35 * down))


def ridge(canvas: Canvas, rng: np.random.Generator, base: float, height: float, cell: float) -> Field:
    """View fraction of a hill line for every column, (1, width): `base` minus up to `height`."""
    line = fractal((2, canvas.shape[1]), rng, cell * canvas.unit, gain=0.42)[:1]
    return np.asarray(base - height * line, np.float32)


def hills(
    picture: Picture,
    canvas: Canvas,
    rng: np.random.Generator,
    line: Field,
    colours: Sequence[Rgb],
    *,
    cell: float = 0.05,
    softness: float = 0.004,
) -> Picture:
    """Everything below the hill `line` covered with a wooded texture, lit along the crest."""
    inside = smoothstep(0.0, softness, canvas.v - line)
    crest = np.clip(1.0 - (canvas.v - line) * 6.0, 0.0, 1.0)
    woods = canvas.noise(rng, cell, stretch=(1.4, 1.0), gain=0.8)
    return mix(picture, ramp(np.clip(0.75 * woods + 0.25 * crest, 0.0, 1.0), colours), inside)


def pick(colours: Sequence[Rgb], rng: np.random.Generator, *, spread: float = 14.0) -> tuple[int, int, int]:
    """One of `colours`, a little varied, as integers for drawing."""
    base = colours[int(rng.integers(len(colours)))]
    varied = np.clip(np.asarray(base) + rng.normal(0.0, spread), 0, 255).astype(int)
    return int(varied[0]), int(varied[1]), int(varied[2])


def scatter_count(canvas: Canvas, count: int) -> int:
    """How many of `count` scattered things a view of this size needs: fewer when it is tiny."""
    area = canvas.shape[0] * canvas.shape[1] / (canvas.view[0] * canvas.view[1])
    return max(8, int(count * area * min(1.0, canvas.unit / 480.0)))


def blades(
    picture: Bytes,
    canvas: Canvas,
    rng: np.random.Generator,
    band: tuple[float, float],
    colours: Sequence[Rgb],
    *,
    count: int = 9000,
    length: float = 0.05,
    lean: float = 0.35,
) -> None:
    """Grass blades drawn in place between the view fractions `band`, growing from the far edge to the near one."""
    total = scatter_count(canvas, count)
    bottom = canvas.shape[0] / canvas.unit
    near = np.sort(rng.random(total)) ** 0.7
    feet_v = band[0] + near * (min(bottom, band[1] + canvas.reach[3] / canvas.unit) - band[0])
    feet_x = rng.random(total) * canvas.shape[1]
    sizes = (0.12 + 0.88 * near) * length * canvas.unit * rng.uniform(0.5, 1.2, total)
    leans = rng.normal(0.0, lean, total)
    for index in range(total):
        x, y, size = feet_x[index], canvas.y(float(feet_v[index])), sizes[index]
        tip = (round(x + leans[index] * size), round(y - size))
        width = max(1, round(size * 0.045))
        cv2.line(picture, (round(x), round(y)), tip, pick(colours, rng), width, cv2.LINE_AA)


def leaves(
    picture: Bytes,
    rng: np.random.Generator,
    places: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    colours: Sequence[Rgb],
    *,
    flat: float = 0.55,
) -> None:
    """Leaf-shaped spots at `places` (N, 2) pixels with half-lengths `sizes`; on RGBA they are premultiplied."""
    for (x, y), size in zip(places, sizes, strict=True):
        colour = pick(colours, rng, spread=18.0)
        ink = (*colour, 255) if picture.shape[2] == 4 else colour
        axes = (max(1, round(size)), max(1, round(size * flat)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(picture, (round(x), round(y)), axes, angle, 0, 360, ink, cv2.FILLED, cv2.LINE_AA)
