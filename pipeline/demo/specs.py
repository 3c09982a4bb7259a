"""What a scene is, as data: its backdrop, cast, props, camera, and how each entity moves."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from pipeline.demo.camera import CameraSpec

Shadow = Literal["ground", "wall", "water", "none"]


class PathSpec(BaseModel, frozen=True, extra="forbid"):
    """Where an entity's foot is during the clip, in view fractions of a camera that does nothing."""

    knots: tuple[tuple[float, float], ...] = Field(
        min_length=1, description="Points (u across, v down) passed at even times, on a smooth curve."
    )
    heights: tuple[float, ...] = Field(
        min_length=1, description="The entity's height in view heights at even times; more than one scales it."
    )
    bounces: float = Field(default=0.0, ge=0, description="Hops during the clip; 0 = stays on its path.")
    hop: float = Field(default=0.0, ge=0, description="Height of the first hop, in entity heights; later ones fade.")
    sway: float = Field(default=0.0, description="Amplitude of rocking about the foot, degrees.")
    sway_rate: float = Field(default=0.6, ge=0, description="Rocking per second.")
    bob: float = Field(default=0.0, ge=0, description="Amplitude of rising and sinking, in entity heights.")
    spin: float = Field(default=0.0, description="Turn about the middle over the clip, degrees.")


class EntitySpec(BaseModel, frozen=True, extra="forbid"):
    """One thing that acts in a scene."""

    kind: str = Field(description="One of `entities.KINDS`.")
    colour: str = Field(description="One of `entities.COLOURS`.")
    path: PathSpec
    shadow: Shadow = Field(
        default="ground", description="What it casts: on the ground, on a wall behind, mirrored in water, or none."
    )
    depth: float | None = Field(
        default=None,
        description="View row that decides what hides it and its parallax (flying things); None: its foot.",
    )


class PropSpec(BaseModel, frozen=True, extra="forbid"):
    """One thing that stands still and hides what passes behind it."""

    kind: str = Field(description="One of `props.PROPS`.")
    foot: tuple[float, float] = Field(description="View fraction (u, v) of its foot.")
    height: float = Field(gt=0, description="In view heights.")


class SceneSpec(BaseModel, frozen=True, extra="forbid"):
    """A whole scene; everything drawn follows from it and the frame size."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="File name without its ending.")
    backdrop: str = Field(description="One of `places.PLACES`.")
    seed: int = Field(default=0, ge=0, description="Decides every texture; another seed is another place.")
    tint: tuple[float, float, float] = Field(default=(1.0, 1.0, 1.0), description="Gain of red, green and blue.")
    entities: tuple[EntitySpec, ...] = ()
    props: tuple[PropSpec, ...] = ()
    camera: CameraSpec = CameraSpec()
    seconds: float = Field(default=5.2, gt=0, description="Length of the clip; rates above are per second of it.")


class RenderSettings(BaseModel, frozen=True, extra="forbid"):
    """How the virtual camera records."""

    shutter: float = Field(
        default=0.4, ge=0, le=1, description="Share of the frame time the shutter is open: motion blur."
    )
    grain: float = Field(default=1.6, ge=0, description="Standard deviation of sensor noise, in levels of 255.")
    shadow: float = Field(default=0.46, ge=0, le=1, description="How much a cast shadow dims what it falls on.")
    reflection: float = Field(default=0.5, ge=0, le=1, description="Opacity of a mirror image in water.")


def _curve(knots: npt.NDArray[np.float64], progress: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Catmull-Rom interpolation of `knots` (N, D) at `progress` 0..1 (T,), (T, D)."""
    if len(knots) == 1:
        return np.repeat(knots, len(progress), axis=0)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    place = np.clip(progress, 0.0, 1.0) * (len(knots) - 1)
    segment = np.minimum(place.astype(np.int64), len(knots) - 2)
    t = (place - segment)[:, None]
    before, start, end, after = (padded[segment + i] for i in range(4))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.asarray(curve, np.float64)


class Track(BaseModel, frozen=True, arbitrary_types_allowed=True):
    """A path evaluated at every frame: all arrays have one row per frame."""

    foot: npt.NDArray[np.float64]
    """(T, 2) view fractions of the point on the ground below the entity."""
    height: npt.NDArray[np.float64]
    """(T,) view heights."""
    lift: npt.NDArray[np.float64]
    """(T,) entity heights above the foot."""
    turn: npt.NDArray[np.float64]
    """(T,) degrees of rocking about the foot."""
    spin: npt.NDArray[np.float64]
    """(T,) degrees of turning about the middle."""
    travelled: npt.NDArray[np.float64]
    """(T,) entity heights moved to the right so far."""

    @property
    def faces_left(self) -> bool:
        """Whether the entity moves to the left on the whole."""
        return bool(self.foot[-1, 0] < self.foot[0, 0])


def evaluate(path: PathSpec, num_frames: int, seconds: float, aspect: float) -> Track:
    """The path at `num_frames` even times over `seconds`; `aspect` is the view's width over its height."""
    progress = np.linspace(0.0, 1.0, num_frames)
    time = progress * seconds
    foot = _curve(np.asarray(path.knots, np.float64), progress)
    height = _curve(np.asarray(path.heights, np.float64)[:, None], progress)[:, 0]
    hop = np.abs(np.sin(np.pi * path.bounces * progress)) * path.hop * (1.0 - 0.55 * progress)
    bob = path.bob * np.sin(2 * np.pi * 0.55 * time)
    steps = np.diff(foot[:, 0], prepend=foot[:1, 0]) * aspect / height
    return Track(
        foot=foot,
        height=height,
        lift=hop + bob,
        turn=path.sway * np.sin(2 * np.pi * path.sway_rate * time),
        spin=path.spin * progress,
        travelled=np.cumsum(steps),
    )
