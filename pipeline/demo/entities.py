"""The cast: every kind of entity as a rig, drawn facing right, 1 unit high, standing on y = 0."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.demo.rigs import Ball, Part, Rig
from pipeline.demo.shapes import Shape, box, ellipse
from pipeline.demo.textures import Rgb

COLOURS: dict[str, Rgb] = {
    "red": (206, 36, 34),
    "orange": (236, 124, 28),
    "yellow": (246, 204, 38),
    "green": (44, 146, 62),
    "blue": (36, 88, 200),
    "purple": (126, 60, 172),
    "pink": (238, 118, 166),
    "white": (238, 236, 230),
    "black": (36, 36, 40),
}
"""The clear colours an entity can have, by name."""

_DARK: Rgb = (34, 34, 38)
_STEEL: Rgb = (176, 180, 186)
_GLASS: Rgb = (150, 200, 226)
_CREAM: Rgb = (246, 240, 226)
_BEAK: Rgb = (240, 140, 32)
_WOOD: Rgb = (130, 86, 48)


def _dim(colour: Rgb, share: float) -> Rgb:
    """A darker (share below 1) or lighter (above 1) tone of the same colour."""
    if share <= 1:
        return colour[0] * share, colour[1] * share, colour[2] * share
    return tuple(min(255.0, c + (255.0 - c) * (share - 1.0)) for c in colour)  # type: ignore[return-value]


def _contrast(colour: Rgb) -> Rgb:
    return _CREAM if sum(colour) < 560 else (70, 110, 190)


def _wheel(x: float, radius: float) -> Part:
    spokes = tuple(
        Shape(((x - dx, -radius - dy), (x + dx, -radius + dy)), (120, 124, 130), smooth=False, stroke=radius * 0.16)
        for dx, dy in ((radius * 0.5, 0.0), (0.0, radius * 0.5))
    )
    tyre = ellipse(x, -radius, radius, radius, _DARK, bulge=radius * 0.35)
    hub = ellipse(x, -radius, radius * 0.56, radius * 0.56, _STEEL, bulge=radius * 0.2, gloss=0.5)
    nut = ellipse(x, -radius, radius * 0.17, radius * 0.17, (90, 92, 98))
    return Part((tyre, hub, *spokes, nut), pivot=(x, -radius), roll=radius)


def _ball(colour: Rgb) -> Rig:
    return Ball(colour, _dim(colour, 0.62) if sum(colour) > 560 else _dim(colour, 1.82))


def _car(colour: Rgb) -> Rig:
    body = Shape(
        ((-1.3, -0.2), (-1.34, -0.5), (-1.1, -0.62), (-0.72, -0.68), (-0.42, -0.97), (0.1, -1.0), (0.44, -0.93),
         (0.72, -0.66), (1.18, -0.56), (1.36, -0.42), (1.34, -0.2), (0.6, -0.15), (-0.6, -0.15)),
        colour, bulge=0.2, gloss=0.6,
    )  # fmt: skip
    rear = Shape(((-0.6, -0.66), (-0.37, -0.89), (-0.03, -0.92), (-0.03, -0.64)), _GLASS, False, gloss=0.7, bulge=0.06)
    front = Shape(((0.05, -0.64), (0.05, -0.92), (0.38, -0.86), (0.58, -0.64)), _GLASS, False, gloss=0.7, bulge=0.06)
    door = Shape(((0.01, -0.6), (0.01, -0.24)), _dim(colour, 0.6), False, stroke=0.018, gloss=0)
    trim = box(-1.3, -0.29, 1.32, -0.24, _dim(colour, 0.62), bulge=0.02)
    lamp = ellipse(1.24, -0.42, 0.07, 0.06, (255, 240, 180), gloss=0.8)
    tail = ellipse(-1.28, -0.46, 0.05, 0.07, (250, 90, 60), gloss=0.6)
    handle = box(-0.2, -0.55, -0.08, -0.52, _STEEL, bulge=0.01)
    return (Part((body, rear, front, door, trim, lamp, tail, handle)), _wheel(-0.78, 0.24), _wheel(0.8, 0.24))


def _truck(colour: Rgb) -> Rig:
    bed = box(-1.3, -0.3, 1.25, -0.18, _DARK)
    load = Shape(((-1.3, -0.28), (-1.38, -0.98), (0.28, -0.98), (0.2, -0.28)), colour, False, bulge=0.1, gloss=0.4)
    ribs = tuple(box(x, -0.94, x + 0.05, -0.32, _dim(colour, 0.7), bulge=0.02) for x in (-1.0, -0.65, -0.3))
    cab_colour = _contrast(colour)
    cab = Shape(((0.36, -0.28), (0.36, -0.86), (0.86, -0.86), (1.1, -0.56), (1.28, -0.5), (1.28, -0.28)), cab_colour,
                False, bulge=0.12, gloss=0.5)  # fmt: skip
    glass = Shape(((0.5, -0.56), (0.5, -0.78), (0.82, -0.78), (0.98, -0.56)), _GLASS, False, bulge=0.05, gloss=0.7)
    lamp = ellipse(1.24, -0.4, 0.06, 0.06, (255, 240, 180), gloss=0.8)
    wheels = tuple(_wheel(x, 0.22) for x in (-0.95, -0.4, 0.8))
    return (Part((bed, load, *ribs, cab, glass, lamp)), *wheels)


def _duck(colour: Rgb) -> Rig:
    body = Shape(
        ((-0.86, -0.5), (-0.62, -0.36), (-0.2, -0.44), (0.2, -0.46), (0.52, -0.4), (0.64, -0.22), (0.5, 0.02),
         (-0.5, 0.02), (-0.74, -0.16)), colour, bulge=0.3,
    )  # fmt: skip
    head = ellipse(0.4, -0.68, 0.29, 0.29, colour)
    beak = Shape(((0.62, -0.72), (0.8, -0.66), (0.9, -0.58), (0.64, -0.54)), _BEAK, bulge=0.06)
    eye = ellipse(0.5, -0.76, 0.055, 0.065, (20, 20, 24), gloss=0.9)
    wing = Shape(
        ((-0.6, -0.32), (-0.2, -0.38), (0.18, -0.3), (0.1, -0.12), (-0.2, -0.06)), _dim(colour, 0.84), bulge=0.12
    )
    return (Part((beak, body, head, eye)), Part((wing,), pivot=(0.1, -0.25), swing=5, rate=1.4))


def _mug(colour: Rgb) -> Rig:
    handle = Shape(((0.36, -0.78), (0.66, -0.74), (0.66, -0.34), (0.34, -0.24)), colour, stroke=0.11, gloss=0.5)
    cup = Shape(((-0.42, -0.93), (0.42, -0.93), (0.4, -0.1), (0.3, 0.0), (-0.3, 0.0), (-0.4, -0.1)), colour, False,
                bulge=0.3, gloss=0.6, grain=0.04)  # fmt: skip
    bands = tuple(box(-0.415, y, 0.415, y + 0.07, _contrast(colour), bulge=0.03, gloss=0.3) for y in (-0.5, -0.36))
    rim = ellipse(0, -0.93, 0.42, 0.08, _dim(colour, 1.3), bulge=0.03)
    coffee = ellipse(0, -0.92, 0.36, 0.055, (74, 44, 28), bulge=0.01, gloss=0.1)
    return (Part((handle, cup, *bands, rim, coffee)),)


def _boat(colour: Rgb) -> Rig:
    mast = box(-0.02, -1.0, 0.025, -0.2, _WOOD, bulge=0.02)
    main = Shape(((-0.05, -0.97), (-0.06, -0.3), (-0.62, -0.3), (-0.34, -0.6)), _CREAM, False, bulge=0.2, gloss=0.05)
    jib = Shape(((0.06, -0.92), (0.5, -0.32), (0.06, -0.3)), (236, 226, 206), False, bulge=0.16, gloss=0.05)
    stripe = Shape(((-0.31, -0.63), (-0.05, -0.63)), colour, False, stroke=0.07, gloss=0)
    hull = Shape(((-0.72, -0.25), (0.82, -0.27), (0.62, -0.02), (0.5, 0.02), (-0.52, 0.02)), colour, False, bulge=0.14,
                 gloss=0.4)  # fmt: skip
    rail = Shape(((-0.72, -0.25), (0.82, -0.27)), _dim(colour, 1.75), False, stroke=0.04)
    flag = Shape(((0.02, -1.0), (0.2, -0.96), (0.02, -0.9)), colour, False, bulge=0.02)
    return (Part((flag,), pivot=(0.0, -0.95), swing=10, rate=1.7), Part((mast, main, stripe, jib, hull, rail)))


def _leg(x: float, colour: Rgb, phase: float) -> Part:
    limb = Shape(((x - 0.07, -0.5), (x + 0.08, -0.5), (x + 0.055, -0.12), (x + 0.1, -0.0), (x - 0.06, 0.0)), colour,
                 bulge=0.06)  # fmt: skip
    return Part((limb,), pivot=(x, -0.46), swing=24, rate=1.5, phase=phase)


def _four_legged(colour: Rgb, *, belly: Rgb, tip: Rgb, bushy: bool, snout: float) -> Rig:
    """A walking animal; `snout` is how far its face reaches forward, 1 for a fox."""
    nose_x = 0.8 + 0.2 * snout
    far = _dim(colour, 0.72)
    body = Shape(
        ((-0.68, -0.6), (-0.3, -0.69), (0.2, -0.66), (0.52, -0.74), (0.62, -0.5), (0.42, -0.27), (0.0, -0.3),
         (-0.4, -0.27), (-0.7, -0.36)), colour, bulge=0.22, gloss=0.12, grain=0.2,
    )  # fmt: skip
    chest = ellipse(0.5, -0.5, 0.12, 0.16, belly, gloss=0.05, grain=0.2)
    head = Shape(((0.4, -0.82), (0.56, -0.95), (0.78, -0.92), (0.86, -0.78), (nose_x, -0.71), (nose_x - 0.1, -0.62),
                  (0.62, -0.59), (0.44, -0.66)), colour, bulge=0.16, gloss=0.12, grain=0.2)  # fmt: skip
    muzzle = Shape(
        ((nose_x - 0.2, -0.7), (nose_x, -0.71), (nose_x - 0.1, -0.62), (nose_x - 0.24, -0.62)),
        belly,
        bulge=0.06,
        gloss=0.1,
    )
    ears = (
        Shape(((0.44, -0.86), (0.46, -1.08), (0.6, -0.93)), far, False, bulge=0.05, gloss=0.05),
        Shape(((0.56, -0.92), (0.64, -1.12), (0.74, -0.92)), colour, False, bulge=0.05, gloss=0.05),
    )
    eye = ellipse(0.78, -0.8, 0.035, 0.042, (236, 206, 70) if sum(colour) < 200 else (20, 20, 24), gloss=0.9)
    nose = ellipse(nose_x - 0.01, -0.71, 0.035, 0.03, (24, 20, 22), gloss=0.6)
    thick = 0.24 if bushy else 0.1
    tail_line = ((-0.6, -0.54), (-0.86, -0.6), (-1.06, -0.78), (-1.1, -0.98))
    tail = (
        Shape(tail_line, colour, stroke=thick, gloss=0.1, grain=0.2),
        Shape(tail_line[-2:], tip, stroke=thick * 0.98, gloss=0.1, grain=0.2),
    )
    return (
        _leg(-0.5, far, 0.12), _leg(0.3, far, 0.62), Part(tail, pivot=(-0.6, -0.54), swing=11, rate=0.7),
        Part((ears[0], body, chest, head, muzzle, ears[1], eye, nose)),
        _leg(-0.58, colour, 0.62), _leg(0.42, colour, 0.12),
    )  # fmt: skip


def _cat(colour: Rgb) -> Rig:
    return _four_legged(colour, belly=_dim(colour, 1.18), tip=_dim(colour, 0.8), bushy=False, snout=0.45)


def _fox(colour: Rgb) -> Rig:
    return _four_legged(colour, belly=_CREAM, tip=_CREAM, bushy=True, snout=1.0)


def _balloon(colour: Rgb) -> Rig:
    outline = ((-0.1, -0.24), (-0.36, -0.5), (-0.42, -0.74), (-0.26, -0.96), (0.0, -1.02), (0.26, -0.96), (0.42, -0.74),
               (0.36, -0.5), (0.1, -0.24))  # fmt: skip
    envelope = Shape(outline, colour, bulge=0.4, gloss=0.3, grain=0.06)
    bright = _dim(colour, 1.5) if sum(colour) < 560 else _dim(colour, 0.72)
    gores = tuple(
        Shape(
            tuple((x * share, y) for x, y in outline[: len(outline) // 2 + 1])
            + tuple((x * inner, y) for x, y in reversed(outline[: len(outline) // 2 + 1])),
            bright, smooth=False, bulge=0.09, gloss=0.15,
        )
        for share, inner in ((0.78, 0.5), (0.18, -0.18), (-0.5, -0.78))
    )  # fmt: skip
    ropes = tuple(
        Shape(((x, -0.26), (x * 0.7, -0.13)), _DARK, False, stroke=0.012, gloss=0) for x in (-0.09, 0.0, 0.09)
    )
    basket = box(-0.08, -0.14, 0.08, 0.0, _WOOD, bulge=0.05)
    return (Part((*ropes, envelope, *gores, basket)),)


def _kite(colour: Rgb) -> Rig:
    sail = Shape(((0, -1.0), (0.34, -0.64), (0, -0.1), (-0.34, -0.64)), colour, False, bulge=0.12, gloss=0.15)
    panel = Shape(((0, -1.0), (0.34, -0.64), (0, -0.64)), _dim(colour, 1.6), False, bulge=0.05, gloss=0.1)
    lower = Shape(((0, -0.64), (0, -0.1), (-0.34, -0.64)), _dim(colour, 0.7), False, bulge=0.05, gloss=0.1)
    cross = (
        Shape(((0, -1.0), (0, -0.1)), _WOOD, False, stroke=0.02),
        Shape(((-0.34, -0.64), (0.34, -0.64)), _WOOD, False, stroke=0.02),
    )
    ribbon = Shape(((0, -0.1), (0.07, 0.05), (-0.04, 0.2), (0.08, 0.36)), _dim(colour, 0.8), stroke=0.03, gloss=0)
    bows = tuple(
        ellipse(x, y, 0.07, 0.03, _dim(colour, 1.5), turn=turn) for x, y, turn in ((0.06, 0.06, 30), (-0.03, 0.2, -30))
    )
    return (Part((ribbon, *bows), pivot=(0, -0.1), swing=14, rate=0.8), Part((sail, panel, lower, *cross)))


def _bird(colour: Rgb) -> Rig:
    far = Shape(((-0.2, -0.5), (0.12, -0.52), (-0.1, -0.96), (-0.5, -1.1)), _dim(colour, 0.7), bulge=0.06, gloss=0.05)
    body = Shape(((-0.95, -0.46), (-0.4, -0.58), (0.2, -0.66), (0.5, -0.62), (0.56, -0.5), (0.3, -0.36), (-0.3, -0.36)),
                 colour, bulge=0.18, gloss=0.12)  # fmt: skip
    beak = Shape(((0.5, -0.58), (0.74, -0.5), (0.52, -0.48)), _BEAK, False, bulge=0.03)
    eye = ellipse(0.4, -0.57, 0.035, 0.035, (20, 20, 24), gloss=0.9)
    near = Shape(((-0.32, -0.5), (0.16, -0.5), (0.0, -0.86), (-0.34, -1.2), (-0.5, -1.24)), _dim(colour, 0.9),
                 bulge=0.08, gloss=0.05)  # fmt: skip
    return (
        Part((far,), pivot=(0, -0.5), swing=24, rate=1.6, phase=0.04),
        Part((beak, body, eye)),
        Part((near,), pivot=(0, -0.5), swing=30, rate=1.6),
    )


def _penguin(colour: Rgb) -> Rig:
    feet = (ellipse(-0.12, -0.03, 0.13, 0.045, _BEAK), ellipse(0.16, -0.03, 0.13, 0.045, _BEAK))
    body = Shape(((0, -0.98), (0.2, -0.9), (0.24, -0.7), (0.34, -0.4), (0.28, -0.08), (0, -0.02), (-0.28, -0.08),
                  (-0.34, -0.4), (-0.24, -0.7), (-0.2, -0.9)), colour, bulge=0.3)  # fmt: skip
    belly = Shape(
        ((0.06, -0.68), (0.22, -0.5), (0.25, -0.28), (0.18, -0.08), (0.02, -0.06), (-0.1, -0.2), (-0.12, -0.44)),
        _CREAM,
        bulge=0.14,
    )
    cheek = ellipse(0.1, -0.79, 0.11, 0.09, _CREAM)
    beak = Shape(((0.18, -0.84), (0.36, -0.78), (0.18, -0.75)), _BEAK, False, bulge=0.04)
    eye = ellipse(0.12, -0.84, 0.03, 0.035, (16, 16, 20), gloss=0.9)
    flipper = Shape(
        ((-0.24, -0.64), (-0.12, -0.6), (-0.16, -0.34), (-0.3, -0.22), (-0.32, -0.4)), _dim(colour, 1.12), bulge=0.06
    )
    return (Part((*feet, body, belly, cheek, beak, eye)), Part((flipper,), pivot=(-0.2, -0.62), swing=14, rate=1.4))


def _apple(colour: Rgb) -> Rig:
    fruit = Shape(((0, -0.84), (0.24, -0.92), (0.46, -0.76), (0.5, -0.46), (0.36, -0.1), (0.14, 0.0), (0, -0.03),
                   (-0.14, 0.0), (-0.36, -0.1), (-0.5, -0.46), (-0.46, -0.76), (-0.24, -0.92)), colour, bulge=0.42,
                  gloss=0.6)  # fmt: skip
    dent = ellipse(0, -0.83, 0.13, 0.045, _dim(colour, 0.55), gloss=0)
    stem = Shape(((0, -0.82), (0.02, -0.92), (0.08, -1.0)), _WOOD, stroke=0.05)
    leaf = Shape(((0.05, -0.9), (0.2, -1.0), (0.36, -0.96), (0.2, -0.88)), (70, 140, 50), bulge=0.05)
    return (Part((fruit, dent, stem, leaf)),)


def _gift(colour: Rgb) -> Rig:
    ribbon = _contrast(colour)
    base = box(-0.42, -0.7, 0.42, 0.0, colour, bulge=0.08, gloss=0.35)
    lid = box(-0.47, -0.78, 0.47, -0.6, _dim(colour, 0.82), bulge=0.06, gloss=0.35)
    band = box(-0.09, -0.78, 0.09, 0.0, ribbon, bulge=0.04)
    bows = (
        Shape(((0.0, -0.78), (0.1, -0.98), (0.32, -0.98), (0.26, -0.82)), ribbon, bulge=0.07),
        Shape(((0.0, -0.78), (-0.1, -0.98), (-0.32, -0.98), (-0.26, -0.82)), ribbon, bulge=0.07),
    )
    return (Part((base, lid, band, *bows, ellipse(0, -0.81, 0.07, 0.06, ribbon))),)


KINDS: dict[str, Callable[[Rgb], Rig]] = {
    "ball": _ball,
    "car": _car,
    "truck": _truck,
    "duck": _duck,
    "mug": _mug,
    "boat": _boat,
    "cat": _cat,
    "fox": _fox,
    "balloon": _balloon,
    "kite": _kite,
    "bird": _bird,
    "penguin": _penguin,
    "apple": _apple,
    "gift": _gift,
}
"""How to build each kind in a colour."""


def build(kind: str, colour: str) -> Rig:
    """The rig of a kind in a colour name. Raises ValueError when either is unknown."""
    if kind not in KINDS:
        raise ValueError(f"no entity of kind {kind!r}; there are {', '.join(KINDS)}")
    if colour not in COLOURS:
        raise ValueError(f"no colour {colour!r}; there are {', '.join(COLOURS)}")
    return KINDS[kind](COLOURS[colour])
