"""One source file → normalised clips, in one decoding pass (VIVID-10M, data source: scenes of ≥ 5 s and ≥ 720p).

Frames are read, timed, turned upright and encoded as they come; a scene cut ends a clip. Never more than a few frames
are in memory, besides the encoded bytes of the clip being written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from pydantic import BaseModel, Field, model_validator

from models.protocols import Image
from stages.clip_builder import MICROSECONDS, ClipBuilder, DroppedClip, FoundClip, still_clip, ticks_to_us
from stages.media import MediaError, MediaSettings, RgbConverter, decode_clip, decode_image
from stages.probe import Probe
from stages.scenes import SceneCutter, SceneSettings
from stages.source_frames import ReadSettings, read_frames
from stages.timeline import GridFrame, resample
from stages.upright import Uprighter, even_side

__all__ = ["DroppedClip", "FoundClip", "NormaliseSettings", "image_from_clip", "normalise"]


class NormaliseSettings(BaseModel, frozen=True, extra="forbid"):
    """Which pieces of a source become clips, and what clips look like."""

    min_short_side: int = Field(
        default=720, ge=16, description="shortest side of a usable source in pixels, upright; the paper takes ≥ 720p"
    )
    max_short_side: int = Field(
        default=720, ge=16, multiple_of=2, description="short side in pixels that larger sources are shrunk to"
    )
    min_duration: float = Field(default=5.0, gt=0, description="seconds a scene must last; the paper takes ≥ 5 s")
    max_duration: float = Field(
        default=10.0, gt=0, le=600, description="seconds of a clip; longer scenes are split into pieces of this length"
    )
    min_fps: float = Field(default=5.0, gt=0, description="frames per second below which a source is a slide show")
    max_fps: float = Field(
        default=60.0, ge=10, le=240, description="frames per second of a clip; faster sources keep every n-th frame"
    )
    media: MediaSettings = Field(default=MediaSettings(), description="codec and limits")
    scenes: SceneSettings = Field(default=SceneSettings(), description="scene cuts")
    read: ReadSettings = Field(default=ReadSettings(), description="damaged, endless and oddly timed files")

    @model_validator(mode="after")
    def _durations_agree(self) -> NormaliseSettings:
        if self.max_duration < self.min_duration:
            raise ValueError(f"max_duration {self.max_duration:g} s is below min_duration {self.min_duration:g} s")
        return self


Interval = tuple[int, int | None]
"""Start and end in microseconds; None is the source's end."""


def normalise(
    path: Path, probe: Probe, settings: NormaliseSettings, interval: Interval = (0, None)
) -> Iterator[FoundClip | DroppedClip]:
    """Cut a source, or an interval of a video, into clips and encode them, one at a time and in order.

    An image is one clip at time 0. A video is decoded once; its scenes become clips of `min_duration` to `max_duration`
    seconds at a constant rate, the rest comes as `DroppedClip`. Undecodable stretches are left out where the file goes
    on after them.

    Raises:
        MediaError: after everything before the trouble was yielded: ``damaged`` (with the second at which it broke),
            ``too_long``; ``empty_interval`` when nothing was read; else as `probe` or ``decode_error``.
    """
    short_side = min(probe.width, probe.height)
    duration_us = probe.duration_us or 0
    if short_side < settings.min_short_side:
        yield DroppedClip(0, duration_us, "min_short_side", short_side, settings.min_short_side)
    elif probe.kind == "image":
        with path.open("rb") as file:
            image = decode_image(file, settings.media.max_pixels)
        yield still_clip(_fit(image, settings.max_short_side), 0, settings.media)
    elif probe.fps is None:
        raise MediaError("decode_error", f"{path.name} is a video without a frame rate.")
    elif probe.fps < settings.min_fps:
        yield DroppedClip(0, duration_us, "min_fps", float(probe.fps), settings.min_fps)
    else:
        yield from _normalise_video(path, probe, probe.fps, settings, interval)


def image_from_clip(found: FoundClip) -> FoundClip:
    """The first frame of a video clip as a clip of kind ``image`` (VIVID-10M, image subset)."""
    still = still_clip(decode_clip(found.data, indices=[0])[0], found.start_us, MediaSettings())
    return replace(still, keyframe_hash=found.keyframe_hash)


def _fit(image: Image, max_short_side: int) -> Image:
    height, width = image.shape[:2]
    scale = max_short_side / min(height, width)
    if scale < 1:
        size = round(width * scale), round(height * scale)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.ascontiguousarray(image[: even_side(image.shape[0]), : even_side(image.shape[1])])


def _normalise_video(
    path: Path, probe: Probe, source_fps: Fraction, settings: NormaliseSettings, interval: Interval
) -> Iterator[FoundClip | DroppedClip]:
    fps = source_fps / ceil(source_fps / Fraction(settings.max_fps))
    make_upright = Uprighter(probe.orientation, probe.pixel_aspect, settings.max_short_side)
    assembler = _Assembler(fps, settings)
    with path.open("rb") as file:
        frames = read_frames(file, source_fps, settings.media.max_pixels, settings.read)
        try:
            empty = True
            for frame in _within(resample(frames, fps, 1 / source_fps), interval, fps):
                empty = False
                short_side = min(make_upright.source_size(frame.picture))
                yield from assembler.push(replace(frame, picture=make_upright(frame.picture)), short_side)
            if empty:
                raise MediaError("empty_interval", _empty_interval_sentence(interval, probe.duration_us))
        except MediaError:
            yield from assembler.finish()
            raise
        else:
            yield from assembler.finish()
        finally:
            assembler.abandon()


def _empty_interval_sentence(interval: Interval, duration_us: int | None) -> str:
    start_us, end_us = interval
    end = "the end" if end_us is None else f"{end_us / MICROSECONDS:g} s"
    length = "" if duration_us is None else f", which lasts {duration_us / MICROSECONDS:.2f} s"
    return f"The interval from {start_us / MICROSECONDS:g} s to {end} holds no frame of the video{length}."


def _within(frames: Iterable[GridFrame], interval: Interval, fps: Fraction) -> Iterator[GridFrame]:
    """The frames shown within the interval; nothing after its end is decoded."""
    start_us, end_us = interval
    first = ceil(start_us * fps / MICROSECONDS)
    end = None if end_us is None else ceil(end_us * fps / MICROSECONDS)
    for frame in frames:
        if end is not None and frame.ticks.start >= end:
            return
        stop = frame.ticks.stop if end is None else min(frame.ticks.stop, end)
        ticks = range(max(frame.ticks.start, first), stop)
        if ticks:
            yield replace(frame, ticks=ticks)


@dataclass(frozen=True)
class _Waiting:
    """A frame whose scene is not known yet."""

    picture: VideoFrame
    luma: npt.NDArray[np.uint8]
    ticks: range


class _Assembler:
    """Distributes upright frames over clips."""

    def __init__(self, fps: Fraction, settings: NormaliseSettings) -> None:
        self._fps = fps
        self._settings = settings
        self._min_frames = ceil(Fraction(settings.min_duration) * fps)
        self._max_frames = max(self._min_frames, floor(Fraction(settings.max_duration) * fps))
        self._shrink = RgbConverter(settings.scenes.frame_side)
        self._cutter = SceneCutter(settings.scenes)
        self._waiting: deque[_Waiting] = deque()
        self._builder: ClipBuilder | None = None
        self._look: tuple[int, int, int] | None = None
        self._end_tick = 0

    def push(self, frame: GridFrame, short_side: int) -> Iterator[FoundClip | DroppedClip]:
        """Take the next frame; `short_side` is that of the source picture."""
        look = (frame.picture.width, frame.picture.height, short_side)
        if frame.lost:
            # Frames shown just before the damage may have been predicted from what is damaged.
            self._waiting.clear()
        if not frame.joins or look != self._look:
            yield from self.finish()
            self._cutter = SceneCutter(self._settings.scenes)
            self._look = look
        if frame.lost and frame.ticks.start > self._end_tick:
            start_us, end_us = self._span(self._end_tick, frame.ticks.start)
            yield DroppedClip(start_us, end_us, "damaged", (end_us - start_us) / MICROSECONDS, 0.0)
        small = self._shrink(frame.picture)
        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        self._waiting.append(_Waiting(frame.picture, luma, frame.ticks))
        begins_scene = self._cutter.push(small)
        if len(self._waiting) > self._cutter.delay:
            yield from self._settle(begins_scene)

    def finish(self) -> Iterator[FoundClip | DroppedClip]:
        """End the clip being written."""
        answers = self._cutter.finish()
        for begins_scene in answers[len(answers) - len(self._waiting) :]:
            yield from self._settle(begins_scene)
        yield from self._end_clip()

    def abandon(self) -> None:
        """Drop the clip being written, if any."""
        if self._builder is not None:
            self._builder.abandon()
            self._builder = None

    def _settle(self, begins_scene: bool) -> Iterator[FoundClip | DroppedClip]:
        """Write the frame that has waited longest."""
        settled = self._waiting.popleft()
        if begins_scene:
            yield from self._end_clip()
        for tick in settled.ticks:
            if self._builder is None:
                self._builder = ClipBuilder(tick, settled.picture, self._fps, self._settings.media)
            self._builder.add(settled.picture, settled.luma)
            self._end_tick = tick + 1
            if self._builder.num_frames == self._max_frames:
                yield from self._end_clip()

    def _end_clip(self) -> Iterator[FoundClip | DroppedClip]:
        builder, self._builder = self._builder, None
        if builder is None or self._look is None:
            return
        _, _, short_side = self._look
        span = self._span(builder.first_tick, builder.end_tick)
        if short_side < self._settings.min_short_side:
            builder.abandon()
            yield DroppedClip(*span, "min_short_side", short_side, self._settings.min_short_side)
        elif builder.num_frames < self._min_frames:
            builder.abandon()
            yield DroppedClip(*span, "min_duration", float(builder.seconds), self._settings.min_duration)
        else:
            yield builder.finish()

    def _span(self, first_tick: int, end_tick: int) -> tuple[int, int]:
        return ticks_to_us(first_tick, self._fps), ticks_to_us(end_tick, self._fps)
