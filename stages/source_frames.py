"""The frames of a source video, in order, decoded once: damaged ones left out, interlaced ones made whole, all timed.

What a decoder conceals after damage looks like a frame and is none, and frames predicted from it are not even marked.
So all is left out from a damaged packet to the next key frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from pydantic import BaseModel, Field

from stages.containers import MediaError, open_video
from stages.filter_graph import build_graph, forget_unknown_matrix
from stages.timeline import TimedFrame, Timeline

_ALWAYS_JOINED = 3
"""Frames as far apart as this many steps are no pause, whatever the rate."""


class ReadSettings(BaseModel, frozen=True, extra="forbid"):
    """What is still read of a file that is damaged, endless or oddly timed."""

    max_broken_key_frames: int = Field(
        default=16, ge=0, description="undecodable key frames in a row before the rest of a file is given up as damaged"
    )
    max_gap: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="seconds a frame may stand still (three frames at least); a longer pause, as where frames were "
        "lost, ends the clip before it",
    )
    max_source_seconds: float = Field(
        default=4 * 3600.0, gt=0, description="length in seconds at which a file counts as endless and is left"
    )


def read_frames(file: BinaryIO, fps: Fraction, max_pixels: int, settings: ReadSettings) -> Iterator[TimedFrame]:
    """Decode the main video stream of `file` from start to end.

    Args:
        fps: the source's frames per second, used where stamps are missing.
        max_pixels: largest picture decoded.

    Raises:
        MediaError: after the last good frame: ``damaged`` or ``too_long``; at once: see `open_video`.
    """
    step = 1 / fps
    max_gap = max(Fraction(settings.max_gap), _ALWAYS_JOINED * step)
    timeline = Timeline(step, max_gap, Fraction(settings.max_source_seconds))
    deinterlacer = _Deinterlacer()
    seconds, lost = Fraction(0), False
    with open_video(file, max_pixels) as (container, stream):
        try:
            for frame in _good_frames(container, stream, settings.max_broken_key_frames):
                if frame is None:
                    lost = True
                    continue
                seconds, joins = timeline.place(_stamp(frame))
                if seconds > settings.max_source_seconds:
                    sentence = f"The video runs on past the limit of {settings.max_source_seconds:g} s."
                    raise MediaError("too_long", sentence)
                yield from deinterlacer.push(TimedFrame(frame, seconds, joins and not lost, lost))
                lost = False
        except _BrokenOffError as error:
            yield from deinterlacer.finish()
            raise MediaError("damaged", f"The file is damaged at {float(seconds + step):.2f} s: {error}.") from error
    yield from deinterlacer.finish()


def _stamp(frame: VideoFrame) -> Fraction | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base


class _BrokenOffError(Exception):
    """Nothing more can be read; the text says why."""


def _good_frames(
    container: InputContainer, stream: VideoStream, max_broken_key_frames: int
) -> Iterator[VideoFrame | None]:
    """Undamaged frames in order; a None stands for any number of frames that were lost."""
    broken = 0
    skipping = False
    for packet in _packets(container, stream):
        if skipping and not packet.is_keyframe:
            continue
        skipping = False
        try:
            frames = packet.decode()
            broken = 0
        except av.FFmpegError as error:
            frames = []
            skipping = True
            broken += 1
            if broken > max_broken_key_frames:
                raise _BrokenOffError(f"{broken} key frames in a row cannot be decoded ({error.strerror})") from error
        for frame in frames:
            # Also a frame that the decoder patched up itself.
            skipping = skipping or frame.is_corrupt
            if not skipping:
                yield frame
        if skipping or packet.is_corrupt:
            skipping = True
            # What is still inside may be predicted from the damaged frame without being marked.
            stream.codec_context.flush_buffers()
            yield None
    if skipping:
        raise _BrokenOffError("no whole frame follows")


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        raise _BrokenOffError(error.strerror or "the container is broken") from error


class _Deinterlacer:
    """Passes progressive frames on; from the first interlaced one of a size, runs all through bwdif.

    bwdif needs the frame after, so a frame comes out when the next goes in; one comes out for each that went in.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str] | None = None
        self._inside: deque[TimedFrame] = deque()

    def push(self, timed: TimedFrame) -> Iterator[TimedFrame]:
        picture = timed.picture
        layout = (picture.width, picture.height, picture.format.name)
        if self._graph is not None and (layout != self._layout or not timed.joins):
            yield from self.finish()
        if self._graph is None:
            if not picture.interlaced_frame:
                yield timed
                return
            forget_unknown_matrix(picture)
            self._graph = build_graph(picture, [("bwdif", "mode=send_frame:parity=auto:deint=interlaced")])
            self._layout = layout
        # The filter wants rising stamps; those of the file may be missing.
        picture.pts = len(self._inside) if not self._inside else (self._inside[-1].picture.pts or 0) + 1
        self._inside.append(timed)
        self._graph.vpush(picture)
        yield from self._drain()

    def finish(self) -> Iterator[TimedFrame]:
        """The frames still inside; the next frame starts afresh."""
        if self._graph is None:
            return
        self._graph.vpush(None)
        yield from self._drain()
        self._graph = None
        self._inside.clear()

    def _drain(self) -> Iterator[TimedFrame]:
        assert self._graph is not None
        while self._inside:
            try:
                picture = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield replace(self._inside.popleft(), picture=picture)
