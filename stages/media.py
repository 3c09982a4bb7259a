"""Decoding and encoding of the pipeline's own media: normalised clips (H.264 mp4) and images (JPEG or PNG).

Everything runs on one thread: workers share a machine, and one-threaded x264 gives the same bytes on every run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import BinaryIO, Literal, cast

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
from av.bitstream import BitStreamFilterContext
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from pydantic import BaseModel, Field

from models.protocols import Image
from stages.containers import MediaError, open_image, open_video
from stages.filter_graph import yuv_matrix
from stages.range_file import RangeFile

__all__ = [
    "ClipWriter",
    "MediaError",
    "MediaSettings",
    "RgbConverter",
    "decode_clip",
    "decode_image",
    "encode_image",
    "iter_clip",
]

AVCOL_SPC_BT709 = 1
"""FFmpeg's number of the matrix, for a codec's `colorspace`."""

AREA_AVERAGE = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Shrinking by area averaging straight from YUV: OpenCV's INTER_AREA on the RGB picture gives the same (51–54 dB) and
costs three times as much. Without the second flag swscale halves the colour resolution and darkens by 2 levels."""

EXACT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""Every colour to the nearest level, at the size it has. swscale's default rounds down: a picture is a level too dark,
and an edit of an edit of an edit visibly so. It takes three times as long."""

REPEATABLE_X264 = {"mbtree": "0"}
"""Options that every encoding with libx264 needs for equal frames to give equal bytes.

Macroblock-tree rate control reads memory that it did not write: at many sizes (96×64, 240×144) the bytes depend on what
lay there before, even on one thread.
"""

_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_REORDERED = 2
"""Frames that x264, as set here, codes at most before one that is shown before them."""
_SEI_NAL_UNIT = 6
_STRIP_PIXELS = 2**20
"""Pixels of an image converted at a time: intermediate copies of a whole large one would take gigabytes."""


class MediaSettings(BaseModel, frozen=True, extra="forbid"):
    """How clips and images are stored, and how large a picture may be."""

    crf: int = Field(
        default=18, ge=0, le=51, description="x264 rate factor; 18 looks lossless, higher blurs what masks follow"
    )
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        default="veryfast",
        description="x264 effort; 'medium' saves about a quarter of the bytes at equal quality for twice the time",
    )
    gop: int = Field(
        default=16, ge=1, le=300, description="frames per closed group: at most so many are decoded to reach one frame"
    )
    jpeg_quality: int = Field(default=95, ge=1, le=100, description="JPEG quality of image clips")
    max_pixels: int = Field(
        default=8192 * 8192,
        ge=256,
        description="largest picture decoded, in pixels; without it a small hostile file can claim all memory",
    )


class RgbConverter:
    """Turns decoded frames into contiguous RGB images, their longer side at most `long_side` pixels.

    One converter serves all frames of a clip: setting swscale up costs more than a conversion. Not `exact`: faster, and
    about a level too dark unless shrunk, for what only looks at the pictures.
    """

    def __init__(self, long_side: int | None, *, exact: bool = True) -> None:
        self._long_side, self._exact = long_side, exact
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Image:
        width, height = fit_long_side(frame.width, frame.height, self._long_side)
        shrinks = (width, height) != (frame.width, frame.height)
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            # swscale would take every untagged picture for BT.601.
            src_colorspace=Colorspace.ITU709 if yuv_matrix(frame) == "bt709" else None,
            # Shrunk pictures are exact in any case.
            interpolation=AREA_AVERAGE if shrinks else EXACT if self._exact else None,
            threads=1,
        )
        return np.ascontiguousarray(rgb.to_ndarray(), dtype=np.uint8)


def fit_long_side(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """(width, height) scaled down, never up, so that the longer side is at most `long_side` pixels."""
    longest = max(width, height)
    if long_side is None or longest <= long_side:
        return width, height
    return max(1, round(width * long_side / longest)), max(1, round(height * long_side / longest))


def decode_clip(
    data: bytes | RangeFile, *, long_side: int | None = None, indices: Sequence[int] | None = None, exact: bool = True
) -> list[Image]:
    """Frames of a normalised mp4, or the one frame of a JPEG or PNG, as RGB images.

    Args:
        data: the file's bytes, or the file to be read in parts: of a video, only what the frames need.
        long_side: shrink each frame while decoding so that its longer side is at most this many pixels.
        indices: frame numbers to return, in this order (repeats share one array); all frames when None.
        exact: colours to the nearest level; else, at a third of the conversion's time, about a level too dark.

    Raises:
        MediaError: the bytes cannot be decoded, or a frame number is not in the clip (``no_frame``).
    """
    if indices is None:
        return list(iter_clip(data, long_side=long_side, exact=exact))
    ascending = sorted(set(indices))
    frames = dict(zip(ascending, iter_clip(data, long_side=long_side, indices=ascending, exact=exact), strict=True))
    return [frames[index] for index in indices]


def iter_clip(
    data: bytes | RangeFile, *, long_side: int | None = None, indices: Sequence[int] | None = None, exact: bool = True
) -> Iterator[Image]:
    """Frames of `decode_clip` one at a time; `indices` must ascend strictly. Nothing is read before the first frame."""
    convert = RgbConverter(long_side, exact=exact)
    if indices is None:
        yield from _iter_all(data, convert)
        return
    if any(later <= earlier for earlier, later in pairwise(indices)):
        raise ValueError(f"frame numbers must ascend, not {list(indices)}")
    if not indices:
        return
    if indices[0] < 0:
        raise MediaError("no_frame", f"Frame {indices[0]} was asked for; frames count from 0.")
    yield from _iter_all(data, convert, indices)


def _iter_all(data: bytes | RangeFile, convert: RgbConverter, indices: Sequence[int] | None = None) -> Iterator[Image]:
    remaining = iter(indices) if indices is not None else None
    wanted = next(remaining) if remaining is not None else 0
    number = -1
    for number, frame in _decoded_frames(data, wanted, indices[-1] if indices is not None else None):
        if number == wanted:
            yield convert(frame)
            following = wanted + 1 if remaining is None else next(remaining, None)
            if following is None:
                return
            wanted = following
    if remaining is not None:
        raise MediaError("no_frame", f"Frame {wanted} was asked for; the clip has {number + 1} frames.")


def _decoded_frames(data: bytes | RangeFile, first: int, last: int | None) -> Iterator[tuple[int, VideoFrame]]:
    """Numbered frames in order, from the key frame at or before frame `first` on; none after `last` will be needed."""
    limit = MediaSettings().max_pixels
    file = cast("BinaryIO", io.BytesIO(data) if isinstance(data, bytes) else data)
    start = file.read(max(map(len, _IMAGE_SIGNATURES)))
    file.seek(0)
    if start.startswith(_IMAGE_SIGNATURES):
        # Pillow wants as many bytes as it asks for.
        image = decode_image(io.BytesIO(file.read()), limit)
        yield 0, VideoFrame.from_ndarray(image, format="rgb24")
        return
    if not start:
        raise MediaError("empty", "The clip has no bytes.")
    with open_video(file, limit) as (container, stream):
        if isinstance(data, RangeFile):
            _expect(data, stream, first, last)
        try:
            yield from enumerate(container.decode(stream), _seek(container, stream, first))
        except av.FFmpegError as error:
            raise MediaError("decode_error", f"The clip cannot be decoded ({error.strerror}).") from error


def _expect(file: RangeFile, stream: VideoStream, first: int, last: int | None) -> None:
    """Let the file fetch all of frames `first` to `last` at once, from the key frame before them on."""
    index = stream.index_entries
    end = len(index) - 1 if last is None else min(last + _REORDERED, len(index) - 1)
    # Of closed groups the n-th coded frame and the n-th shown one are in the same.
    keys = [entry.pos for entry in index[: min(first, end) + 1] if entry.is_keyframe]
    if keys:
        file.expect(keys[-1], index[end].pos + index[end].size)


def _seek(container: InputContainer, stream: VideoStream, wanted: int) -> int:
    """Go to the last key frame at or before frame `wanted`; returns its number. Normalised clips have a fixed rate."""
    rate, unit = stream.average_rate, stream.time_base
    if not wanted or not rate or not unit:
        return 0
    moment = math.floor(wanted / rate / unit)
    container.seek(moment, stream=stream)
    packet = next(iter(container.demux(stream)), None)
    if packet is None or packet.pts is None:
        container.seek(0, stream=stream)
        return 0
    container.seek(moment, stream=stream)
    return round(packet.pts * unit * rate)


def decode_image(file: BinaryIO, max_pixels: int) -> Image:
    """An image file as an upright RGB image: EXIF orientation applied, transparency laid over black.

    Raises MediaError: ``unreadable``, ``too_large``, ``decode_error``.
    """
    with open_image(file, max_pixels) as image:
        if image is None:
            raise MediaError("unreadable", "Not an image of a supported format.")
        PIL.ImageOps.exif_transpose(image, in_place=True)
        rgb = np.empty((image.height, image.width, 3), np.uint8)
        rows = max(1, _STRIP_PIXELS // image.width)
        for top in range(0, image.height, rows):
            bottom = min(image.height, top + rows)
            rgb[top:bottom] = np.asarray(_to_rgb(image.crop((0, top, image.width, bottom))))
        return rgb


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit grey at 255 instead of scaling it.
        deep = np.asarray(image, dtype=np.float64)
        return PIL.Image.fromarray((deep.clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered).convert("RGB")
    return image.convert("RGB")


def encode_image(frame: Image, quality: int = MediaSettings().jpeg_quality) -> bytes:
    """An RGB image (height, width, 3) as a JPEG; equal images give equal bytes."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


class ClipWriter:
    """Writes a normalised clip frame by frame: H.264 mp4, closed groups, BT.709, index first, byte-identical each time.

    Args:
        width, height: frame size in pixels, both even.
        fps: frames per second, exactly.
        settings: codec settings.
    """

    def __init__(self, width: int, height: int, fps: Fraction, settings: MediaSettings) -> None:
        if width % 2 or height % 2 or width < 2 or height < 2:
            raise ValueError(f"a clip of {width}×{height} has an odd or empty side")
        if fps <= 0:
            raise ValueError(f"a clip cannot have {fps} frames per second")
        self.width = width
        self.height = height
        self.num_frames = 0
        self._time_base = 1 / fps
        self._buffer = io.BytesIO()
        buffer = self._buffer
        self._container = av.open(
            buffer,
            "w",
            format="mp4",
            options={"movflags": "+faststart", "fflags": "+bitexact"},
            # To move the index to the front the muxer opens its own output again for reading.
            io_open=lambda _url, _flags, _options: io.BytesIO(buffer.getvalue()),
        )
        self._stream = self._open_stream(fps, settings)
        # x264 writes its version and options into a message of the first frame, and nothing else needs messages.
        self._strip_messages = BitStreamFilterContext(f"filter_units=remove_types={_SEI_NAL_UNIT}", "h264")
        self._to_yuv = VideoReformatter()

    def _open_stream(self, fps: Fraction, settings: MediaSettings) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=fps, time_base=self._time_base)
        codec = stream.codec_context
        codec.width, codec.height, codec.pix_fmt = self.width, self.height, "yuv420p"
        codec.thread_count = 1
        codec.flags |= CodecFlags.bitexact | CodecFlags.closed_gop
        codec.colorspace = AVCOL_SPC_BT709
        codec.color_range = ColorRange.MPEG
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709
        groups = f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0"
        codec.options = {"crf": str(settings.crf), "preset": settings.preset, "x264-params": groups, **REPEATABLE_X264}
        return stream

    def add(self, frame: Image | VideoFrame) -> None:
        """Append a frame of the clip's size: an RGB image, or a decoded one in limited-range BT.709 ``yuv420p``."""
        picture = self._from_rgb(frame) if isinstance(frame, np.ndarray) else frame
        if (picture.width, picture.height) != (self.width, self.height):
            raise ValueError(f"a frame of {picture.width}×{picture.height} in a clip of {self.width}×{self.height}")
        picture.pts = self.num_frames
        picture.time_base = self._time_base
        picture.pict_type = av.video.frame.PictureType.NONE
        self._mux(self._stream.encode(picture))
        self.num_frames += 1

    def _from_rgb(self, frame: Image) -> VideoFrame:
        rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")
        return self._to_yuv.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            # Averages the colours of each 2×2 block; the default reads every other pixel's.
            interpolation=Interpolation.AREA | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            for stripped in self._strip_messages.filter(packet):
                self._container.mux(stripped)

    def abandon(self) -> None:
        """Free the encoder of a clip that is not wanted; otherwise the memory waits for Python's cycle collector."""
        self._container.close()

    def finish(self) -> bytes:
        """Close the clip and return the file's bytes. Raises MediaError ``empty`` when no frame was added."""
        if not self.num_frames:
            raise MediaError("empty", "A clip needs at least one frame.")
        self._mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()
