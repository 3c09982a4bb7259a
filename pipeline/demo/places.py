"""The places a scene can be set in: who paints them, where one can stand there and what fits in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.demo import indoors, outdoors
from pipeline.demo.canvas import Backdrop, Canvas
from pipeline.demo.specs import Shadow


@dataclass(frozen=True)
class Place:
    """`horizon` is where the ground starts, `stand` the rows (far, near) where feet may be, both view fractions.

    `shadow` is what entities cast there; `cast` are the kinds that look at home, `props` what may stand in the way.
    """

    paint: Callable[[Canvas, np.random.Generator, float], Backdrop]
    horizon: float
    stand: tuple[float, float]
    shadow: Shadow
    cast: tuple[str, ...]
    props: tuple[str, ...] = ()


_TOYS = ("ball", "car", "truck", "gift", "apple", "mug")

PLACES: dict[str, Place] = {
    "meadow": Place(outdoors.meadow, 0.44, (0.6, 0.92), "ground", ("ball", "cat", "fox", "truck", "gift"), ("tree",)),
    "pond": Place(outdoors.pond, 0.2, (0.45, 0.85), "water", ("duck", "boat"), ("reeds",)),
    "sea": Place(outdoors.sea, 0.46, (0.58, 0.85), "water", ("boat", "duck")),
    "forest": Place(outdoors.forest, 0.5, (0.66, 0.92), "ground", ("fox", "cat", "ball"), ("tree",)),
    "snow": Place(outdoors.snow, 0.38, (0.58, 0.92), "ground", ("penguin", "gift", "truck", "fox"), ("fir",)),
    "beach": Place(outdoors.beach, 0.34, (0.64, 0.92), "ground", ("ball", "truck", "cat", "car"), ("umbrella",)),
    "street": Place(indoors.street, 0.62, (0.82, 0.93), "ground", ("car", "truck", "ball"), ("post",)),
    "wall": Place(indoors.wall, 0.74, (0.77, 0.8), "wall", ("cat", "fox", "penguin")),
    "night": Place(indoors.night, 0.66, (0.74, 0.9), "water", ("boat", "duck")),
    "desk": Place(indoors.desk, 0.5, (0.64, 0.92), "ground", _TOYS),
    "kitchen": Place(indoors.kitchen, 0.46, (0.62, 0.92), "ground", _TOYS),
}
"""Every place by name."""

FLYERS = ("balloon", "kite", "bird")
"""Kinds that are at home in the air."""


def place_of(name: str) -> Place:
    """The place of that name. Raises ValueError when there is none."""
    if name not in PLACES:
        raise ValueError(f"no place called {name!r}; there are {', '.join(PLACES)}")
    return PLACES[name]
