"""Captions without weights: colour, size, shape, place and movement as measured, in plain English sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.boxes import extent
from models.caption_templates import Change, Edge, Shape, Size
from models.movement import MovementSettings, absence, movement
from models.palette import ColourSettings, palette, surface_pixels
from models.phrasing import Action, Description, write_captions
from models.protocols import Captions, EntityView, Image, ModelInfo, NoCaptions


class AttributeSettings(BaseModel, frozen=True, extra="forbid"):
    """From which measured value on a caption says a word."""

    colour: ColourSettings = Field(default=ColourSettings(), description="How colours are found and named.")
    movement: MovementSettings = Field(default=MovementSettings(), description="When a path counts as movement.")
    tiny: float = Field(default=0.004, gt=0, lt=1, description="Area share of the frame up to which it is tiny.")
    small: float = Field(default=0.03, gt=0, lt=1, description="Area share of the frame up to which it is small.")
    large: float = Field(default=0.15, gt=0, lt=1, description="Area share of the frame from which it is large.")
    very_large: float = Field(
        default=0.4, gt=0, le=1, description="Area share of the frame from which it is very large."
    )
    elongation: float = Field(
        default=1.6,
        gt=1,
        description="Ratio of the box sides from which it is tall or wide; nearer 1 nobody would say so.",
    )
    round_fill: float = Field(
        default=0.88,
        gt=0,
        le=1,
        description="Share of the enclosing circle filled by a round thing; a hexagon fills 0.83, a square 0.64.",
    )
    shape_pixels: int = Field(
        default=60,
        ge=1,
        description="Least mask area (pixels) to speak of shape or pattern; in fewer every blob is round.",
    )
    side_third: float = Field(
        default=0.36,
        gt=0,
        lt=0.5,
        description="Centres nearer than this to a side of the frame (share) lie on that side.",
    )
    pattern_contrast: float = Field(
        default=0.16,
        gt=0,
        description="Local RMS contrast of OKLab lightness from which it is patterned; dark windows give a car 0.13.",
    )
    pattern_radius: float = Field(
        default=4.0,
        gt=0,
        description="Pixels (at the working size) over which lightness is levelled: shading is broader.",
    )
    edge_contact: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="Share of the entity's box side that must lie on a frame edge to say it reaches it.",
    )
    representative_area: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Colours are taken from the first frame with this share of the largest mask: those are surest.",
    )
    growth_ratio: float = Field(
        default=1.6,
        gt=1,
        description="Ratio of last to first area from which it is said to grow, its inverse to shrink.",
    )
    growth_slack: float = Field(
        default=0.1, ge=0, lt=1, description="Setback in area (share) still taken for steady growth: masks breathe."
    )


@dataclass(frozen=True)
class _Sight:
    """One frame in which the entity is seen."""

    index: int
    frame: Image
    mask: Mask
    area: int


class AttributeCaptioner:
    """A Captioner that says only what it measured, so its captions are true as far as the mask is."""

    Settings = AttributeSettings
    info = ModelInfo("attributes", "2")

    def __init__(self, settings: AttributeSettings | None = None) -> None:
        self._settings = settings or AttributeSettings()

    def caption(self, views: Sequence[EntityView]) -> list[Captions | NoCaptions]:
        """Captions of each entity; none where no mask shows it or its tag holds no word."""
        return [self._captions(view) for view in views]

    def _captions(self, view: EntityView) -> Captions | NoCaptions:
        try:
            return write_captions(describe(view, self._settings), view.seed, view.key)
        except ValueError as error:
            return NoCaptions("no_caption", str(error))


def describe(view: EntityView, settings: AttributeSettings) -> Description:
    """What can be said of the entity. Raises ValueError when all masks are empty or sizes do not match."""
    sights = _sights(view)
    first = sights[0]
    largest = max(sight.area for sight in sights)
    clearest = next(sight for sight in sights if sight.area >= settings.representative_area * largest)
    colours = palette(clearest.frame, clearest.mask, settings.colour)
    share = first.area / first.mask.size
    moving = view.seconds > 0 and len(view.path) > 1
    return Description(
        tag=view.tag,
        colours=() if colours.many else tuple(map(str, colours.colours)),
        many_colours=colours.many,
        patterned=_patterned(clearest, settings),
        size=_size(share, settings),
        shape=_shape(first.mask, settings),
        place=_place(first.mask, settings),
        share=share,
        edges=_edges(first.mask, settings),
        action=_action(view, sights, settings) if moving else None,
    )


def _sights(view: EntityView) -> list[_Sight]:
    if len(view.frames) != len(view.masks):
        raise ValueError(f"the view of {view.key} has {len(view.frames)} frames but {len(view.masks)} masks")
    sights = []
    for index, (frame, mask) in enumerate(zip(view.frames, view.masks, strict=True)):
        if frame.shape[:2] != mask.shape:
            raise ValueError(f"the view of {view.key} has a mask of {mask.shape} for a frame of {frame.shape[:2]}")
        area = int(np.count_nonzero(mask))
        if area:
            sights.append(_Sight(index, frame, mask, area))
    if not sights:
        raise ValueError(f"all masks of {view.key} are empty, so there is nothing to describe")
    return sights


def _size(share: float, settings: AttributeSettings) -> Size | None:
    if share <= settings.small:
        return "tiny" if share <= settings.tiny else "small"
    if share >= settings.large:
        return "very large" if share >= settings.very_large else "large"
    return None


def _shape(mask: Mask, settings: AttributeSettings) -> Shape | None:
    area = np.count_nonzero(mask)
    if area < settings.shape_pixels or _edges(mask, settings):
        return None
    x0, y0, x1, y1 = extent(mask)
    ratio = (y1 - y0) / (x1 - x0)
    if ratio >= settings.elongation:
        return "tall"
    if ratio <= 1 / settings.elongation:
        return "wide"
    _, radius = cv2.minEnclosingCircle(np.argwhere(mask).astype(np.float32))
    # Half a pixel more: the circle runs through pixel centres.
    return "round" if area >= settings.round_fill * np.pi * (radius + 0.5) ** 2 else None


def _centre(mask: Mask) -> npt.NDArray[np.float64]:
    """The mask's centre as (x, y) fractions of the frame."""
    rows, columns = np.nonzero(mask)
    return np.array([(columns.mean() + 0.5) / mask.shape[1], (rows.mean() + 0.5) / mask.shape[0]])


def _place(mask: Mask, settings: AttributeSettings) -> str:
    near = settings.side_third

    def side(value: float, low: str, high: str) -> str:
        return low if value < near else high if value > 1 - near else ""

    x, y = _centre(mask)
    horizontal, vertical = side(x, "left", "right"), side(y, "upper", "lower")
    if horizontal and vertical:
        return f"in the {vertical} {horizontal} of the frame"
    if horizontal:
        return f"on the {horizontal} side of the frame"
    if vertical:
        return f"in the {vertical} part of the frame"
    return "near the centre of the frame"


def _edges(mask: Mask, settings: AttributeSettings) -> tuple[Edge, ...]:
    """The frame edges the mask lies on with a fair part of its own extent."""
    x0, y0, x1, y1 = extent(mask)
    contacts: tuple[tuple[Edge, int, int], ...] = (
        ("left", int(mask[:, 0].sum()), y1 - y0),
        ("right", int(mask[:, -1].sum()), y1 - y0),
        ("top", int(mask[0].sum()), x1 - x0),
        ("bottom", int(mask[-1].sum()), x1 - x0),
    )
    return tuple(edge for edge, contact, extent in contacts if contact >= max(2, settings.edge_contact * extent))


def _patterned(sight: _Sight, settings: AttributeSettings) -> bool:
    if sight.area < settings.shape_pixels:
        return False
    lab, inside = surface_pixels(sight.frame, sight.mask, settings.colour)
    weight = inside.astype(np.float64)
    blurred = cv2.GaussianBlur(np.dstack([lab[..., 0] * weight, weight]), (0, 0), settings.pattern_radius)
    detail = lab[..., 0] - blurred[..., 0] / np.maximum(blurred[..., 1], 1e-6)
    return float(np.sqrt(np.mean(detail[inside] ** 2))) >= settings.pattern_contrast


def _action(view: EntityView, sights: list[_Sight], settings: AttributeSettings) -> Action:
    height, width = sights[0].mask.shape
    first, last = sights[0], sights[-1]
    place, later = _place(first.mask, settings), _place(last.mask, settings)
    return Action(
        movement=movement(view.path, view.seconds, width / height, settings.movement),
        growth=_growth(sights, settings),
        absence=absence(view.path, settings.movement),
        later_place=later if later != place and _goes_with_path(view, first.mask, last.mask) else None,
        appears_late=first.index > 0,
    )


def _growth(sights: list[_Sight], settings: AttributeSettings) -> Change | None:
    """Steady change of the area over at least three frames, none of them cut by the frame's edge."""
    if len(sights) < 3 or any(_edges(sight.mask, settings) for sight in sights):
        return None
    areas = np.array([sight.area for sight in sights], np.float64)
    ratio, steps, slack = areas[-1] / areas[0], areas[1:] / areas[:-1], 1 - settings.growth_slack
    if ratio >= settings.growth_ratio and np.all(steps >= slack):
        return "larger"
    return "smaller" if ratio <= 1 / settings.growth_ratio and np.all(steps <= 1 / slack) else None


def _goes_with_path(view: EntityView, first: Mask, last: Mask) -> bool:
    """Whether the way in the frame agrees with the way against the background; a panning camera can oppose them."""
    seen = view.path[np.isfinite(view.path).all(axis=1)]
    return len(seen) > 1 and bool(np.dot(seen[-1] - seen[0], _centre(last) - _centre(first)) > 0)
