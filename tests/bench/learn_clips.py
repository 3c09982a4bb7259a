"""Clips to learn from: one coloured shape crosses a still background with structure that a hole interrupts.

Everything of a clip follows from its number and the split's seed. Stripes, checkers and horizons are what inpainting
from a hole's rim smears and what can be learnt: a line goes on straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stages.media import ClipWriter, MediaSettings

Picture = npt.NDArray[np.uint8]

SIDE = 96
FRAMES = 9
FPS = 12
OVERSAMPLING = 4
"""Pictures are painted so many times larger and shrunk, for smooth edges."""

PAINT = {"red": (208, 36, 36), "blue": (36, 84, 208), "green": (44, 150, 62), "yellow": (240, 208, 44)}
"""Colours of the shapes; red and blue are those the captions are swapped between, and twice as frequent."""
PAINT_ORDER = ("red", "blue", "red", "blue", "green", "yellow")
FIRST_SHAPES = ("circle", "square", "triangle")
OTHER_SHAPES = ("cross", "star", "ring")
BACKGROUNDS = ("stripes", "checker", "horizon", "stripes")


@dataclass(frozen=True)
class LearnClip:
    """One clip: its pictures (frames, side, side, 3) uint8 RGB and what was painted."""

    name: str
    frames: Picture
    shape: str
    colour: str


def render_clip(number: int, seed: int, shapes: Sequence[str]) -> LearnClip:
    """The `number`-th clip of a split."""
    rng = np.random.default_rng([seed, number])
    shape, colour = shapes[number % len(shapes)], PAINT_ORDER[rng.integers(len(PAINT_ORDER))]
    ground = _background(BACKGROUNDS[rng.integers(len(BACKGROUNDS))], rng)
    paint = np.clip(np.asarray(PAINT[colour]) + rng.integers(-10, 11, 3), 0, 255)
    radius = rng.uniform(0.13, 0.19) * SIDE
    start, end = _path(radius, rng)
    outline = _outline(shape, rng.uniform(0, 2 * np.pi))
    frames = []
    for index in range(FRAMES):
        centre = start + (end - start) * index / (FRAMES - 1)
        cover = _cover(shape, outline * radius + centre, centre, radius)
        frames.append(np.rint(ground + cover[..., None] * (paint - ground)).astype(np.uint8))
    return LearnClip(f"{shape}-{number:04d}", np.stack(frames), shape, colour)


def write_clips(folder: Path, count: int, seed: int, shapes: Sequence[str]) -> Path:
    """Write `count` clips as mp4 files; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        clip = render_clip(number, seed, shapes)
        path = folder / f"{clip.name}.mp4"
        if path.exists():
            continue
        writer = ClipWriter(SIDE, SIDE, Fraction(FPS), MediaSettings())
        for frame in clip.frames:
            writer.add(frame)
        path.write_bytes(writer.finish())
    return folder


def _path(radius: float, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and last centre: wholly in the picture, and far enough apart to be seen moving."""
    low, high = radius + 2, SIDE - radius - 2
    while True:
        start, end = rng.uniform(low, high, 2), rng.uniform(low, high, 2)
        if 0.3 * SIDE <= np.hypot(*(end - start)) <= 0.55 * SIDE:
            return start, end


def _tones(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Two dull colours of clearly different lightness, (2, 3)."""
    dark, light = rng.uniform(50, 110), rng.uniform(160, 235)
    tones = np.asarray([[dark], [light]]) + rng.uniform(-22, 22, (2, 3))
    return tones[rng.permutation(2)]


def _background(kind: str, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The still background (side, side, 3)."""
    size = SIDE * OVERSAMPLING
    y, x = np.mgrid[0:size, 0:size] / OVERSAMPLING
    if kind == "horizon":
        angle = float(rng.uniform(-0.6, 0.6) + rng.integers(2) * np.pi / 2)
        across = (x - SIDE / 2) * np.sin(angle) + (y - SIDE / 2) * np.cos(angle) + rng.uniform(-0.2, 0.2) * SIDE
        second = across > 0
    else:
        period = rng.uniform(28, 44)
        angle = float(rng.integers(4)) * np.pi / 4 if kind == "stripes" else 0.0
        shift = rng.uniform(0, period, 2)
        across = x * np.cos(angle) + y * np.sin(angle) + shift[0]
        second = across % period < period / 2
        if kind == "checker":
            second ^= (y + shift[1]) % period < period / 2
    first_tone, second_tone = _tones(rng)
    share = cv2.resize(second.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None]
    return np.asarray(first_tone + share * (second_tone - first_tone), np.float64)


def _outline(shape: str, turn: float) -> npt.NDArray[np.float64]:
    """Corners (points, 2) within a circle of radius 1; empty for round shapes."""

    def around(count: int, radii: Sequence[float]) -> npt.NDArray[np.float64]:
        angles = turn + np.arange(count) * 2 * np.pi / count
        radius = np.resize(np.asarray(radii), count)
        return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)

    match shape:
        case "square":
            return around(4, [1.0])
        case "triangle":
            return around(3, [1.0])
        case "star":
            return around(10, [1.0, 0.48])
        case "cross":
            arm = 0.36
            corners = [(1, arm), (arm, arm), (arm, 1)]
            quarter = np.asarray(corners) / np.hypot(1, arm)
            turns = [np.asarray([[0, 1], [-1, 0]]) if k % 2 else np.eye(2) for k in range(4)]
            signs = [1, 1, -1, -1]
            points = np.concatenate([quarter @ t * s for t, s in zip(turns, signs, strict=True)])
            order = np.argsort(np.arctan2(points[:, 1], points[:, 0]))
            spin = np.asarray([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            return np.asarray(points[order] @ spin)
        case _:
            return np.zeros((0, 2))


def _cover(
    shape: str, corners: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], radius: float
) -> npt.NDArray[np.float64]:
    """Share of every pixel that the shape covers, (side, side)."""
    size = SIDE * OVERSAMPLING
    canvas = np.zeros((size, size), np.uint8)
    if len(corners):
        cv2.fillPoly(canvas, [np.rint(corners * OVERSAMPLING).astype(np.int32)], 255)
    else:
        place = tuple(int(value) for value in np.rint(centre * OVERSAMPLING))
        cv2.circle(canvas, place, round(0.9 * radius * OVERSAMPLING), 255, -1)
        if shape == "ring":
            cv2.circle(canvas, place, round(0.4 * radius * OVERSAMPLING), 0, -1)
    return np.asarray(cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float64) / 255
