"""Backdrops among walls: street, brick wall, night town, desk and kitchen table."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.demo.canvas import Backdrop, Bytes, Canvas, finished, labelled, leaves, pick, ridge, scatter_count
from pipeline.demo.shapes import Light
from pipeline.demo.textures import Field, Picture, bricks, fractal, mix, planks, ramp, receding, relief, smoothstep


def _rectangle(
    picture: Bytes, canvas: Canvas, u0: float, v0: float, u1: float, v1: float, colour: tuple[int, ...]
) -> None:
    start, end = (round(canvas.x(u0)), round(canvas.y(v0))), (round(canvas.x(u1)), round(canvas.y(v1)))
    cv2.rectangle(picture, start, end, colour, cv2.FILLED)


def _window(picture: Bytes, canvas: Canvas, u: float, v: float, size: tuple[float, float], glass: Bytes) -> None:
    """A sash window with a pale frame, panes that mirror the sky, a sill and the shade below it."""
    half, tall = size[0] / 2, size[1]
    _rectangle(picture, canvas, u - half * 1.18, v - 0.014, u + half * 1.18, v + tall + 0.006, (238, 234, 224))
    rows = slice(round(canvas.y(v)), round(canvas.y(v + tall)))
    columns = canvas.columns(u - half, u + half)
    if rows.start >= 0 and rows.stop <= canvas.shape[0]:
        picture[rows, columns] = glass[rows, columns]
    bar = max(0.003, 1.0 / canvas.unit)
    for middle in (u - half / 3, u + half / 3):
        _rectangle(picture, canvas, middle - bar / 2, v, middle + bar / 2, v + tall, (232, 228, 218))
    _rectangle(picture, canvas, u - half, v + tall / 2 - bar, u + half, v + tall / 2 + bar, (232, 228, 218))
    _rectangle(picture, canvas, u - half * 1.35, v + tall, u + half * 1.35, v + tall + 0.016, (208, 202, 192))
    _rectangle(picture, canvas, u - half * 1.3, v + tall + 0.016, u + half * 1.3, v + tall + 0.026, (120, 102, 84))


def street(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """Pastel house fronts across a street, seen square on."""
    kerb, lane = horizon, horizon + 0.12
    picture = canvas.plain((0, 0, 0))
    plaster = canvas.noise(rng, 0.25, gain=0.85)
    fronts = [(226, 178, 118), (150, 186, 178), (222, 150, 132), (206, 204, 176), (158, 170, 206)]
    left, right = canvas.span_u()
    edges = np.arange(np.floor(left / 0.34) - 1, np.ceil(right / 0.34) + 1) * 0.34 + 0.08
    for index, start in enumerate(edges):
        columns = canvas.columns(float(start), float(start) + 0.34)
        colour = np.asarray(fronts[index % len(fronts)], np.float32)
        picture[:, columns] = colour * (0.84 + 0.24 * plaster[:, columns])[..., None]
    stone = canvas.noise(rng, 0.03, gain=0.9)
    picture = mix(picture, ramp(stone, [(92, 88, 86), (158, 150, 140)]), smoothstep(0.53, 0.535, canvas.v))
    slabs = smoothstep(0.0, 0.012, np.minimum(np.mod(canvas.u, 0.09), 0.09 - np.mod(canvas.u, 0.09)))
    paving = ramp(0.5 * stone + 0.5 * canvas.noise(rng, 0.2), [(130, 124, 118), (196, 190, 182)])
    picture = mix(picture, paving * (0.8 + 0.2 * slabs)[..., None], smoothstep(kerb, kerb + 0.004, canvas.v))
    picture = mix(picture, (214, 208, 198), np.exp(-(((canvas.v - lane + 0.012) / 0.01) ** 2)))
    grit = 0.6 * canvas.noise(rng, 0.006, gain=1.0) + 0.4 * canvas.noise(rng, 0.4, stretch=(3.0, 1.0))
    asphalt = ramp(np.asarray(grit, np.float32), [(44, 46, 52), (84, 86, 92), (132, 132, 134)])
    picture = mix(picture, asphalt, smoothstep(lane, lane + 0.004, canvas.v))
    picture = picture * (1.0 - 0.35 * np.exp(-np.maximum(canvas.v - lane, 0) / 0.02) * (canvas.v > lane))[..., None]
    dashes = (np.mod(canvas.u, 0.2) < 0.11) & (np.abs(canvas.v - 0.945) < 0.008)
    picture = mix(picture, (226, 220, 196), np.asarray(dashes * (0.55 + 0.4 * grit), np.float32))
    done = finished(picture)
    sky_in_glass = finished(
        ramp(canvas.noise(rng, 0.2, stretch=(1.0, 1.6)), [(40, 60, 84), (92, 128, 160), (214, 228, 236)])
    )
    for index, start in enumerate(edges):
        _rectangle(done, canvas, start - 0.004, -1.0, start + 0.004, 0.53, (168, 150, 130))
        for column in (0.09, 0.25):
            _window(done, canvas, float(start) + column, 0.05, (0.075, 0.17), sky_in_glass)
        _window(done, canvas, float(start) + 0.25, 0.32, (0.075, 0.15), sky_in_glass)
        door = pick([(96, 44, 40), (36, 72, 84), (66, 84, 50), (84, 62, 96)], np.random.default_rng(index))
        _rectangle(done, canvas, start + 0.052, 0.32, start + 0.128, kerb, (226, 220, 208))
        _rectangle(done, canvas, start + 0.06, 0.335, start + 0.12, kerb, door)
        lighter = tuple(min(255, channel + 26) for channel in door)
        for top in (0.355, 0.48):
            _rectangle(done, canvas, start + 0.07, top, start + 0.11, top + 0.1, lighter)
    labels, names = labelled(canvas, [("building", None), ("pavement", canvas.v > kerb), ("road", canvas.v > lane)])
    return Backdrop(done, labels, names, Light((-0.5, -0.6, 0.62)), np.ones(canvas.shape, np.float32))


def wall(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A sunlit brick wall with ivy above a stone ledge."""
    ledge = horizon
    colours = [(112, 48, 38), (164, 82, 58), (190, 112, 80), (150, 74, 62), (208, 146, 110)]
    picture = bricks(canvas.shape, rng, 0.062 * canvas.unit, colours, (186, 176, 160))
    sunlight = smoothstep(-0.25, 0.3, 0.55 - canvas.u * 0.8 + canvas.v * 0.45 + 0.15 * (canvas.noise(rng, 0.4) - 0.5))
    brightness = np.asarray(1.12 - 0.34 * sunlight, np.float32)
    stone = canvas.noise(rng, 0.16, gain=0.85)
    slab = ramp(stone, [(110, 106, 96), (166, 160, 146), (208, 202, 186)]) * relief(stone, 0.25)[..., None]
    joints = smoothstep(0.0, 0.006, np.abs(np.mod(canvas.u + 0.11, 0.36) - 0.18))
    lit_top = 1.18 - 0.45 * smoothstep(ledge + 0.1, ledge + 0.115, canvas.v)
    picture = picture * (1.0 - 0.35 * np.exp(-np.maximum(ledge - canvas.v, 0) / 0.03))[..., None]
    picture = mix(
        picture, slab * (lit_top * (0.6 + 0.4 * joints))[..., None], smoothstep(ledge, ledge + 0.004, canvas.v)
    )
    done = finished(picture * brightness[..., None])
    total = scatter_count(canvas, 2600)
    thickness = ridge(canvas, rng, 0.34, 0.42, 0.3)[0]
    columns = rng.random(total) * canvas.shape[1]
    corner = np.clip(np.abs(columns / canvas.shape[1] - 0.42) * 2.1 - 0.1, 0.0, 1.0)
    depth = (thickness[columns.astype(np.int64)] + 0.12) * corner + 0.04
    rows = canvas.y(-0.1) + (rng.random(total) ** 0.8) * (depth + 0.1) * canvas.unit
    places = np.column_stack([columns, rows])
    sizes = rng.uniform(0.006, 0.015, total) * canvas.unit
    leaves(done, rng, places + 0.006 * canvas.unit, sizes, [(64, 34, 28)], flat=0.7)
    leaves(done, rng, places, sizes, [(42, 84, 36), (76, 122, 50), (28, 60, 34), (114, 150, 66)], flat=0.7)
    labels, names = labelled(canvas, [("wall", None), ("ledge", canvas.v > ledge)])
    return Backdrop(done, labels, names, Light((0.55, -0.6, 0.58)), brightness)


def _skyline(picture: Bytes, canvas: Canvas, rng: np.random.Generator, water: float) -> None:
    """Three rows of dark houses with lit windows, in place."""
    left, right = canvas.span_u()
    for row in range(3):
        place = left - 0.02
        while place < right:
            width, tall = rng.uniform(0.04, 0.1), rng.uniform(0.1, 0.42) * (1.0 - 0.22 * row)
            tone = 66 - 20 * row
            body = (tone - 14 + int(rng.integers(8)), tone - 8, tone + 22)
            _rectangle(picture, canvas, place, water - tall, place + width, water, body)
            storey = 0.022 + 0.004 * row
            for v in np.arange(water - tall + 0.02, water - 0.015, storey):
                for u in np.arange(place + 0.008, place + width - 0.01, 0.0125):
                    if rng.random() < 0.42:
                        glow = pick([(255, 208, 120), (255, 232, 178), (190, 214, 255), (255, 176, 92)], rng)
                        _rectangle(picture, canvas, u, v, u + 0.0052, v + storey * 0.46, glow)
            place += width + rng.uniform(0.0, 0.02)


def night(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A town at night mirrored in a river under stars and a moon."""
    water = horizon
    down = np.broadcast_to(np.clip((canvas.v + 0.1) / (water + 0.1), 0, 1), canvas.shape)
    haze = canvas.noise(rng, 0.5, stretch=(2.0, 1.0), gain=0.5)
    picture = ramp(
        np.asarray(down * 0.8 + 0.4 * (haze - 0.4), np.float32),
        [(10, 14, 42), (26, 34, 82), (74, 62, 118), (150, 96, 120)],
    )
    aspect = canvas.view[1] / canvas.view[0]
    away = np.hypot((canvas.u - 0.18) * aspect, canvas.v - 0.16)
    picture = mix(picture, (190, 200, 240), np.exp(-((away / 0.16) ** 2)) * 0.4)
    face = ramp(canvas.noise(rng, 0.05), [(206, 206, 200), (255, 252, 236)])
    picture = mix(picture, face, smoothstep(0.066, 0.06, away))
    done = finished(picture)
    total = scatter_count(canvas, 520)
    stars = np.column_stack([rng.random(total) * canvas.shape[1], rng.random(total) * canvas.y(0.5)])
    leaves(
        done, rng, stars, rng.uniform(0.0004, 0.0022, total) * canvas.unit, [(255, 255, 255), (190, 206, 255)], flat=1.0
    )
    _skyline(done, canvas, rng, water)
    edge = round(canvas.y(water))
    below = canvas.shape[0] - edge
    upside_down = np.asarray(done[max(0, edge - below) : edge][::-1], np.float32)
    stretched = cv2.resize(upside_down, (canvas.shape[1], below))
    mirrored = np.asarray(cv2.blur(stretched, (3, max(3, round(0.09 * canvas.unit)))), np.float32)
    tile = fractal((768, 1024), rng, max(0.07 * canvas.unit, 4.0), stretch=(4.0, 1.0), gain=0.75)
    waves = receding(tile, canvas.shape, canvas.y(water) - 0.02 * canvas.unit, 0.9 * canvas.view[1])[edge:]
    river = np.clip(mirrored * (0.3 + 1.5 * waves[..., None] ** 2) + (waves[..., None] - 0.42) * 46, 0, 255)
    done[edge:] = (0.86 * river + np.asarray((6, 10, 26))).clip(0, 255).astype(np.uint8)
    labels, names = labelled(
        canvas, [("sky", None), ("building", canvas.v > water - 0.14), ("water", canvas.v > water)]
    )
    light = Light((-0.35, -0.5, 0.79), (0.86, 0.82, 0.88), (0.40, 0.40, 0.52))
    return Backdrop(done, labels, names, light, np.ones(canvas.shape, np.float32))


def _books(picture: Bytes, canvas: Canvas, rng: np.random.Generator, shelf: float) -> None:
    """A row of book spines standing on the view fraction `shelf`, in place."""
    left, right = canvas.span_u()
    covers = [(150, 52, 48), (44, 82, 112), (206, 172, 98), (62, 98, 72), (226, 214, 192), (96, 60, 92), (52, 52, 60)]
    place = left
    while place < right:
        width, tall = rng.uniform(0.012, 0.032), rng.uniform(0.17, 0.26)
        if rng.random() < 0.06:
            place += 0.05
            continue
        colour = pick(covers, rng)
        _rectangle(picture, canvas, place, shelf - tall, place + width, shelf, colour)
        dark = (int(colour[0] * 0.6), int(colour[1] * 0.6), int(colour[2] * 0.6))
        _rectangle(picture, canvas, place + width * 0.8, shelf - tall, place + width, shelf, dark)
        for band in (0.12, 0.2, 0.8):
            top = shelf - tall + band * tall
            _rectangle(
                picture, canvas, place, top, place + width * 0.8, top + 0.008, pick([(224, 196, 130), dark], rng)
            )
        place += width + 0.001


def desk(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A wooden desk before a bookshelf that lies out of focus, in lamp light."""
    edge = horizon
    room = finished(ramp(canvas.noise(rng, 0.4, gain=0.8), [(84, 60, 44), (120, 88, 62)]))
    for shelf in (0.06, 0.42):
        _rectangle(room, canvas, -1.0, shelf - 0.3, 2.0, shelf, (46, 34, 28))
        _books(room, canvas, rng, shelf)
        _rectangle(room, canvas, -1.0, shelf, 2.0, shelf + 0.035, (146, 104, 66))
    blurred = np.asarray(cv2.GaussianBlur(room, (0, 0), max(0.0035 * canvas.unit, 0.3)), np.float32)
    boards = planks(
        (1024, 2048), rng, 170.0 * canvas.unit / 720.0, [(96, 54, 28), (150, 92, 50), (196, 136, 82), (222, 170, 112)]
    )
    top = receding(boards, canvas.shape, canvas.y(0.12), 0.62 * canvas.view[1])
    sheen = np.exp(-(((canvas.u - 0.36) / 0.5) ** 2) - ((canvas.v - 0.62) / 0.3) ** 2)
    brightness = np.asarray(
        0.72 + 0.5 * np.exp(-(((canvas.u - 0.36) / 0.55) ** 2 + ((canvas.v - 0.55) / 0.7) ** 2)), np.float32
    )
    picture = blurred * np.float32(0.86)
    picture = mix(
        picture,
        mix(top, (255, 236, 200), np.asarray(0.16 * sheen, np.float32)),
        smoothstep(edge, edge + 0.003, canvas.v),
    )
    picture = mix(picture, (70, 42, 26), np.asarray(0.8 * np.exp(-(((canvas.v - edge) / 0.004) ** 2)), np.float32))
    labels, names = labelled(canvas, [("shelf", None), ("table", canvas.v > edge)])
    light = Light((-0.4, -0.62, 0.68), (1.06, 0.96, 0.82), (0.42, 0.38, 0.36))
    return Backdrop(finished(picture * brightness[..., None]), labels, names, light, brightness)


def _checks(rng: np.random.Generator, size: int, square: float) -> Picture:
    """A woven gingham cloth of size × size pixels."""
    place = np.arange(size, dtype=np.float32)
    stripe: Field = (np.mod(place, 2 * square) < square).astype(np.float32)
    tone = 0.5 * (stripe[None, :] + stripe[:, None])
    threads = fractal((size, size), rng, 6.0, gain=1.0)
    creases = fractal((size, size), rng, size / 4.0, gain=0.5)
    cloth = ramp(np.asarray(tone, np.float32), [(246, 240, 226), (226, 138, 128), (186, 46, 52)])
    return np.asarray(cloth * (0.66 + 0.28 * threads + 0.3 * creases)[..., None], np.float32)


def kitchen(canvas: Canvas, rng: np.random.Generator, horizon: float) -> Backdrop:
    """A table with a checked cloth before a tiled kitchen wall."""
    edge = horizon
    glaze = canvas.noise(rng, 0.09, gain=0.7)
    size = 0.12
    aspect = canvas.view[1] / canvas.view[0]
    across, down = np.mod(canvas.u * aspect, size), np.mod(canvas.v + 0.04, size)
    joint = np.minimum(np.minimum(across, size - across), np.minimum(down, size - down))
    tile_tone = fractal((24, 48), rng, 1.0)
    tone = tile_tone[np.floor(canvas.v / size).astype(int) % 24, np.floor(canvas.u * aspect / size).astype(int) % 48]
    tiles = ramp(np.asarray(0.55 * glaze + 0.45 * tone, np.float32), [(70, 132, 138), (124, 182, 180), (186, 220, 212)])
    inside = smoothstep(0.002, 0.006, joint)
    picture = mix(canvas.plain((222, 220, 210)), tiles, inside) * relief(inside, 0.12)[..., None]
    cloth = receding(
        _checks(rng, 1024, 84.0 * canvas.unit / 720.0), canvas.shape, canvas.y(0.06), 0.62 * canvas.view[1]
    )
    picture = picture * (1.0 - 0.45 * np.exp(-np.maximum(edge - canvas.v, 0) / 0.05))[..., None]
    picture = mix(picture, cloth, smoothstep(edge, edge + 0.003, canvas.v))
    brightness = np.asarray(1.1 - 0.3 * np.hypot(canvas.u - 0.35, canvas.v - 0.4), np.float32)
    labels, names = labelled(canvas, [("wall", None), ("table", canvas.v > edge)])
    return Backdrop(finished(picture * brightness[..., None]), labels, names, Light((-0.55, -0.55, 0.63)), brightness)
