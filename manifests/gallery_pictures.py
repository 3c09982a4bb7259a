"""Pictures of the gallery: shrunk frames with masks drawn on them. Images are uint8 RGB (height, width, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from manifests.masks import Mask

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Scalar = TypeVar("Scalar", bound=np.generic)


class Window(NamedTuple):
    """A rectangle of a frame in pixels."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """That part of an image or mask."""
        return array[self.y : self.y + self.height, self.x : self.x + self.width]


FILL = 0.12
"""How much of its colour a mask adds to what it covers: more, and a caption's colours no longer fit the picture."""
NARROW = 200
"""Pictures less wide have outlines of one pixel instead of two."""
BACKGROUND: Colour = (64, 132, 255)
DELETION: Colour = (255, 72, 72)
ENTITIES: tuple[Colour, ...] = (
    (255, 176, 0),
    (64, 224, 128),
    (232, 88, 255),
    (0, 216, 255),
    (255, 112, 80),
    (208, 255, 64),
    (176, 144, 255),
    (255, 128, 192),
)
"""Colours of a clip's entities in order; bright, so that they stand out on natural pictures."""


def shrink(image: Image, width: int) -> Image:
    """The image at most `width` pixels wide, never enlarged."""
    if image.shape[1] <= width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def fit_mask(mask: Mask, image: Image) -> Mask:
    """The mask at the image's size; a small thing does not vanish: a pixel is set from a third of its area on."""
    height, width = image.shape[:2]
    if mask.shape == (height, width):
        return mask
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 1 / 3, dtype=np.bool_)


def close_up(mask: Mask) -> Window:
    """The part of the frame to look at for a mask (H, W) bool: of the frame's proportions, with room around the mask.

    The whole frame for a large mask or an empty one; never less than a fifth of it.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Window(0, 0, width, height)
    extent = max((rows[-1] + 1 - rows[0]) / height, (columns[-1] + 1 - columns[0]) / width)
    share = max(0.2, 1.6 * float(extent))
    if share >= 0.8:
        return Window(0, 0, width, height)
    w, h = round(width * share), round(height * share)
    x = min(max(int(columns[0] + columns[-1] + 1 - w) // 2, 0), width - w)
    y = min(max(int(rows[0] + rows[-1] + 1 - h) // 2, 0), height - h)
    return Window(x, y, w, h)


def tinted(image: Image, mask: Mask, colour: Colour, strength: float) -> Image:
    """The image with the mask's pixels mixed with a colour; `strength` 0..1."""
    result = image.copy()
    inside = fit_mask(mask, image)
    mixed = image[inside].astype(np.float32) * (1 - strength) + np.asarray(colour, np.float32) * strength
    result[inside] = np.rint(mixed).astype(np.uint8)
    return result


def outlined(image: Image, mask: Mask, colour: Colour, *, thin: bool = False) -> Image:
    """The image with the mask's outline (holes too) in a colour, on a soft shadow that sets it off from any picture."""
    inside = fit_mask(mask, image).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = 1 if thin or image.shape[1] < NARROW else 2
    shadow = np.ascontiguousarray(image).copy()
    cv2.drawContours(shadow, contours, -1, (0, 0, 0), width + 2, cv2.LINE_AA)
    result = np.asarray(cv2.addWeighted(image, 0.55, shadow, 0.45, 0), dtype=np.uint8)
    # A line of one pixel would be smoothed to half its colour.
    cv2.drawContours(result, contours, -1, colour, width, cv2.LINE_8 if thin else cv2.LINE_AA)
    return result


def hatched(image: Image, mask: Mask, colour: Colour) -> Image:
    """The image with the mask's pixels striped in a colour, so that what lies below stays recognisable."""
    height, width = image.shape[:2]
    period = max(6, width // 40)
    stripes = (np.arange(height)[:, None] + np.arange(width)) % period < period / 3
    inside = fit_mask(mask, image)
    return tinted(tinted(image, inside, colour, 0.2), inside & stripes, colour, 0.55)


def marked(image: Image, mask: Mask, colour: Colour) -> Image:
    """A clear outline and a faint tint."""
    return outlined(tinted(image, mask, colour, FILL), mask, colour)


def masked_out(image: Image, mask: Mask) -> Image:
    """The masked picture x ⊙ (1 − m): black where the mask is."""
    result: Image = image * ~fit_mask(mask, image)[..., None]
    return result


def found_overlay(image: Image, background: Sequence[Mask], entities: Sequence[Mask]) -> Image:
    """All that was found in a frame: background regions striped, entities outlined in their colours."""
    for mask in background:
        image = hatched(image, mask, BACKGROUND)
    for index, mask in enumerate(entities):
        image = marked(image, mask, entity_colour(index))
    return image


def entity_colour(index: int) -> Colour:
    """The colour of a clip's entity by its place in the list."""
    return ENTITIES[index % len(ENTITIES)]


def css_colour(colour: Colour) -> str:
    """A colour as CSS."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def jpeg(image: Image, quality: int) -> bytes:
    """JPEG bytes of an image."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of {image.shape} could not be encoded")
    return bytes(data.tobytes())
