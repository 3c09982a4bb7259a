"""The light a scene stands in, and what is white or grey in it.

Hardly any light is white. What is as pale as the brightest of a scene and of the same tint is white or grey under that
light; only where the brightest has no tint, or far too strong a one to be white, does a pale tint count as paint.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.colour_names import oklab
from models.protocols import Image

Array = npt.NDArray[np.float64]


class LightSettings(BaseModel, frozen=True, extra="forbid"):
    """How the light is judged. Tints are chroma over lightness in OKLab: dimming leaves them alone."""

    dark_offset: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Added to the lightness before chroma is divided by it: near black the ratio is mostly noise.",
    )
    neutral: float = Field(
        default=0.038,
        ge=0,
        le=0.2,
        description="Tint up to which a colour is white, grey or black in any light; more bleaches pale fur.",
    )
    neutral_unknown: float = Field(
        default=0.05,
        ge=0,
        le=0.2,
        description="The same where nothing white shows what the light is like; most things are not faintly painted.",
    )
    tinted: tuple[float, float] = Field(
        default=(0.04, 0.09),
        description="Least and greatest tint of a light that counts as coloured: less is a common white, more is a "
        "coloured surface and no light.",
    )
    pale: float = Field(
        default=0.075,
        ge=0,
        le=0.2,
        description="Tint up to which a colour may be white in a coloured light; more makes light blue things below a "
        "blue sky white.",
    )
    match: float = Field(
        default=0.04, ge=0, le=0.2, description="Distance up to which a pale tint is that of a coloured light."
    )
    side: int = Field(
        default=160, ge=16, le=1024, description="Longer side (pixels) of the copy the scene's light is judged on."
    )
    share: float = Field(
        default=0.01,
        gt=0,
        le=0.5,
        description="Share of the scene, the brightest, that shows its light; more takes in pale paint.",
    )
    least_white: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Least OKLab lightness of white: a dark scene without a lamp does not show it.",
    )


@dataclass(frozen=True)
class SceneLight:
    """Tint (2,) of the light, zero where it is white, None where it is unknown; OKLab lightness of white under it."""

    tint: Array | None
    white: float


def chroma_ratio(pixels: Array, settings: LightSettings) -> Array:
    """Tint (n, 2) of OKLab pixels (n, 3)."""
    return np.asarray(pixels[:, 1:] / (pixels[:, :1] + settings.dark_offset), np.float64)


def scene_light(image: Image, mask: Mask, settings: LightSettings) -> SceneLight:
    """The light of an RGB image (H, W, 3) as the brightest outside `mask` (H, W) shows it."""
    height, width = mask.shape
    scale = min(1.0, settings.side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    lab = oklab(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    around = lab.reshape(-1, 3) if inside.all() else lab[~inside]
    brightest = around[around[:, 0] >= np.quantile(around[:, 0], 1 - settings.share)].mean(axis=0)
    white = float(np.clip(brightest[0], settings.least_white, 1.0))
    tint = chroma_ratio(brightest[None], settings)[0]
    strength, (least, most) = float(np.linalg.norm(tint)), settings.tinted
    if strength > most:
        return SceneLight(None, white)
    return SceneLight(tint if strength >= least else np.zeros(2), white)


def is_neutral(tint: Array, light: SceneLight, settings: LightSettings) -> bool:
    """Whether a colour of this tint (2,) is white, grey or black under the light."""
    strength = float(np.linalg.norm(tint))
    if light.tint is None:
        return strength <= settings.neutral_unknown
    if strength <= settings.neutral:
        return True
    like_light = float(np.linalg.norm(tint - light.tint)) <= settings.match
    return bool(light.tint.any()) and like_light and strength <= settings.pale
