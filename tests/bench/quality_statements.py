"""What a caption states, read from its words alone, and whether it is true of a rendered entity.

The reading knows English, not the captioner's templates; the truth is how the scene was drawn. A border between two
words (left or centre, tall or neither) is given some room on both sides: nobody could call either wrong there. A colour
may be told as it is painted or as it looks in the light of its scene: a pink fox in a green wood is brown.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask
from pipeline.demo import SceneTruth
from pipeline.demo.camera import apply
from pipeline.demo.entities import COLOURS, build
from pipeline.demo.rigs import Ball
from pipeline.demo.specs import RenderSettings
from pipeline.demo.stage import Stage
from pipeline.demo.textures import Rgb

Array = npt.NDArray[np.float64]

TERMS = "red|orange|yellow|green|blue|purple|pink|white|black|grey|brown"
_COLOUR = re.compile(rf"\b(?:(light|dark) )?({TERMS})\b")
_MANY = re.compile(r"multicoloured|several (different )?colours")
_PLACE = re.compile(
    r"in the (upper|lower) (left|right) of the frame|on the (left|right) side of the frame"
    r"|in the (upper|lower) part of the frame|near the centre of the frame",
    re.IGNORECASE,
)
_LATER = re.compile(r"\blater\b", re.IGNORECASE)
_STILL = re.compile(r"stays? in place|keeps? to one spot|hardly changes? position|remains? in the same spot")
_SIDEWAYS = re.compile(r"side to side|back and forth")
_UP_AND_DOWN = re.compile(r"up and down")
_ROAMING = re.compile(r"\b(about|around)(\.| without)")
_MOVES = re.compile(r"\b(moves?|travels?|goes?|moving)\b")
_BACK = re.compile(r"\b(?:comes? |coming )?back\b")
_DIRECTION = re.compile(r"\b(up|down|upwards|downwards|left|right)\b")
_SHARE = re.compile(r"(less than 1 percent|nearly all|about [a-z0-9 ]+?) of the frame")
_SHARES = {
    "a twentieth": 1 / 20, "a tenth": 1 / 10, "a fifth": 1 / 5, "a quarter": 1 / 4, "a third": 1 / 3, "half": 1 / 2,
    "two thirds": 2 / 3, "three quarters": 3 / 4,
}  # fmt: skip
_SIZE = re.compile(r"\b(tiny|small|very large|large)\b")
_SIZES = {"tiny": (0, 0.006), "small": (0.002, 0.045), "large": (0.1, 0.5), "very large": (0.3, 1)}
_SHAPE = re.compile(r"\b(taller|tall|wider|wide|round|circle)\b")
_GROWTH = re.compile(r"\b(larger|smaller)\b")
_VECTORS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "upwards": (0, -1), "downwards": (0, 1)}

_SMALL = (64, 96)
"""Frame size at which a scene is set up to ask for its light."""
EXTENT_TOLERANCE = 1.45
"""Ratio of the said share of the frame to the true one that passes for "about": masks found are not exact."""


@dataclass(frozen=True)
class Statement:
    """One thing a caption says, and whether it is so."""

    kind: str
    words: str
    right: bool
    truth: str


@dataclass(frozen=True)
class Known:
    """What is true of an entity of a scene."""

    scene: SceneTruth
    index: int

    @property
    def colour(self) -> str:
        """Name of its main colour."""
        return self.scene.entities[self.index].colour

    def mask(self, frame: int) -> Mask:
        """Its visible mask."""
        return self.scene.entities[self.index].masks.mask(frame)

    def seen(self) -> npt.NDArray[np.int64]:
        """Frames in which it can be seen."""
        return np.flatnonzero(self.scene.entities[self.index].masks.areas() > 0)

    def way(self) -> Array:
        """(T, 2) its middle against the background it is in front of, shares of the frame's longer side."""
        owner = np.bincount(self.scene.layers[self.mask(int(self.seen()[0]))]).argmax()
        path = self.scene.entities[self.index].path
        moved = [apply(np.linalg.inv(self.scene.motions[owner, t]), point[None])[0] for t, point in enumerate(path)]
        return np.asarray(moved, np.float64)[self.seen()] / max(self.scene.size)

    def paints(self) -> list[set[str]]:
        """Terms a person may use for each paint of its body, as painted or as lit; the main one first."""
        entity = self.scene.entities[self.index]
        rig = build(entity.kind, entity.colour)
        found = [rig.colour, rig.second] if isinstance(rig, Ball) else [s.colour for part in rig for s in part.shapes]
        gain = self.gain()
        return [terms_of(paint) | terms_of(lit(paint, gain)) for paint in (COLOURS[entity.colour], *found)]

    def gain(self) -> Array:
        """What the light of the scene does to red, green and blue of a surface that faces the viewer."""
        spec = self.scene.spec
        stage = Stage(spec, _SMALL, 1, RenderSettings())
        light, foot = stage.light, np.asarray(spec.entities[self.index].path.knots[0], np.float64)
        facing = 0.25 + 0.75 * light.direction[2]
        gain = 0.85 * np.asarray(light.ambient) + 0.72 * facing * np.asarray(light.colour)
        return np.asarray(gain * stage.illumination(foot), np.float64)


def lit(paint: Rgb, gain: Array) -> Rgb:
    """A paint under a light."""
    red, green, blue = (float(value) for value in np.clip(np.asarray(paint) * gain, 0, 255))
    return red, green, blue


def terms_of(paint: Rgb) -> set[str]:
    """Basic terms, some with light or dark, that describe a paint in good light or in shade."""
    for name, colour in COLOURS.items():
        if np.allclose(paint, colour):
            return {name}
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) / 255 for c in paint))
    terms: set[str] = set()
    if value < 0.25:
        return {"black", "dark grey"}
    if saturation < 0.2:
        terms |= {"white", "light grey"} if value > 0.85 else {"grey", "light grey", "dark grey"}
    if saturation < 0.1:
        return terms
    ends = ((18, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (300, "purple"), (345, "pink"))
    term = next((name for end, name in ends if hue * 360 < end), "red")
    light, dark = saturation < 0.45 and value > 0.6, value < 0.7
    if term == "red" and light:
        term = "pink"
    if term in ("red", "orange") and dark and saturation < 0.7:
        terms |= {"brown", "dark brown"}
    terms |= {f"light {term}"} if light else {f"dark {term}", term} if dark else {term}
    if light and saturation >= 0.2:
        terms.add(term)
    return terms


def statements(caption: str, known: Known) -> Iterator[Statement]:
    """Everything in a caption that can be judged."""
    yield from _colours(caption, known)
    sentences = re.split(r"(?<=\.)\s+", caption)
    for sentence in sentences:
        later = bool(_LATER.search(sentence))
        yield from _places(sentence, known, later=later)
        yield from _motion(sentence, known)
        yield from _measures(sentence, known)


def _colours(caption: str, known: Known) -> Iterator[Statement]:
    paints = known.paints()
    truth = f"{known.colour} {known.scene.entities[known.index].kind}"
    said = [match.groups() for match in _COLOUR.finditer(caption)]
    if said:
        words = " and ".join(" ".join(filter(None, pair)) for pair in said)
        main = {name.split()[-1] for name in paints[0]}
        yield Statement("colour", words, bool(main & {term for _, term in said}), f"{truth}: {_listed(paints[0])}")
        yield Statement("colour as painted", words, known.colour in {term for _, term in said}, truth)
    elif _MANY.search(caption):
        yield Statement("colour", "many", len({frozenset(terms) for terms in paints[1:]}) > 2, truth)
    allowed = set().union(*paints)
    for shade, term in said:
        if term != known.colour:
            name = f"{shade} {term}" if shade else term
            fits = {name, term} & allowed or {f"light {term}", f"dark {term}"} & allowed
            yield Statement("other colour", name, bool(fits), f"{truth}: {_listed(allowed)}")
        elif shade:
            yield Statement("shade", f"{shade} {term}", f"{shade} {term}" in allowed, f"{truth}: {_listed(allowed)}")


def _listed(terms: set[str]) -> str:
    return ", ".join(sorted(terms))


def _places(sentence: str, known: Known, *, later: bool) -> Iterator[Statement]:
    for match in _PLACE.finditer(sentence):
        frame = int(known.seen()[-1 if later else 0])
        rows, columns = np.nonzero(known.mask(frame))
        x, y = columns.mean() / known.scene.size[1], rows.mean() / known.scene.size[0]
        words = match.group(0).lower()
        right = _side(x, "left" in words, "right" in words) and _side(y, "upper" in words, "lower" in words)
        yield Statement("later place" if later else "place", words, right, f"({x:.2f}, {y:.2f})")


def _side(position: float, low: bool, high: bool) -> bool:
    if low:
        return position < 0.42
    if high:
        return position > 0.58
    return 0.3 < position < 0.7


def _motion(sentence: str, known: Known) -> Iterator[Statement]:
    way = known.way()
    reach, net = np.ptp(way, axis=0), way[-1] - way[0]
    truth = f"net ({net[0]:+.2f}, {net[1]:+.2f}), reach ({reach[0]:.2f}, {reach[1]:.2f})"
    if _STILL.search(sentence):
        yield Statement("motion", "still", float(np.hypot(*reach)) < 0.05, truth)
        return
    for axis, pattern in enumerate((_SIDEWAYS, _UP_AND_DOWN)):
        if pattern.search(sentence):
            right = turns(way[:, axis], 0.2 * float(reach.max())) >= 2
            yield Statement("motion", ("sideways", "up and down")[axis], right, truth)
            return
    if not _MOVES.search(sentence):
        return
    if _ROAMING.search(sentence):
        yield Statement("motion", "about", float(np.hypot(*net)) < 0.7 * float(np.hypot(*reach)), truth)
        return
    out, *back = _BACK.split(sentence)
    if back:
        yield Statement("motion", "there and back", _there_and_back(way, _vector(out)), truth)
    elif _DIRECTION.search(sentence):
        heading = _vector(sentence)
        cosine = float(heading @ net / max(1e-9, float(np.linalg.norm(net)))) if heading.any() else -1.0
        yield Statement("motion", _words(sentence), cosine > np.cos(np.deg2rad(45)), truth)
    speed = re.search(r"slowly|quickly", sentence)
    if speed:
        seconds = known.scene.spec.seconds * len(way) / known.scene.num_frames
        mean = mean_speed(way, seconds)
        right = mean < 0.09 if speed.group(0) == "slowly" else mean > 0.17
        yield Statement("speed", speed.group(0), right, f"{mean:.3f} per second")


def mean_speed(way: Array, seconds: float) -> float:
    """Mean way made in half a second, per second."""
    step = max(1, round(0.5 * len(way) / seconds))
    if len(way) <= step:
        return float(np.linalg.norm(way[-1] - way[0])) / seconds
    return float(np.linalg.norm(way[step:] - way[:-step], axis=1).mean()) * len(way) / seconds / step


def _vector(text: str) -> Array:
    total = np.sum([_VECTORS[word] for word in _DIRECTION.findall(text)] or [(0, 0)], axis=0).astype(np.float64)
    return np.asarray(total / max(1e-9, float(np.linalg.norm(total))), np.float64)


def _words(text: str) -> str:
    return " ".join(_DIRECTION.findall(text))


def _there_and_back(way: Array, heading: Array) -> bool:
    along = (way - way[0]) @ heading
    return bool(along.max() > 0.4 * np.ptp(along) and along.max() - along[-1] > 0.2 * np.ptp(along))


def turns(values: Array, least: float) -> int:
    """Changes of direction after a way of at least `least`."""
    count, direction, extreme = 0, 0.0, float(values[0])
    for value in map(float, values):
        if direction * (value - extreme) >= 0 and direction:
            extreme = value
        elif abs(value - extreme) >= least:
            count += direction != 0
            direction, extreme = float(np.sign(value - extreme)), value
    return count


def _measures(sentence: str, known: Known) -> Iterator[Statement]:
    mask = known.mask(int(known.seen()[0]))
    share = float(mask.mean())
    for match in _SHARE.finditer(sentence):
        said = share_of(match.group(1))
        ratio = said / share if match.group(1)[0] != "l" else min(1.0, said / share)
        right = 1 / EXTENT_TOLERANCE < ratio < EXTENT_TOLERANCE
        yield Statement("extent", match.group(1), right or abs(said - share) < 0.006, f"{share:.3f}")
    for match in _SIZE.finditer(sentence):
        low, high = _SIZES[match.group(1)]
        yield Statement("size", match.group(1), low <= share <= high, f"{share:.3f}")
    if shape := _SHAPE.search(sentence):
        yield _shape(shape.group(1), mask)
    if change := _GROWTH.search(sentence):
        areas = known.scene.entities[known.index].masks.areas()[known.seen()]
        ratio = float(areas[-1] / areas[0])
        right = ratio > 1.25 if change.group(1) == "larger" else ratio < 0.8
        yield Statement("growth", change.group(1), right, f"× {ratio:.2f}")


def share_of(words: str) -> float:
    """The share of the frame that words such as "about a tenth" or "about 7 percent" say."""
    if words == "nearly all":
        return 0.97
    if words.startswith("less"):
        return 0.01
    number = re.search(r"(\d+) percent", words)
    return int(number.group(1)) / 100 if number else _SHARES[words.removeprefix("about ")]


def _shape(word: str, mask: Mask) -> Statement:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    ratio = (rows[-1] - rows[0] + 1) / (columns[-1] - columns[0] + 1)
    if word.startswith("tall"):
        right = ratio > 1.35
    elif word.startswith("wide"):
        right = ratio < 1 / 1.35
    else:
        _, radius = cv2.minEnclosingCircle(np.argwhere(mask).astype(np.float32))
        right = np.count_nonzero(mask) > 0.8 * np.pi * radius**2
    return Statement("shape", word, bool(right), f"height / width {ratio:.2f}")
