"""Normalised clips as they leave ingest, and the making of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from models.protocols import Image
from stages.media import ClipWriter, MediaSettings, encode_image

MICROSECONDS = 1_000_000
THUMBNAIL_SIDE = 64
_HASH_ACROSS = (7, 8)
_HASH_DOWN = (6, 3)
_HASH_STEP = 1 / 16
"""Levels of brightness that count as brighter: less is the rounding of a plain area."""


@dataclass(frozen=True)
class FoundClip:
    """A normalised clip: an H.264 mp4 (kind ``video``) or a JPEG (kind ``image``: one frame, no `fps`, end = start).

    `start_us` and `end_us` are microseconds from the source's first frame. `keyframe_hash` is the 64-bit difference
    hash of the first frame; `mean_luma` (0..255) the mean over frames, `motion` (0..255) the mean change of luma from
    frame to frame: near 0 in a frozen clip. `thumbnails` (T, h, w) uint8 are the frames in grey, longer side ≤ 64.
    """

    start_us: int
    end_us: int
    kind: Literal["video", "image"]
    width: int
    height: int
    fps: Fraction | None
    num_frames: int
    data: bytes
    keyframe_hash: str
    mean_luma: float
    motion: float
    thumbnails: npt.NDArray[np.uint8] = field(compare=False, repr=False)


@dataclass(frozen=True)
class DroppedClip:
    """A piece of a source that becomes no clip, with the measured `value` and the `threshold` it fell under."""

    start_us: int
    end_us: int
    reason: Literal["min_duration", "min_short_side", "min_fps", "damaged"]
    value: float
    threshold: float

    @property
    def message(self) -> str:
        """One sentence for a person."""
        if self.reason == "min_duration":
            return f"The scene lasts {self.value:.2f} s, less than {self.threshold:g} s."
        if self.reason == "min_short_side":
            return f"The picture's short side has {self.value:g} pixels, less than {self.threshold:g}."
        if self.reason == "min_fps":
            return f"The video has {self.value:.3g} frames per second, less than {self.threshold:g}."
        return f"Damage leaves {self.value:.2f} s without whole frames."


def difference_hash(luma: npt.NDArray[np.uint8]) -> str:
    """A 64-bit difference hash (dHash) of a grey image as 16 hex digits.

    49 bits say of the cells of a 7 × 8 grid whether each is brighter than the one to its left, 15 of a 6 × 3 grid
    whether each is brighter than the one above. A little cropping changes fewer of them than of the usual 64 bits on
    8 × 9 cells, and different pictures stay as far apart.
    """
    # In whole numbers, neighbours in dark and even pictures would often be equal.
    exact = luma.astype(np.float32)
    across = cv2.resize(exact, _HASH_ACROSS[::-1], interpolation=cv2.INTER_AREA)
    down = cv2.resize(exact, _HASH_DOWN[::-1], interpolation=cv2.INTER_AREA)
    steps = np.concatenate([np.diff(across, axis=1).ravel(), np.diff(down, axis=0).ravel()])
    return np.packbits(steps > _HASH_STEP).tobytes().hex()


def thumbnail(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A grey image shrunk to a longer side of at most 64 pixels: each is a mean, so fine noise is gone."""
    height, width = luma.shape
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def ticks_to_us(ticks: int, fps: Fraction) -> int:
    """The time of tick number `ticks` of a constant rate, in whole microseconds."""
    return round(ticks * MICROSECONDS / fps)


class ClipBuilder:
    """Encodes one clip and gathers its facts.

    Args:
        first_tick: number of the clip's first frame on the source's grid of `fps` frames per second.
        like: a picture of the clip's size.
    """

    def __init__(self, first_tick: int, like: VideoFrame, fps: Fraction, settings: MediaSettings) -> None:
        self.first_tick = first_tick
        self._fps = fps
        self._writer = ClipWriter(like.width, like.height, fps, settings)
        self._previous: npt.NDArray[np.uint8] | None = None
        self._hash = ""
        self._luma_sum = 0.0
        self._change_sum = 0.0
        self._thumbnails: list[npt.NDArray[np.uint8]] = []

    @property
    def num_frames(self) -> int:
        """Frames added so far."""
        return self._writer.num_frames

    @property
    def end_tick(self) -> int:
        """The tick after the last frame."""
        return self.first_tick + self.num_frames

    @property
    def seconds(self) -> Fraction:
        """Length so far."""
        return self.num_frames / self._fps

    def add(self, picture: VideoFrame, luma: npt.NDArray[np.uint8]) -> None:
        """Append an upright picture; `luma` is the same, small and grey."""
        if self._previous is None:
            self._hash = difference_hash(luma)
        elif luma is not self._previous:
            self._change_sum += float(np.mean(cv2.absdiff(luma, self._previous)))
        self._thumbnails.append(self._thumbnails[-1] if luma is self._previous else thumbnail(luma))
        self._luma_sum += float(np.mean(luma))
        self._previous = luma
        self._writer.add(picture)

    def abandon(self) -> None:
        """Give the clip up and free its encoder."""
        self._writer.abandon()

    def finish(self) -> FoundClip:
        """The clip of all frames added, at least one."""
        data = self._writer.finish()
        return FoundClip(
            start_us=ticks_to_us(self.first_tick, self._fps),
            end_us=ticks_to_us(self.end_tick, self._fps),
            kind="video",
            width=self._writer.width,
            height=self._writer.height,
            fps=self._fps,
            num_frames=self.num_frames,
            data=data,
            keyframe_hash=self._hash,
            mean_luma=self._luma_sum / self.num_frames,
            motion=self._change_sum / max(1, self.num_frames - 1),
            thumbnails=np.stack(self._thumbnails),
        )


def still_clip(image: Image, start_us: int, settings: MediaSettings) -> FoundClip:
    """An upright RGB image with even sides as a clip of kind ``image``."""
    luma = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return FoundClip(
        start_us=start_us,
        end_us=start_us,
        kind="image",
        width=image.shape[1],
        height=image.shape[0],
        fps=None,
        num_frames=1,
        data=encode_image(image, settings.jpeg_quality),
        keyframe_hash=difference_hash(luma),
        mean_luma=float(np.mean(luma)),
        motion=0.0,
        thumbnails=thumbnail(luma)[None],
    )
