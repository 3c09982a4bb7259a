"""Curves and rows of pictures as PNG files, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from train.triples import Triple

Picture = npt.NDArray[np.uint8]
SHOWN_FRAMES = (0, 4, 8)
PLOT = (220, 420)
"""Height and width of one curve's plot, pixels."""
MARGIN = 30


@dataclass(frozen=True)
class Row:
    """One clip: shown as original, masked, and edits."""

    triple: Triple
    edits: list[Picture]


def draw_rows(path: Path, rows: Sequence[Row]) -> None:
    """Every row: frames of the original, of the hole, and of each edit, with the caption above."""
    lines = []
    for row in rows:
        hole = np.where(row.triple.masks[..., None], np.uint8(128), row.triple.frames)
        strips = [_strip(video) for video in (row.triple.frames, hole, *row.edits)]
        line = np.concatenate([piece for strip in strips for piece in (strip, _gap(strip))], axis=1)
        caption = np.full((14, line.shape[1], 3), 255, np.uint8)
        cv2.putText(caption, row.triple.caption, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
        lines += [caption, line]
    _write(path, np.concatenate(lines))


def draw_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """One plot per curve, below one another; the value's axis is logarithmic."""
    _write(path, np.concatenate([_plot(name, curve) for name, curve in curves.items()]))


def _write(path: Path, picture: Picture) -> None:
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def _strip(video: Picture) -> Picture:
    return np.concatenate([video[index] for index in SHOWN_FRAMES], axis=1)


def _gap(strip: Picture) -> Picture:
    return np.full((strip.shape[0], 6, 3), 255, np.uint8)


def _plot(name: str, curve: Sequence[tuple[int, float]]) -> Picture:
    height, width = PLOT
    canvas = np.full((height, width, 3), 255, np.uint8)
    steps, values = (np.asarray(column, np.float64) for column in zip(*curve, strict=True))
    heights = np.log(np.maximum(values, 1e-9))
    low, span = heights.min(), max(float(np.ptp(heights)), 1e-9)
    x = MARGIN + (steps / steps.max()) * (width - 2 * MARGIN)
    y = height - MARGIN - (heights - low) / span * (height - 2 * MARGIN)
    cv2.rectangle(canvas, (MARGIN, MARGIN), (width - MARGIN, height - MARGIN), (200, 200, 200), 1)
    points = np.rint(np.stack([x, y], axis=1)).astype(np.int32)
    cv2.polylines(canvas, [points], False, (30, 90, 200), 1, cv2.LINE_AA)
    title = f"{name}: {values[0]:.3g} to {values[-1]:.3g} in {int(steps[-1])} steps"
    cv2.putText(canvas, title, (MARGIN, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    for value, place in ((values.max(), MARGIN), (values.min(), height - MARGIN)):
        cv2.putText(canvas, f"{value:.2g}", (1, place), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas
