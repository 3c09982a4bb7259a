"""What goes into a YOLOX network and what its raw numbers mean.

The picture goes in as BGR 0..255 in the upper left of a grey square. Out come 85 numbers per cell of three grids
(strides 8, 16, 32): centre and log size in units of the stride, how sure it is of a thing, and a score per COCO name.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.boxes import iou
from models.coco import COCO_NAMES
from models.named_things import NamedThing
from models.protocols import Image

STRIDES = (8, 16, 32)
NUMBERS = 5 + len(COCO_NAMES)
"""Per cell: x, y, log width, log height, whether there is a thing, a score per name."""
_GREY = 114
_LARGEST_LOG = 10.0
"""e¹⁰ strides are wider than any picture; more would overflow."""
Array = npt.NDArray[np.float32]


class DecodingSettings(BaseModel, frozen=True, extra="forbid"):
    """Which of the network's cells count as things."""

    min_score: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="cells less sure of their best name are passed over; on DAVIS 0.2 finds 17 of 20 main things",
    )
    max_iou: float = Field(
        default=0.5, gt=0, le=1, description="boxes of one name overlapping more (IoU) are the same thing"
    )
    max_iou_of_names: float = Field(
        default=0.65,
        gt=0,
        le=1,
        description="boxes of different names overlapping more are one thing whose name is in doubt; lower makes one "
        "of rider and horse",
    )


def letterbox(image: Image, height: int, width: int) -> tuple[Array, float]:
    """The network's input (1, 3, height, width) of an RGB image, and how many of its pixels make one of the image."""
    scale = min(height / image.shape[0], width / image.shape[1])
    across, down = max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))
    square = np.full((height, width, 3), _GREY, np.uint8)
    square[:down, :across] = cv2.resize(image, (across, down), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(square[..., ::-1].transpose(2, 0, 1)[None], np.float32), scale


def cell_count(height: int, width: int) -> int:
    """How many cells the grids of a network with this input have."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def decode(output: Array, height: int, width: int) -> tuple[Array, Array]:
    """Boxes (cells, 4) x0, y0, x1, y1 in pixels of the input, and scores (cells, 80), of a raw output (cells, 85)."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    stride_of = np.concatenate(strides).astype(np.float32)
    centres = (output[:, :2] + np.concatenate(corners)) * stride_of
    half = np.exp(np.minimum(output[:, 2:4], _LARGEST_LOG)) * stride_of / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    return boxes.astype(np.float32), np.asarray(output[:, 4:5] * output[:, 5:], np.float32)


def things_in(
    boxes: Array, scores: Array, scale: float, size: tuple[int, int], settings: DecodingSettings
) -> list[NamedThing]:
    """The things of decoded cells, surest first, in pixels of an image of `size` (height, width).

    A thing's scores are the best of all cells that show it, so that a name in doubt keeps its rivals.
    """
    sure = np.flatnonzero(scores.max(axis=1) >= settings.min_score)
    order = sure[np.argsort(-scores[sure].max(axis=1), kind="stable")]
    limits = np.array([size[1], size[0], size[1], size[0]], np.float32)
    kept: list[NamedThing] = []
    for cell in order:
        x0, y0, x1, y1 = (float(edge) for edge in np.clip(boxes[cell] / scale, 0, limits))
        thing = NamedThing((x0, y0, x1, y1), scores[cell].copy())
        same = next((other for other in kept if _same(thing, other, settings)), None)
        if same is not None:
            np.maximum(same.scores, thing.scores, out=same.scores)
        elif x1 > x0 and y1 > y0:
            kept.append(thing)
    return kept


def _same(thing: NamedThing, better: NamedThing, settings: DecodingSettings) -> bool:
    limit = settings.max_iou if thing.name == better.name else settings.max_iou_of_names
    return iou(thing.box, better.box) > limit
