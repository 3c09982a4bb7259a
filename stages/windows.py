"""Which frames and which crop of a clip a training sample shows.

A window has a fixed number of frames at a fixed size; it is drawn so that the mask is seen in it. A clip shorter than
the window is played forwards and backwards, so that nothing jumps. Windows are either drawn anew for every visit, or
(`fixed`) taken from a few per clip, whose latents can be computed beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, field_validator

from manifests.ids import draw_choice
from manifests.masks import Mask
from models.protocols import Image

Boxes = npt.NDArray[np.int64]
"""(frames, 4): x0, y0, x1, y1 of each frame's mask in pixels, end exclusive; zeros where it is empty."""

_Part = tuple[slice, slice]
"""Rows and columns of a picture."""


class WindowSettings(BaseModel, frozen=True, extra="forbid"):
    """Size of a window in pixels and frames. The defaults are CogVideoX's."""

    height: int = Field(default=480, ge=16, multiple_of=16, description="pixels; a multiple of 16")
    width: int = Field(default=720, ge=16, multiple_of=16, description="pixels; a multiple of 16")
    frames: int = Field(default=49, ge=1, description="frames of a video window; 8k + 1 for CogVideoX's VAE")
    fps: float | None = Field(default=None, gt=0, description="frames per second taken; null: the clip's own")
    min_seen: float = Field(
        default=0.5, gt=0, le=1, description="share of the window's frames with a mask, where the clip has such windows"
    )
    fixed: int = Field(
        default=0, ge=0, description="windows per clip; 0: any. Precomputed latents need a fixed number of windows"
    )

    @field_validator("frames")
    @classmethod
    def _latent_groups(cls, value: int) -> int:
        # The VAE packs 4 frames into a latent after the first, and the transformer's patches want an odd count.
        if value % 8 != 1:
            raise ValueError(f"a window has 8k + 1 frames (1, 9, 17, … 49), not {value}")
        return value


@dataclass(frozen=True)
class ClipShape:
    """What must be known of a clip to lay a window on it."""

    clip_id: str
    kind: str
    width: int
    height: int
    fps: float | None
    num_frames: int


@dataclass(frozen=True)
class Window:
    """Frame numbers of the clip, and the crop in its pixels (floats: crops of the enlarged or shrunk picture)."""

    indices: tuple[int, ...]
    x0: float
    y0: float
    scale: float
    """Window pixels per clip pixel."""
    width: int
    height: int

    def places(self, index: int) -> list[int]:
        """Where in the window a frame of the clip is shown."""
        return [place for place, shown in enumerate(self.indices) if shown == index]

    def cut(self, image: Image) -> Image:
        """The window's pixels of a frame, (height, width, 3) uint8."""
        interpolation = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
        return np.asarray(
            cv2.resize(self._piece(image), (self.width, self.height), interpolation=interpolation), np.uint8
        )

    def cut_mask(self, mask: Mask) -> Mask:
        """The window's pixels of a mask: those at least half covered, or all touched ones where none is."""
        piece = self._piece(mask).view(np.uint8)
        x, y, width, height = cv2.boundingRect(piece)
        covered = np.zeros((self.height, self.width), np.uint8)
        if width:
            taken, shown = self._blocks(piece.shape, (x, y, x + width, y + height))
            target = covered[shown]
            interpolation = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
            target[:] = cv2.resize(piece[taken] * np.uint8(255), target.shape[::-1], interpolation=interpolation)
        half = covered >= 128
        return np.asarray(half if half.any() else covered > 0, np.bool_)

    def _piece(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Whole pixels of the clip: the crop is true to within one of them.
        span_x, span_y = self.width / self.scale, self.height / self.scale
        left, top = round(self.x0), round(self.y0)
        right = min(picture.shape[1], left + math.ceil(span_x - 1e-6))
        bottom = min(picture.shape[0], top + math.ceil(span_y - 1e-6))
        return np.ascontiguousarray(picture[top:bottom, left:right])

    def _blocks(self, piece: tuple[int, ...], box: tuple[int, int, int, int]) -> tuple[_Part, _Part]:
        """The part of a mask's piece to resize so that all of `box` comes out as of the whole, and where that is shown.

        Shrinking by 3 : 2 makes 2 pixels of every 3, whatever lies beside them. Where the coverage of a pixel may be
        one half exactly (an even number of parts), its rounding depends on the place: there the part is the whole.
        """
        shown = (self.height, self.width)
        blocks = [math.gcd(*lengths) for lengths in zip(piece, shown, strict=True)]
        if self.scale >= 1 or any(length // count % 2 == 0 for length, count in zip(piece, blocks, strict=True)):
            blocks = [1, 1]
        x0, y0, x1, y1 = box
        taken_rows, shown_rows = _cover(y0, y1, blocks[0], piece[0], shown[0])
        taken_columns, shown_columns = _cover(x0, x1, blocks[1], piece[1], shown[1])
        return (taken_rows, taken_columns), (shown_rows, shown_columns)


def _cover(low: int, high: int, blocks: int, length: int, shown: int) -> tuple[slice, slice]:
    """The whole blocks that hold pixels `low` to `high`, in the `length` pixels given and in the `shown` ones."""
    given, made = length // blocks, shown // blocks
    first, end = low // given, -(-high // given)
    return slice(first * given, end * given), slice(first * made, end * made)


def frame_numbers(clip: ClipShape, settings: WindowSettings, start: int) -> tuple[int, ...]:
    """The clip's frame for each frame of a window that begins at frame `start`."""
    if clip.kind == "image":
        return (0,)
    ratio = (clip.fps or 1.0) / settings.fps if settings.fps else 1.0
    last = clip.num_frames - 1
    played = (start + math.floor(place * ratio + 0.5 + 1e-9) for place in range(settings.frames))
    return tuple(last - abs(last - frame % (2 * last)) if last else 0 for frame in played)


def last_start(clip: ClipShape, settings: WindowSettings) -> int:
    """The last frame a window may begin at without running past the clip's end (0 for short clips)."""
    if clip.kind == "image":
        return 0
    ratio = (clip.fps or 1.0) / settings.fps if settings.fps else 1.0
    return max(0, clip.num_frames - 1 - math.floor((settings.frames - 1) * ratio + 0.5))


def fixed_windows(clip: ClipShape, settings: WindowSettings, seed: int) -> list[Window]:
    """The clip's own windows, drawn without looking at any mask: those that latents are computed for."""
    return [
        _window(
            clip,
            settings,
            draw_choice(seed, clip.clip_id, f"window {number} start", last_start(clip, settings) + 1),
            *(draw_choice(seed, clip.clip_id, f"window {number} {side}", 2**20) / 2**20 for side in "xy"),
        )
        for number in range(settings.fixed)
    ]


def choose_window(clip: ClipShape, boxes: Boxes, settings: WindowSettings, seed: int, key: str) -> Window:
    """A window in which the mask is seen; one of the clip's `fixed` ones where any of them shows it.

    Raises ValueError when the mask is empty in the whole clip.
    """
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not seen.any():
        raise ValueError("its mask is empty in every frame")
    good = [window for window in fixed_windows(clip, settings, seed) if _shows(window, boxes, seen, settings)]
    if good:
        return good[draw_choice(seed, key, "fixed window", len(good))]
    start = _start(clip, seen, settings, seed, key)
    indices = np.asarray(frame_numbers(clip, settings, start))
    inside = boxes[indices][seen[indices]]
    return _around(clip, settings, start, inside, seed, key)


def _start(clip: ClipShape, seen: npt.NDArray[np.bool_], settings: WindowSettings, seed: int, key: str) -> int:
    shares = [
        float(np.mean(seen[list(frame_numbers(clip, settings, start))]))
        for start in range(last_start(clip, settings) + 1)
    ]
    enough = min(settings.min_seen, max(shares))
    starts = [start for start, share in enumerate(shares) if share >= enough]
    return starts[draw_choice(seed, key, "window start", len(starts))]


def _around(clip: ClipShape, settings: WindowSettings, start: int, boxes: Boxes, seed: int, key: str) -> Window:
    """A crop that holds all boxes where they fit, else the middle of the first."""
    scale, spare_x, spare_y = _fit(clip, settings)
    shares = []
    for axis, spare, size in ((0, spare_x, settings.width / scale), (1, spare_y, settings.height / scale)):
        low, high = float(boxes[:, axis].min()), float(boxes[:, axis + 2].max())
        first, last = high - size, low
        if first > last:
            middle = float(boxes[0, axis] + boxes[0, axis + 2]) / 2
            first = last = middle - size / 2
        first, last = min(max(first, 0.0), spare), min(max(last, 0.0), spare)
        place = draw_choice(seed, key, f"crop {axis}", 2**20) / 2**20
        shares.append((first + place * (last - first)) / spare if spare else 0.0)
    return _window(clip, settings, start, *shares)


def _window(clip: ClipShape, settings: WindowSettings, start: int, share_x: float, share_y: float) -> Window:
    """A window from shares in [0, 1] of the room the crop has."""
    scale, spare_x, spare_y = _fit(clip, settings)
    indices = frame_numbers(clip, settings, start)
    return Window(indices, share_x * spare_x, share_y * spare_y, scale, settings.width, settings.height)


def _fit(clip: ClipShape, settings: WindowSettings) -> tuple[float, float, float]:
    """Scale at which the window just covers the frame's smaller direction, and the room left in x and y."""
    scale = max(settings.width / clip.width, settings.height / clip.height)
    return scale, max(0.0, clip.width - settings.width / scale), max(0.0, clip.height - settings.height / scale)


def _shows(window: Window, boxes: Boxes, seen: npt.NDArray[np.bool_], settings: WindowSettings) -> bool:
    """Whether enough frames of the window have the middle of their mask's box inside the crop."""
    indices = np.asarray(window.indices)
    here = boxes[indices]
    middle_x, middle_y = (here[:, 0] + here[:, 2]) / 2, (here[:, 1] + here[:, 3]) / 2
    right, bottom = window.x0 + window.width / window.scale, window.y0 + window.height / window.scale
    inside = (middle_x >= window.x0) & (middle_x < right) & (middle_y >= window.y0) & (middle_y < bottom)
    return float(np.mean(seen[indices] & inside)) >= settings.min_seen
