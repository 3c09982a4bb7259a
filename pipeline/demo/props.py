"""Things that stand in a scene and can hide what passes behind them: trees, lamp posts, reeds, firs, umbrellas."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from pipeline.demo.canvas import leaves
from pipeline.demo.shapes import Light, Shape, Sprite, box, ellipse, over, paint
from pipeline.demo.textures import Rgb

_BARK: Rgb = (96, 76, 58)


def _with_leaves(
    sprite: Sprite, rng: np.random.Generator, crown: tuple[float, float, float, float], colours: list[Rgb], size: float
) -> Sprite:
    """Leaves scattered over the ellipse `crown` (x, y, rx, ry in units) of a sprite that already reaches that far."""
    layer = np.zeros(sprite.rgba.shape, np.uint8)
    x, y, rx, ry = crown
    count = int(np.clip(2200 * sprite.scale / 600, 60, 2200))
    angles, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    units = np.column_stack([x + rx * reach * np.cos(angles), y + ry * reach * np.sin(angles)])
    places = (units - sprite.origin) * sprite.scale
    # Shade first, then lit leaves a little higher: the crown gets volume.
    sizes = rng.uniform(0.6, 1.2, count) * max(size * sprite.scale, 1.0)
    half = count // 2
    leaves(layer, rng, places[:half], sizes[:half], [(c[0] * 0.5, c[1] * 0.5, c[2] * 0.5) for c in colours])
    leaves(layer, rng, places[half:] - (0, size * sprite.scale), sizes[half:] * 0.8, colours)
    rgba = layer.astype(np.float32)
    rgba[..., 3] /= 255.0
    return Sprite(over(sprite.rgba, rgba), sprite.scale, sprite.origin)


def _tree(scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    trunk = Shape(
        ((-0.13, 0.0), (-0.085, -0.06), (-0.07, -0.4), (-0.08, -1.05), (0.09, -1.05), (0.07, -0.4), (0.09, -0.05),
         (0.15, 0.0)),
        _BARK, bulge=0.1, gloss=0.0, grain=0.55, streak=6.0,
    )  # fmt: skip
    branch = Shape(((0.03, -0.66), (0.18, -0.84), (0.34, -0.95)), _BARK, stroke=0.04, gloss=0, grain=0.4)
    sprite = paint((branch, trunk), scale, light, rng, room=((-0.46, -1.2), (0.5, 0.0)))
    greens: list[Rgb] = [(70, 120, 44), (104, 150, 60), (140, 176, 76)]
    return _with_leaves(sprite, rng, (0.02, -0.98, 0.44, 0.16), greens, 0.018)


def _post(scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    iron: Rgb = (44, 58, 56)
    foot = Shape(
        ((-0.055, 0.0), (-0.045, -0.05), (-0.03, -0.11), (0.03, -0.11), (0.045, -0.05), (0.055, 0.0)),
        iron,
        False,
        bulge=0.04,
    )
    pole = box(-0.022, -0.84, 0.022, -0.05, iron, bulge=0.02, gloss=0.5)
    rings = tuple(box(-0.03, y, 0.03, y + 0.018, iron, bulge=0.01, gloss=0.5) for y in (-0.3, -0.72))
    lantern = Shape(
        ((-0.055, -0.97), (0.055, -0.97), (0.038, -0.84), (-0.038, -0.84)), (255, 236, 176), False, bulge=0.05
    )
    bars = tuple(Shape(((x, -0.97), (x * 0.7, -0.84)), iron, False, stroke=0.009) for x in (-0.052, 0.0, 0.052))
    roof = Shape(((-0.075, -0.965), (0.0, -1.03), (0.075, -0.965)), iron, False, bulge=0.03, gloss=0.4)
    return paint((pole, foot, *rings, lantern, *bars, roof), scale, light, rng)


def _reeds(scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    stalks: list[Shape] = []
    for _ in range(26):
        foot, lean, tall = rng.normal(0, 0.09), rng.normal(0, 0.12), rng.uniform(0.5, 1.0)
        tone = rng.uniform(0.7, 1.2)
        line = ((foot, 0.0), (foot + lean * 0.3, -tall * 0.5), (foot + lean, -tall))
        stalks.append(Shape(line, (84 * tone, 112 * tone, 46 * tone), stroke=0.022, gloss=0.05))
        if rng.random() < 0.35:
            stalks.append(ellipse(foot + lean, -tall, 0.022, 0.08, (104, 66, 38), turn=float(np.rad2deg(lean))))
    return paint(stalks, scale, light, rng)


def _fir(scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    trunk = box(-0.03, -0.14, 0.03, 0.0, (84, 60, 44), gloss=0, grain=0.4)
    tiers: list[Shape] = []
    for index, (top, width) in enumerate(((-0.1, 0.3), (-0.3, 0.24), (-0.5, 0.18), (-0.68, 0.12))):
        peak = top - 0.34
        green = (34.0 + 8 * index, 74.0 + 8 * index, 62.0 + 4 * index)
        teeth = [(-width + 2 * width * i / 8, top + (0.03 if i % 2 else -0.01)) for i in range(9)]
        tiers.append(Shape((*teeth, (0.0, peak)), green, False, bulge=0.1, gloss=0.0, grain=0.6))
        snow = [
            (-width * 0.8, top - 0.04),
            (-width * 0.3, top - 0.09),
            (width * 0.1, top - 0.05),
            (width * 0.5, top - 0.1),
        ]
        tiers.append(Shape((*snow, (0.02, peak)), (236, 242, 250), False, bulge=0.05, gloss=0.0))
    return paint((trunk, *tiers), scale, light, rng)


def _umbrella(scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    pole = box(-0.016, -0.95, 0.016, 0.0, (214, 200, 176), bulge=0.016, gloss=0.4)
    seams = np.cos(np.linspace(np.pi, 0.0, 7)) * 0.62
    bow = np.linspace(0.0, np.pi / 2, 9)
    panels = []
    for index, (left, right) in enumerate(itertools.pairwise(seams)):
        up = [(float(left * np.cos(a)), float(-0.66 - 0.34 * np.sin(a))) for a in bow]
        down = [(float(right * np.cos(a)), float(-0.66 - 0.34 * np.sin(a))) for a in bow[::-1]]
        colour: Rgb = (214, 74, 62) if index % 2 else (246, 238, 222)
        panels.append(Shape((*up, *down), colour, False, bulge=0.12, gloss=0.1))
    return paint((pole, *panels, ellipse(0, -1.0, 0.02, 0.03, (240, 230, 210))), scale, light, rng)


PROPS: dict[str, Callable[[float, Light, np.random.Generator], Sprite]] = {
    "tree": _tree,
    "post": _post,
    "reeds": _reeds,
    "fir": _fir,
    "umbrella": _umbrella,
}
"""How to paint each kind of prop at a scale (pixels per unit) in a light."""


def paint_prop(kind: str, scale: float, light: Light, rng: np.random.Generator) -> Sprite:
    """A prop's sprite. Raises ValueError when the kind is unknown."""
    if kind not in PROPS:
        raise ValueError(f"no prop of kind {kind!r}; there are {', '.join(PROPS)}")
    return PROPS[kind](scale, light, rng)
