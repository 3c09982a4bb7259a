"""How the colours of a frame set its middle apart from its border, without any learned weights.

Whoever films a thing seldom lets it touch the frame's border, so the border shows what the background looks like.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.protocols import Image

Map = npt.NDArray[np.float32]
"""One number per work pixel (height, width)."""


class BorderSettings(BaseModel, frozen=True, extra="forbid"):
    """How the colours are compared. Lengths are pixels of a work copy of about 427 px."""

    width: int = Field(default=14, ge=2, description="width of the frame border whose colours stand for background, px")
    colours: int = Field(default=6, ge=1, le=32, description="colour clusters of that border")
    cell_side: int = Field(default=16, ge=4, description="rough side of a colour patch of the still cue, px")
    cell_blur: float = Field(
        default=3.0, gt=0, description="blur before patches are compared, px; less makes patches of grain"
    )
    cell_tolerance: float = Field(
        default=3.0,
        ge=0,
        description="colour change between neighbouring patches that counts as none, 8-bit Lab; shading adds up",
    )


def border_contrast(image: Image, settings: BorderSettings) -> Map:
    """How unlike the colours of the frame's border each pixel is, (H, W) float32 in [0, 1]."""
    lab = _lab(image, 1.5)
    wide = settings.width
    sides = (lab[:wide], lab[-wide:], lab[:, :wide], lab[:, -wide:])
    samples = np.concatenate([side.reshape(-1, 3) for side in sides])[::3]
    count = min(settings.colours, len(samples))
    # The border's order around the frame starts the clusters, so that no random generator is needed.
    labels = _cluster(samples, np.arange(len(samples), dtype=np.int32) * count // len(samples), count, 12)
    nearest = np.full(lab.shape[:2], np.inf, np.float32)
    for label in range(count):
        members = samples[labels == label]
        if len(members) < 20:
            continue
        precision = np.linalg.inv(np.cov(members.T) + np.eye(3) * 30).astype(np.float32)
        offset = lab - members.mean(0)
        nearest = np.minimum(nearest, np.sqrt(((offset @ precision) * offset).sum(-1)))
    return as_map(np.clip(nearest / max(float(np.percentile(nearest, 97)), 2.0), 0, 1))


def border_distance(image: Image, settings: BorderSettings) -> Map:
    """Least colour change on any way from each pixel to the frame's border, (H, W) float32, 8-bit Lab units.

    Background reaches the border without crossing a strong edge; a whole thing is walled in by its outline.
    """
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    cells = _colour_cells(half, max(2, settings.cell_side // 2))
    count = int(cells.max()) + 1
    lab = _lab(half, settings.cell_blur).reshape(-1, 3)
    sizes = np.maximum(np.bincount(cells.ravel(), minlength=count), 1)[:, None]
    means = np.stack([np.bincount(cells.ravel(), channel, count) for channel in lab.T], 1) / sizes
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2)
    steps = np.where(_adjacent(cells, count), np.maximum(gaps - settings.cell_tolerance, 0), np.inf)
    distance = np.full(count, np.inf)
    distance[np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])] = 0
    while True:
        shorter = np.minimum(distance, (steps + distance[None]).min(1))
        if np.array_equal(shorter, distance):
            break
        distance = shorter
    walls = distance[cells].astype(np.float32)
    return as_map(cv2.resize(walls, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR))


def _colour_cells(image: Image, side: int) -> npt.NDArray[np.int64]:
    """Compact patches of like colour, about `side` pixels wide, as (H, W) indices."""
    lab = _lab(image, 0.7)
    height, width = lab.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    squares = (rows // side) * -(-width // side) + columns // side
    # One patch away in place weighs as much as 15 Lab units: less and the patches fray, more and they stay squares.
    features = np.dstack([lab, columns * (15 / side), rows * (15 / side)]).reshape(-1, 5).astype(np.float32)
    labels = _cluster(features, squares.ravel().astype(np.int32), int(squares.max()) + 1, 4)
    return labels.reshape(height, width)


def _adjacent(cells: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Which cells touch, as a symmetric (count, count) matrix."""
    touch = np.zeros((count, count), np.bool_)
    touch[cells[:, :-1], cells[:, 1:]] = True
    touch[cells[:-1], cells[1:]] = True
    return touch | touch.T


def _cluster(samples: Map, labels: npt.NDArray[np.int32], count: int, rounds: int) -> npt.NDArray[np.int64]:
    """Cluster index of each sample after `rounds` of k-means from the given labels."""
    criteria = (cv2.TERM_CRITERIA_MAX_ITER, rounds, 0.0)
    start = np.ascontiguousarray(labels.reshape(-1, 1))
    _, found, _ = cv2.kmeans(np.ascontiguousarray(samples), count, start, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return np.asarray(found, np.int64).ravel()


def _lab(image: Image, blur: float) -> Map:
    return as_map(cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), blur), cv2.COLOR_RGB2LAB))


def as_map(values: npt.ArrayLike) -> Map:
    """`values` as float32."""
    return np.asarray(values, np.float32)
