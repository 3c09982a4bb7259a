"""Normalised clips as they leave ingest, and the making of one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from models.protocols import Image
from stages.media import ClipWriter, MediaSettings, encode_image

MICROSECONDS = 1_000_000
_HASH_SIDE = 8


@dataclass(frozen=True)
class FoundClip:
    """A normalised clip: an H.264 mp4 (kind ``video``) or a JPEG (kind ``image``: one frame, no `fps`, end = start).

    `start_us` and `end_us` are microseconds from the source's first frame. `keyframe_hash` is the 64-bit difference
    hash of the first frame; `mean_luma` (0..255) the mean over frames, `motion` (0..255) the mean change of luma from
    frame to frame: near 0 in a frozen clip.
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
    """The 64-bit dHash of a grey image as 16 hex digits; a bit says whether a cell is brighter than the one before."""
    cells = cv2.resize(luma, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return bits.tobytes().hex()


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
        )


def still_clip(image: Image, start_us: int, settings: MediaSettings) -> FoundClip:
    """An upright RGB image with even sides as a clip of kind ``image``."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return FoundClip(
        start_us=start_us,
        end_us=start_us,
        kind="image",
        width=image.shape[1],
        height=image.shape[0],
        fps=None,
        num_frames=1,
        data=encode_image(image, settings.jpeg_quality),
        keyframe_hash=difference_hash(np.asarray(luma, dtype=np.uint8)),
        mean_luma=float(np.mean(luma)),
        motion=0.0,
    )
