"""How an entity is built: rigid parts that swing or roll, and balls that are shaded anew as they turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.demo.shapes import Light, Point, Rgba, Shape, Sprite, over, paint, shaded
from pipeline.demo.textures import Rgb, fractal

Affine = npt.NDArray[np.float64]
"""A 3×3 matrix whose last row is (0, 0, 1)."""


@dataclass(frozen=True)
class Part:
    """Shapes that move as one about `pivot`: they swing by `swing` degrees `rate` times a second, or roll.

    `roll` is the radius in units of a wheel that turns with the distance travelled (0: it does not).
    """

    shapes: tuple[Shape, ...]
    pivot: Point = (0.0, 0.0)
    swing: float = 0.0
    rate: float = 0.0
    phase: float = 0.0
    roll: float = 0.0

    def angle(self, seconds: float, travelled: float) -> float:
        """Radians, clockwise on screen; `travelled` in units, positive to the right."""
        turned = travelled / self.roll if self.roll > 0 else 0.0
        return turned + float(np.deg2rad(self.swing) * np.sin(2 * np.pi * (self.rate * seconds + self.phase)))


@dataclass(frozen=True)
class Ball:
    """A ball that touches the ground at (0, 0), with half as many narrow gores of the second colour as `stripes`."""

    colour: Rgb
    second: Rgb
    stripes: int = 6
    radius: float = 0.5


_BALL_LEAN = 0.9
"""Radians by which a ball's axis leans towards the viewer."""

Rig = tuple[Part, ...] | Ball


def _about(pivot: Point, angle: float) -> Affine:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = pivot
    return np.asarray(
        [[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y], [0.0, 0.0, 1.0]]
    )


def _to_units(sprite: Sprite) -> Affine:
    """Sprite pixels → units."""
    return np.asarray(
        [[1 / sprite.scale, 0.0, sprite.origin[0]], [0.0, 1 / sprite.scale, sprite.origin[1]], [0.0, 0.0, 1.0]]
    )


@dataclass
class Figure:
    """A rig painted at `scale` pixels per unit for a light, ready to be posed; `mirror` makes it face left."""

    rig: Rig
    scale: float
    light: Light
    rng: np.random.Generator
    mirror: bool = False
    _sprites: list[Sprite] = field(default_factory=list)
    _skin: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 1), np.float32))

    def __post_init__(self) -> None:
        """Paint the parts once."""
        if isinstance(self.rig, Ball):
            self._skin = fractal((64, 128), self.rng, 12.0, gain=0.8)
        else:
            self._sprites = [paint(p.shapes, self.scale, self.light, self.rng, mirror=self.mirror) for p in self.rig]

    def parts(self, seconds: float, travelled: float) -> Sequence[tuple[Rgba, Affine]]:
        """The figure's posed parts, back to front: premultiplied RGBA with the map of its pixels to units."""
        if isinstance(self.rig, Ball):
            sprite = self._turned_ball(self.rig, travelled / self.rig.radius)
            return [(sprite.rgba, _to_units(sprite))]
        posed = []
        for part, sprite in zip(self.rig, self._sprites, strict=True):
            side = -1.0 if self.mirror else 1.0
            # A wheel rolls with the ground whichever way the figure faces; a limb's swing is mirrored with it.
            angle = part.angle(seconds, travelled * side) * side
            posed.append((sprite.rgba, _about((part.pivot[0] * side, part.pivot[1]), angle) @ _to_units(sprite)))
        return posed

    def _turned_ball(self, ball: Ball, angle: float) -> Sprite:
        """The ball rolled by `angle` about the line of sight; its own axis leans forward: the gores meet in view."""
        radius = ball.radius * self.scale
        half = int(np.ceil(radius)) + 2
        axis = np.arange(-half, half + 1, dtype=np.float32) / np.float32(radius)
        x, y = np.meshgrid(axis, axis)
        reach = np.hypot(x, y)
        z = np.sqrt(np.maximum(1.0 - reach * reach, 0.0))
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, across = cosine * x + sine * y, cosine * y - sine * x
        lean_c, lean_s = np.float32(np.cos(_BALL_LEAN)), np.float32(np.sin(_BALL_LEAN))
        pole, equator = across * lean_c + z * lean_s, z * lean_c - across * lean_s
        longitude = np.arctan2(along, equator)
        # Borders between colours are about a pixel wide, so that stripes do not crawl.
        stripe = np.clip(
            (np.sin(longitude * np.float32(ball.stripes / 2)) - 0.55) * np.float32(radius * 0.6) + 0.5, 0, 1
        )
        cap = np.clip((np.abs(pole) - 0.955) * np.float32(radius) + 0.5, 0, 1)
        skin = cv2.remap(self._skin, (longitude / np.float32(np.pi) + 1) * 63.5, (pole + 1) * 31.5, cv2.INTER_LINEAR)
        first, second = np.asarray(ball.colour, np.float32), np.asarray(ball.second, np.float32)
        albedo = first + (second - first) * np.maximum(stripe, cap)[..., None]
        albedo *= (0.86 + 0.28 * skin)[..., None]
        rim = 1.0 / np.maximum(reach, 1.0)
        lit = shaded(albedo, (x * rim, y * rim, z), self.light, 0.55)
        coverage = np.clip((1.0 - reach) * np.float32(radius) + 0.5, 0.0, 1.0)[..., None]
        rgba = np.asarray(np.concatenate([lit * coverage, coverage], axis=2), np.float32)
        return Sprite(rgba, self.scale, (-half / self.scale, -ball.radius - half / self.scale))


def assembled(figure: Figure, seconds: float, travelled: float, to_view: Affine) -> tuple[Rgba, tuple[int, int]]:
    """The posed figure in view pixels under the affine map units → view: premultiplied RGBA and its corner (x, y)."""
    placed = []
    for rgba, to_units in figure.parts(seconds, travelled):
        matrix = to_view @ to_units
        height, width = rgba.shape[:2]
        square = np.asarray([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)], np.float64)
        points = (square @ matrix.T)[:, :2]
        low, high = np.floor(points.min(axis=0)).astype(int) - 2, np.ceil(points.max(axis=0)).astype(int) + 3
        placed.append((rgba, matrix, low, high))
    corner = np.min([low for _, _, low, _ in placed], axis=0)
    size = np.max([high for _, _, _, high in placed], axis=0) - corner
    picture = np.zeros((int(size[1]), int(size[0]), 4), np.float32)
    for rgba, matrix, low, high in placed:
        local = matrix.copy()
        local[:2, 2] -= low
        extent = (int(high[0] - low[0]), int(high[1] - low[1]))
        x, y = (int(value) for value in low - corner)
        window = picture[y : y + extent[1], x : x + extent[0]]
        posed = np.asarray(cv2.warpAffine(rgba, local[:2], extent, flags=cv2.INTER_LINEAR), np.float32)
        window[:] = over(window, posed)
    return picture, (int(corner[0]), int(corner[1]))
