"""Backdrops under the open sky: meadow, pond, sea, forest, snow and beach."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.demo.canvas import (
    Backdrop,
    Bytes,
    Canvas,
    blades,
    finished,
    hills,
    labelled,
    leaves,
    pick,
    ridge,
    scatter_count,
    sky,
)
from pipeline.demo.shapes import Light
from pipeline.demo.textures import Field, Picture, fractal, mix, ramp, receding, relief, smoothstep


def _ones(canvas: Canvas) -> Field:
    return np.ones(canvas.shape, np.float32)


def _on_ground(canvas: Canvas, rng: np.random.Generator, horizon: float, cell: float, stretch: float = 1.0) -> Field:
    """Fractal noise lying on flat ground: blobs of `cell` units at the view's bottom, finer towards the horizon."""
    tile = fractal((1536, 2048), rng, max(cell * canvas.unit, 4.0), stretch=(stretch, 1.0), gain=0.75)
    return receding(tile, canvas.shape, canvas.y(horizon), 0.9 * canvas.view[1])


def _flowers(picture: Bytes, canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    total = scatter_count(canvas, 520)
    near = np.sort(rng.random(total)) ** 1.1
    rows = canvas.y(horizon + 0.03) + near * (canvas.shape[0] - canvas.y(horizon + 0.03))
    places = np.column_stack([rng.random(total) * canvas.shape[1], rows])
    sizes = (0.0016 + 0.0075 * near) * canvas.unit
    leaves(picture, rng, places, sizes, [(252, 250, 240), (250, 222, 84), (226, 128, 186), (250, 250, 250)], flat=0.7)
    leaves(picture, rng, places, sizes * 0.4, [(224, 164, 40)], flat=0.9)


def meadow(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A flowering meadow below wooded hills and a summer sky."""
    picture = sky(canvas, rng, [(66, 128, 206), (132, 182, 232), (214, 230, 240)], horizon, cover=0.52)
    line = ridge(canvas, rng, horizon - 0.02, 0.22, 0.9)
    picture = hills(picture, canvas, rng, line, [(84, 116, 138), (128, 160, 168)], cell=0.03)
    picture = hills(picture, canvas, rng, ridge(canvas, rng, horizon + 0.02, 0.13, 0.5), [(34, 66, 40), (92, 128, 66)])
    patches = 0.5 * _on_ground(canvas, rng, horizon, 0.5) + 0.5 * canvas.noise(rng, 0.02, stretch=(1, 2.5), gain=0.8)
    grass = ramp(patches, [(48, 84, 26), (98, 138, 44), (152, 178, 74), (188, 200, 104)])
    ground = canvas.v > horizon
    done = finished(mix(picture, grass, smoothstep(horizon, horizon + 0.012, canvas.v)))
    blades(done, canvas, rng, (horizon, 1.0), [(60, 102, 32), (106, 150, 48), (150, 182, 72), (46, 78, 28)])
    _flowers(done, canvas, rng, horizon)
    labels, names = labelled(canvas, [("sky", None), ("hills", canvas.v > line), ("grass", ground)])
    return Backdrop(done, labels, names, Light(), _ones(canvas))


def _lily_pads(picture: Bytes, canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    for near in np.sort(rng.random(scatter_count(canvas, 46))):
        row = horizon + 0.06 + near * (1.1 - horizon)
        size = (0.012 + 0.055 * near) * canvas.unit
        x, y = rng.random() * canvas.shape[1], canvas.y(row)
        tone = pick([(74, 128, 60), (98, 146, 66), (60, 110, 62)], rng)
        if 0.5 < row < 0.8:
            continue  # open water for those who swim
        rings = [(1.06, -34, 0.12), (1.0, 0, 0.0), (0.86, 12, -0.02), (0.58, 22, -0.03), (0.26, 12, -0.02)]
        for share, lift, lower in rings:
            axes = (max(1, round(size * share)), max(1, round(size * share * 0.34)))
            colour = tuple(int(np.clip(channel + lift, 0, 255)) for channel in tone)
            centre = (round(x), round(y + lower * size))
            # An open ellipse: the notch of a lily pad.
            cv2.ellipse(picture, centre, axes, 0.0, 20 + 40 * lower, 335, colour, cv2.FILLED, cv2.LINE_AA)


def pond(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A still pond with lily pads below a bank of reeds."""
    bank = canvas.noise(rng, 0.07, stretch=(1.0, 2.2), gain=0.8)
    picture = ramp(bank, [(22, 40, 22), (58, 88, 36), (120, 138, 62), (186, 186, 112)])
    waves = 0.65 * _on_ground(canvas, rng, horizon, 0.10, stretch=2.5) + 0.35 * _on_ground(canvas, rng, horizon, 0.6)
    mirror = np.clip(1.0 - (canvas.v - horizon) / 0.9, 0.0, 1.0)
    water = ramp(
        np.clip(0.75 * waves + 0.28 * mirror - 0.06, 0.0, 1.0),
        [(18, 52, 62), (42, 94, 104), (92, 146, 150), (170, 204, 200), (226, 238, 232)],
    )
    trees = np.exp(-(((canvas.v - horizon) / 0.16) ** 2)) * (canvas.v > horizon)
    water = mix(water, (34, 62, 40), trees * 0.7 * (0.6 + 0.6 * canvas.noise(rng, 0.05, stretch=(1, 3))))
    done = finished(mix(picture, water, smoothstep(horizon, horizon + 0.006, canvas.v)))
    blades(done, canvas, rng, (0.0, horizon), [(96, 120, 48), (148, 152, 74), (58, 84, 36)], count=2600, length=0.14)
    _lily_pads(done, canvas, rng, horizon)
    labels, names = labelled(canvas, [("reeds", None), ("water", canvas.v > horizon)])
    return Backdrop(done, labels, names, Light(), _ones(canvas))


def sea(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """The open sea at sunset."""
    sun_u, sun_v = 0.7, 0.36
    colours = [(72, 62, 122), (168, 92, 132), (244, 146, 106), (255, 206, 138)]
    picture = sky(canvas, rng, colours, horizon, cloud=(255, 190, 150), shadow=(122, 78, 118), cover=0.56)
    aspect = canvas.view[1] / canvas.view[0]
    away = np.hypot((canvas.u - sun_u) * aspect, canvas.v - sun_v)
    picture = mix(picture, (255, 226, 164), np.exp(-((away / 0.22) ** 2)) * 0.75)
    picture = mix(picture, (255, 248, 222), smoothstep(0.062, 0.055, away))
    waves = 0.7 * _on_ground(canvas, rng, horizon, 0.09, stretch=2.8) + 0.3 * _on_ground(canvas, rng, horizon, 0.5, 2.0)
    deep = ramp(waves, [(30, 34, 84), (62, 62, 122), (128, 96, 140), (226, 152, 136), (255, 206, 160)])
    deep = deep * (0.75 + 0.4 * np.exp(-(canvas.v - horizon) / 0.25))[..., None]
    path = np.exp(-(((canvas.u - sun_u) / (0.05 + 0.22 * np.maximum(canvas.v - horizon, 0))) ** 2))
    deep = mix(deep, (255, 224, 160), path * smoothstep(0.5, 0.7, waves))
    below = canvas.v > horizon
    labels, names = labelled(canvas, [("sky", None), ("sea", below)])
    light = Light((0.55, -0.45, 0.7), (1.05, 0.88, 0.72), (0.46, 0.40, 0.50))
    done = finished(mix(picture, deep, smoothstep(horizon, horizon + 0.004, canvas.v)))
    return Backdrop(done, labels, names, light, _ones(canvas))


def _far_trunks(picture: Picture, canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Three rows of ever nearer and darker trunks, painted in place."""
    left, right = canvas.span_u()
    for depth in range(3):
        bark = canvas.noise(rng, 0.05, stretch=(1.0, 7.0), gain=0.8)
        haze = 2 - depth
        dark, bright = (36 + 34 * haze, 36 + 34 * haze, 34 + 22 * haze), (96, 92 + 14 * haze, 74)
        foot = horizon + 0.02 + 0.035 * depth
        total = max(4, int((16 - 4 * depth) * (right - left)))
        for place in left + (np.arange(total) + rng.random(total)) / total * (right - left):
            width, lean = (0.008 + 0.009 * depth) * rng.uniform(0.6, 1.5), rng.normal(0, 0.03)
            middle = place + lean * (canvas.v - foot) + 0.004 * np.sin(canvas.v * 9 + place * 40)
            columns = canvas.columns(float(middle.min()) - width, float(middle.max()) + width)
            across = (canvas.u[:, columns] - middle) / width
            inside = smoothstep(1.0, 0.75, np.abs(across)) * (canvas.v < foot)
            colour = ramp(bark[:, columns], [dark, bright]) * np.clip(1.15 - 0.55 * across, 0.5, 1.7)[..., None]
            picture[:, columns] = mix(picture[:, columns], colour, inside)


def forest(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A green wood with mossy ground and light between the trunks."""
    crowns = canvas.noise(rng, 0.22, gain=0.72)
    glow = np.clip(1.15 - np.abs(canvas.v - 0.28) * 1.7, 0.0, 1.0)
    picture = ramp(
        np.clip(crowns * 0.75 + 0.3 * glow, 0.0, 1.0),
        [(14, 36, 20), (40, 82, 34), (104, 146, 62), (190, 212, 128), (240, 246, 206)],
    )
    _far_trunks(picture, canvas, rng, horizon)
    litter = 0.55 * _on_ground(canvas, rng, horizon, 0.3) + 0.45 * _on_ground(canvas, rng, horizon, 0.05)
    moss = ramp(litter, [(34, 36, 18), (68, 72, 30), (98, 104, 44), (150, 146, 78), (198, 186, 120)])
    spots = smoothstep(0.56, 0.72, _on_ground(canvas, rng, horizon, 0.7))
    brightness = np.asarray(0.78 + 0.42 * spots, np.float32)
    moss = moss * brightness[..., None] * np.asarray((1.03, 1.0, 0.92), np.float32)
    below = canvas.v > horizon
    done = finished(mix(picture, moss, smoothstep(horizon, horizon + 0.05, canvas.v)))
    total = scatter_count(canvas, 1500)
    near = np.sort(rng.random(total))
    places = np.column_stack(
        [rng.random(total) * canvas.shape[1], canvas.y(horizon + 0.03) + near * 0.62 * canvas.unit]
    )
    leaves(done, rng, places, (0.002 + 0.008 * near) * canvas.unit, [(120, 86, 42), (160, 120, 60), (84, 62, 34)])
    blades(done, canvas, rng, (horizon, 1.0), [(58, 96, 34), (96, 138, 54), (36, 62, 26)], count=2600, length=0.06)
    labels, names = labelled(canvas, [("trees", None), ("ground", below)])
    light = Light((-0.3, -0.8, 0.52), (1.0, 1.0, 0.86), (0.36, 0.42, 0.34))
    return Backdrop(done, labels, names, light, brightness)


def _fir_row(picture: Picture, canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Snowy firs along the horizon, painted in place."""
    needles = canvas.noise(rng, 0.02, stretch=(1.6, 1.0), gain=0.85)
    left, right = canvas.span_u()
    total = max(6, int(26 * (right - left)))
    aspect = canvas.view[1] / canvas.view[0]
    for place in left + (np.arange(total) + rng.random(total)) / total * (right - left):
        tall, foot = rng.uniform(0.1, 0.24), horizon + rng.uniform(0.0, 0.03)
        columns = canvas.columns(place - 0.4 * tall, place + 0.4 * tall)
        texture = needles[:, columns]
        down = np.clip((canvas.v - foot + tall) / tall, 0.0, 1.0)
        tiers = 0.6 + 0.4 * np.mod(down * 5.0, 1.0)
        width = 0.3 * tall * down * tiers + 0.03 * (texture - 0.5) * tall
        inside = smoothstep(0.0, 0.006, width - np.abs(canvas.u[:, columns] - place) * aspect)
        green = ramp(texture, [(16, 34, 40), (36, 64, 62), (86, 112, 108), (224, 234, 242)])
        upright = (canvas.v < foot) & (canvas.v > foot - tall)
        picture[:, columns] = mix(picture[:, columns], green, inside * upright)


def snow(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A snowfield in low winter sun with firs and mountains."""
    picture = sky(canvas, rng, [(96, 140, 190), (168, 198, 224), (240, 226, 222)], horizon, cover=0.44)
    crest = ridge(canvas, rng, horizon, 0.3, 0.45)
    slopes = canvas.noise(rng, 0.14, gain=0.75)
    picture = mix(
        picture,
        ramp(slopes, [(92, 112, 150), (150, 166, 196), (232, 232, 240), (255, 244, 238)]),
        smoothstep(0.0, 0.004, canvas.v - crest),
    )
    _fir_row(picture, canvas, rng, horizon)
    drifts = 0.6 * _on_ground(canvas, rng, horizon, 0.5, 1.6) + 0.25 * _on_ground(canvas, rng, horizon, 0.08)
    drifts = np.asarray(drifts + 0.15 * canvas.noise(rng, 0.012, gain=0.9), np.float32)
    field = ramp(drifts, [(126, 148, 194), (182, 198, 226), (230, 234, 244), (255, 250, 244)])
    field = field * relief(drifts, 0.12)[..., None]
    below = canvas.v > horizon + 0.02
    done = finished(mix(picture, field, smoothstep(horizon + 0.005, horizon + 0.025, canvas.v)))
    total = scatter_count(canvas, 900)
    near = rng.random(total)
    rows = canvas.y(horizon + 0.04) + near * (canvas.shape[0] - canvas.y(horizon + 0.04))
    places = np.column_stack([rng.random(total) * canvas.shape[1], rows])
    leaves(done, rng, places, (0.0008 + 0.003 * near) * canvas.unit, [(255, 255, 255), (150, 168, 206)])
    labels, names = labelled(canvas, [("sky", None), ("mountain", canvas.v > crest), ("snow", below)])
    light = Light((-0.6, -0.5, 0.62), (1.02, 0.97, 0.9), (0.48, 0.52, 0.6))
    return Backdrop(done, labels, names, light, _ones(canvas))


def beach(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """Rippled sand before a turquoise sea."""
    shore = horizon + 0.13
    picture = sky(canvas, rng, [(40, 130, 200), (110, 186, 226), (220, 238, 240)], horizon, cover=0.42)
    waves = _on_ground(canvas, rng, horizon, 0.05, stretch=4.0)
    far = np.clip((canvas.v - horizon) / (shore - horizon), 0.0, 1.0)
    water = ramp(
        np.clip(0.7 * far + 0.5 * (waves - 0.3), 0, 1), [(14, 84, 140), (24, 140, 168), (96, 206, 202), (216, 246, 236)]
    )
    picture = mix(picture, water, smoothstep(horizon, horizon + 0.003, canvas.v))
    wobble = 0.03 * (canvas.noise(rng, 0.35, stretch=(3.0, 1.0)) - 0.5)
    wash = canvas.v + wobble
    dunes = _on_ground(canvas, rng, horizon, 0.45, 1.5)
    ripples = 0.5 + 0.5 * np.sin(2 * np.pi * 16 * _on_ground(canvas, rng, horizon, 0.9, 3.0))
    grit = canvas.noise(rng, 0.008, gain=1.0)
    tone = np.asarray(0.5 * dunes + 0.2 * ripples + 0.3 * grit, np.float32)
    sand = (
        ramp(tone, [(150, 116, 78), (198, 164, 118), (228, 200, 154), (248, 230, 194)]) * relief(tone, 0.09)[..., None]
    )
    damp = smoothstep(shore + 0.06, shore, wash)
    sand = mix(sand, sand * np.asarray((0.66, 0.66, 0.7), np.float32), damp)
    picture = mix(picture, sand, smoothstep(shore - 0.003, shore + 0.003, wash))
    foam = np.exp(-(((wash - shore) / 0.009) ** 2)) + 0.7 * np.exp(-(((wash - shore + 0.035) / 0.006) ** 2))
    picture = mix(picture, (250, 252, 250), np.clip(foam * (0.4 + canvas.noise(rng, 0.02)), 0.0, 1.0))
    done = finished(picture)
    total = scatter_count(canvas, 420)
    near = np.sort(rng.random(total))
    rows = canvas.y(shore + 0.06) + near * (canvas.shape[0] - canvas.y(shore + 0.06))
    places = np.column_stack([rng.random(total) * canvas.shape[1], rows])
    sizes = (0.0012 + 0.005 * near) * canvas.unit
    leaves(done, rng, places + np.asarray((0.0, 1.0)), sizes * 1.15, [(128, 98, 68)], flat=0.6)
    leaves(done, rng, places, sizes, [(250, 240, 224), (214, 176, 150), (176, 146, 122), (140, 128, 120)], flat=0.7)
    labels, names = labelled(canvas, [("sky", None), ("sea", canvas.v > horizon), ("sand", np.asarray(wash > shore))])
    return Backdrop(done, labels, names, Light((-0.35, -0.75, 0.56)), _ones(canvas))
