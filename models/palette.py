"""Which colours a thing has, whatever light falls on it.

A surface under uneven light keeps its hue and the ratio of its chroma to its lightness: in OKLab, dimming scales the
whole vector. So pixels are first grouped by that ratio, which shading leaves alone, and only then is each group's well
lit colour named. Hardly any light is white: what is as pale as the brightest of the scene and of the same tint is white
or grey under that light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.colour_names import Colour, name_colour, oklab, weighted
from models.protocols import Image
from models.scene_light import LightSettings, SceneLight, chroma_ratio, is_neutral, scene_light

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Palette:
    """The colours of a thing, main one first, at most two; `many` when no two of them cover most of it."""

    colours: tuple[Colour, ...]
    many: bool


class ColourSettings(BaseModel, frozen=True, extra="forbid"):
    """How the colours of the masked pixels are found."""

    working_side: int = Field(
        default=96, ge=16, le=1024, description="Longer side (pixels) the entity is reduced to: averages grain away."
    )
    erode_fraction: float = Field(
        default=0.03,
        ge=0,
        le=0.3,
        description="Border left out, as a share of the square root of the area: without it the background bleeds in.",
    )
    flat_share: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="Share of the pixels, the flattest, that count: with all of them blurred edges add a false colour.",
    )
    hue_separation: float = Field(
        default=0.06,
        gt=0,
        le=0.5,
        description="Least distance of two groups in chroma over lightness; smaller splits one shaded surface in two.",
    )
    group_share: float = Field(
        default=0.08, ge=0, le=0.5, description="Groups of a smaller share of the pixels are details, not colours."
    )
    contrast_ratio: float = Field(
        default=2.0,
        ge=1,
        description="Lightness ratio from which two shades of one hue are two colours (black and white), not shading.",
    )
    valley_depth: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Density between two shades against that at them: above it the shades run into each other.",
    )
    lit_percentile: float = Field(
        default=85,
        ge=50,
        le=95,
        description="Lightness percentile taken as the well lit surface: the median is in shadow (and a clear orange "
        "would be dark), the top a highlight.",
    )
    dark_percentile: float = Field(
        default=60,
        ge=50,
        le=95,
        description="The same for black and grey: highlights on them are large and no part of their colour.",
    )
    dark_lightness: float = Field(
        default=0.65, ge=0, le=1, description="Median OKLab lightness up to which a colour may be black or grey."
    )
    clear_hue: float = Field(
        default=0.1, ge=0, le=0.5, description="Chroma over lightness from which a colour is neither black nor grey."
    )
    light: LightSettings = Field(default=LightSettings(), description="How the scene's light is judged.")
    second_share: float = Field(
        default=0.25, gt=0, le=0.5, description="Share of the pixels from which a second colour is mentioned."
    )
    second_distance: float = Field(
        default=0.16,
        ge=0,
        description="Least difference (OKLab, chroma doubled) of a second colour: closer ones are one to the eye.",
    )
    second_spread: float = Field(
        default=2.3,
        ge=1,
        description="Greatest lightness ratio (85th to 15th percentile) of a second colour: a wider one is a medley.",
    )
    covered_share: float = Field(
        default=0.6, gt=0, le=1, description="When the named colours cover less than this, the thing is multicoloured."
    )


def surface_pixels(image: Image, mask: Mask, settings: ColourSettings) -> tuple[Array, Mask]:
    """The entity cut out, its border taken off, reduced and smoothed: OKLab (h, w, 3) and its mask (h, w).

    Pixels outside the mask take no part in any average. Raises ValueError when the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("an empty mask has no colour")
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = _eroded(mask[window], settings.erode_fraction)
    weight = inside.astype(np.float32)
    layers = np.dstack([image[window] * weight[..., None], weight])
    height, width = inside.shape
    scale = settings.working_side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        layers = np.asarray(cv2.resize(layers, size, interpolation=cv2.INTER_AREA), np.float32)
    weight = layers[..., 3]
    small = weight > 0.5 * float(weight.max())
    smooth = cv2.GaussianBlur(layers, (3, 3), 0, borderType=cv2.BORDER_CONSTANT).astype(np.float64)
    return oklab(smooth[..., :3] / np.maximum(smooth[..., 3:], 1e-6)), small


def _eroded(mask: Mask, fraction: float) -> Mask:
    radius = round(fraction * float(np.sqrt(np.count_nonzero(mask))))
    if radius == 0:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), radius, radius, radius, radius, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, kernel)[radius:-radius, radius:-radius].astype(np.bool_)
    # A thing of thin parts would vanish: better its border than nothing.
    return inner if 2 * np.count_nonzero(inner) >= np.count_nonzero(mask) else mask


def palette(image: Image, mask: Mask, settings: ColourSettings) -> Palette:
    """The colours of the masked pixels of an RGB image (H, W, 3). Raises ValueError when the mask is empty."""
    lab, inside = surface_pixels(image, mask, settings)
    pixels = lab[_flat(lab, inside, settings.flat_share)]
    groups = [
        part
        for group in _hue_groups(pixels, settings)
        for part in _shade_groups(pixels[group], settings)
        if len(part) >= settings.group_share * len(pixels)
    ]
    if not groups:
        # So many small ones that none counts: judged as one.
        groups = [lab[inside]]
    light = scene_light(image, mask, settings.light)
    tones = [_tone(group, light, settings) for group in groups]
    return _named(_merged(sorted(tones, key=lambda tone: -tone.count), settings), settings)


def _flat(lab: Array, inside: Mask, share: float) -> Mask:
    """The `share` of the inside pixels that differ least from their neighbours: not its colour edges."""
    kernel = np.ones((3, 3), np.uint8)
    outside = ~inside[..., None]
    # Channel by channel; pixels outside neither raise the highest nor lower the lowest neighbour.
    highest = cv2.dilate(np.where(outside, -9.0, weighted(lab)), kernel)
    lowest = cv2.erode(np.where(outside, 9.0, weighted(lab)), kernel)
    spread = (highest - lowest).max(axis=2)
    return np.asarray(inside & (spread <= np.quantile(spread[inside], share)), np.bool_)


def _hue_groups(pixels: Array, settings: ColourSettings) -> list[Mask]:
    """Membership (pixels,) of each peak of the histogram of chroma over lightness."""
    ratio = chroma_ratio(pixels, settings.light)
    step = settings.hue_separation / 3
    half = int(np.ceil(1.0 / step))
    cells = np.clip(np.rint(ratio / step).astype(np.int64) + half, 0, 2 * half)
    counts = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    density = cv2.GaussianBlur(counts, (0, 0), 1.2)
    highest = cv2.dilate(density, np.ones((7, 7), np.uint8))
    peaks = np.argwhere((density == highest) & (density > 0.1 * settings.group_share * density.max()))
    nearest = np.argmin(np.linalg.norm(cells[:, None] - peaks[None], axis=2), axis=1)
    return [nearest == index for index in range(len(peaks))]


def _shade_groups(group: Array, settings: ColourSettings) -> list[Array]:
    """`group` cut in a dark and a light part where its lightness has two distant peaks, else whole."""
    lightness = group[:, 0]
    if len(group) < 2 or np.ptp(lightness) == 0:
        return [group]
    cut = _otsu(lightness)
    dark, light = group[lightness <= cut], group[lightness > cut]
    low, high = float(np.median(dark[:, 0])), float(np.median(light[:, 0]))
    reach = (high - low) / 6

    def density(centre: float) -> float:
        return float(np.mean(np.abs(lightness - centre) <= reach))

    # Shading runs through every lightness between; paint does not.
    apart = density((low + high) / 2) < settings.valley_depth * min(density(low), density(high))
    return [dark, light] if apart and high >= settings.contrast_ratio * low else [group]


def _otsu(values: Array) -> float:
    """The threshold that splits `values` into the two most separate classes."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    left = sums[:-1] / below
    right = (sums[-1] - sums[:-1]) / (len(ordered) - below)
    return float(ordered[int(np.argmax(below * (len(ordered) - below) * (left - right) ** 2))])


@dataclass(frozen=True)
class _Tone:
    """A group of pixels: how many they are, its well lit OKLab colour with its name, whether it is of one shade."""

    count: int
    lab: Array
    name: Colour
    steady: bool


def _tone(group: Array, light: SceneLight, settings: ColourSettings) -> _Tone:
    low, middle, high = np.percentile(group[:, 0], [15, 50, 85])
    ratio = np.median(chroma_ratio(group, settings.light), axis=0)
    chroma = float(np.linalg.norm(ratio))
    dark = middle <= settings.dark_lightness and chroma <= settings.clear_hue
    lit = float(np.percentile(group[:, 0], settings.dark_percentile if dark else settings.lit_percentile))
    lab = np.array([lit, *(ratio * (lit + settings.light.dark_offset))])
    if is_neutral(ratio, light, settings.light):
        lab = np.array([min(1.0, lit / light.white), 0.0, 0.0])
    steady = bool(high <= settings.second_spread * low)
    return _Tone(len(group), lab, name_colour(lab), steady)


def _merged(tones: list[_Tone], settings: ColourSettings) -> list[_Tone]:
    """`tones` (largest first) with those of one name, or one to the eye, counted as the larger of them."""
    merged: list[_Tone] = []
    for tone in tones:
        for index, known in enumerate(merged):
            distance = float(np.linalg.norm(weighted(tone.lab) - weighted(known.lab)))
            if known.name.term == tone.name.term or distance < settings.second_distance:
                merged[index] = replace(known, count=known.count + tone.count)
                break
        else:
            merged.append(tone)
    return sorted(merged, key=lambda tone: -tone.count)


def _named(tones: list[_Tone], settings: ColourSettings) -> Palette:
    main, *others = tones
    total = sum(tone.count for tone in tones)
    second = [tone for tone in others if tone.steady and tone.count >= settings.second_share * total][:1]
    named = [main, *second]
    covered = sum(tone.count for tone in named) / total
    return Palette(tuple(tone.name for tone in named), len(tones) > 2 and covered < settings.covered_share)
