"""From outlines to shaded sprites: a silhouette is puffed up into a relief and lit.

Shapes live in entity units: the thing is 1 high, x = 0 is its middle, y = 0 its foot and y = -1 its top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.demo.textures import Field, Rgb, fractal

Point = tuple[float, float]
Rgba = npt.NDArray[np.float32]
"""Premultiplied RGBA (height, width, 4): colour 0..255 times alpha, alpha 0..1."""

_OVERSAMPLING = 4
_SUBPIXEL_BITS = 6
_CURVE_STEPS = 12


@dataclass(frozen=True)
class Light:
    """Where light comes from (unit vector towards it: x right, y down, z to the viewer) and how it colours things."""

    direction: tuple[float, float, float] = (-0.45, -0.65, 0.61)
    colour: Rgb = (1.0, 0.98, 0.94)
    ambient: Rgb = (0.42, 0.44, 0.48)

    @property
    def away(self) -> float:
        """The side to which shadows fall: -1 left, 1 right."""
        return -float(np.sign(self.direction[0]))


@dataclass(frozen=True)
class Shape:
    """One coloured outline.

    `smooth` draws a closed curve through the points, otherwise a polygon; `stroke` above 0 draws an open line of that
    width instead. `bulge` is the width of the rounded rim in units (0 = flat), `gloss` the strength of the highlight,
    `grain` that of the surface texture, which `streak` draws out downwards (bark, cloth).
    """

    outline: tuple[Point, ...]
    colour: Rgb
    smooth: bool = True
    stroke: float = 0.0
    bulge: float = 0.2
    gloss: float = 0.25
    grain: float = 0.10
    streak: float = 1.0


@dataclass(frozen=True)
class Sprite:
    """A painted picture: `rgba` premultiplied, `scale` pixels per unit, `origin` the units at pixel (0, 0)."""

    rgba: Rgba
    scale: float
    origin: Point


def ellipse(x: float, y: float, rx: float, ry: float, colour: Rgb, *, turn: float = 0.0, **look: float) -> Shape:
    """An ellipse around (x, y), turned by `turn` degrees."""
    angles = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
    across, along = rx * np.cos(angles), ry * np.sin(angles)
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    points = zip(x + c * across - s * along, y + s * across + c * along, strict=True)
    settings: dict[str, float] = {"bulge": min(rx, ry), **look}
    return Shape(tuple((float(a), float(b)) for a, b in points), colour, smooth=False, **settings)


def box(x0: float, y0: float, x1: float, y1: float, colour: Rgb, **look: float) -> Shape:
    """An upright rectangle."""
    settings: dict[str, float] = {"bulge": 0.05, **look}
    return Shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour, smooth=False, **settings)


def _curve(points: npt.NDArray[np.float64], *, closed: bool) -> npt.NDArray[np.float64]:
    """A Catmull-Rom curve through `points` (N, 2)."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0.0, 1.0, _CURVE_STEPS, endpoint=False)[None, :, None]
    before, start, end, after = (padded[i : len(padded) - 3 + i][:, None, :] for i in range(4))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, points[-1:]])


def _coverage(shape: Shape, size: tuple[int, int], origin: Point, scale: float, *, mirror: bool) -> Field:
    """Anti-aliased coverage 0..1 of one shape on a grid of `size` (height, width)."""
    points = np.asarray(shape.outline, np.float64)
    if mirror:
        points = points * (-1.0, 1.0)
    if shape.smooth:
        points = _curve(points, closed=shape.stroke <= 0)
    fine = (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING)
    grid = np.zeros(fine, np.uint8)
    pixels = (points - origin) * scale * _OVERSAMPLING
    fixed = np.round(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    if shape.stroke > 0:
        width = max(1, round(shape.stroke * scale * _OVERSAMPLING))
        cv2.polylines(grid, [fixed], False, 255, width, cv2.LINE_8, _SUBPIXEL_BITS)
    else:
        cv2.fillPoly(grid, [fixed], 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return np.asarray(cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32) / 255.0


def _relief_normals(coverage: Field, rim: float) -> tuple[Field, Field, Field]:
    """Unit normals of a silhouette whose border rises like a quarter circle of radius `rim` pixels."""
    distance = cv2.distanceTransform((coverage > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inward = np.clip(1.0 - distance / max(rim, 1.0), 0.0, 1.0)
    height = np.sqrt(np.maximum(1.0 - inward * inward, 0.0)).astype(np.float32) * np.float32(rim)
    height = cv2.GaussianBlur(height, (0, 0), max(rim * 0.22, 0.6))
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    length = np.sqrt(slope_x * slope_x + slope_y * slope_y + 1.0)
    return (
        np.asarray(-slope_x / length, np.float32),
        np.asarray(-slope_y / length, np.float32),
        np.asarray(1.0 / length, np.float32),
    )


def shaded(
    albedo: npt.NDArray[np.float32], normals: tuple[Field, Field, Field], light: Light, gloss: float
) -> npt.NDArray[np.float32]:
    """RGB of a surface colour (H, W, 3) with the given unit normals: ambient sky, diffuse light and a highlight."""
    normal_x, normal_y, normal_z = normals
    towards = np.asarray(light.direction, np.float32)
    facing = normal_x * towards[0] + normal_y * towards[1] + normal_z * towards[2]
    diffuse = np.maximum(0.25 + 0.75 * facing, 0.0)[..., None]
    # Ambient light comes from above: undersides are darker.
    sky = (0.85 - 0.3 * normal_y)[..., None]
    lit = albedo * (np.asarray(light.ambient, np.float32) * sky + np.asarray(light.colour, np.float32) * 0.72 * diffuse)
    halfway = towards + np.asarray((0.0, 0.0, 1.0), np.float32)
    halfway /= np.linalg.norm(halfway)
    mirror = np.maximum(normal_x * halfway[0] + normal_y * halfway[1] + normal_z * halfway[2], 0.0)
    highlight = (mirror**28)[..., None] * np.asarray(light.colour, np.float32)
    return np.asarray(np.clip(lit + 230.0 * gloss * highlight, 0.0, 255.0), np.float32)


def over(below: Rgba, above: Rgba) -> Rgba:
    """Two premultiplied pictures of one size, `above` on top."""
    return np.asarray(above + below * (1.0 - above[..., 3:]), np.float32)


def paint(
    shapes: Sequence[Shape],
    scale: float,
    light: Light,
    rng: np.random.Generator,
    *,
    mirror: bool = False,
    room: tuple[Point, ...] = (),
) -> Sprite:
    """Shapes drawn in order as one sprite of `scale` pixels per unit, lit; `mirror` flips it left to right first.

    The sprite also reaches to the points of `room`, for what is drawn on it later.
    """
    points = np.concatenate(
        [np.asarray(outline, np.float64) for outline in (*(s.outline for s in shapes), room) if outline]
    )
    if mirror:
        points = points * (-1.0, 1.0)
    margin = max(s.stroke for s in shapes) + 0.06 + 3.0 / scale
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    size = (max(4, int(np.ceil((high[1] - low[1]) * scale))), max(4, int(np.ceil((high[0] - low[0]) * scale))))
    origin = (float(low[0]), float(low[1]))
    rgba = np.zeros((*size, 4), np.float32)
    for shape in shapes:
        coverage = _coverage(shape, size, origin, scale, mirror=mirror)
        texture = fractal(size, rng, max(scale * 0.12, 3.0), stretch=(1.0, shape.streak)) - 0.5
        albedo = np.asarray(shape.colour, np.float32) * (1.0 + 2.0 * shape.grain * texture)[..., None]
        rim = shape.stroke * 0.5 if shape.stroke > 0 else shape.bulge
        lit = shaded(albedo, _relief_normals(coverage, rim * scale), light, shape.gloss)
        layer = np.concatenate([lit, np.ones((*size, 1), np.float32)], axis=2) * coverage[..., None]
        rgba = over(rgba, layer)
    return Sprite(rgba, scale, origin)
