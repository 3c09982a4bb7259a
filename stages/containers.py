"""Opening files nobody vouches for: what may be opened, and what it may cost.

FFmpeg chooses its reader by a file's content, and some readers (HLS, DASH, concat scripts, SDP, image sequences, …)
open *other* files or addresses named inside. A playlist called ``holiday.mp4`` could so read private files or call
out to a network. Three fences stand against that: FFmpeg is handed an open, nameless file object instead of a path,
only readers of self-contained formats are allowed, and no protocol is, so nothing further can be opened at all. Pillow
likewise may use a few plain formats only (its EPS reader, for one, starts Ghostscript).

A header of a few bytes can claim any amount: of pixels, which are checked before they are decoded, or of frames, whose
index FFmpeg would lay out in memory. So FFmpeg may not allocate more at once than the largest picture takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import PIL.Image
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,ivf,obu,nut,h264,hevc,"
    "yuv4mpegpipe,gif"
)
"""FFmpeg's names of the readers that are allowed: each holds its pictures itself."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF")
"""Pillow's names of the allowed image formats."""

NO_PROTOCOL = "none"
"""Not the name of any FFmpeg protocol: with this as the whole allowed list, FFmpeg can open nothing by itself."""


LARGEST_ALLOCATION = 320 * 2**20
"""Bytes that FFmpeg may allocate at once: 8192 × 8192 pixels of four bytes, or an index of ten million frames.
Without it an mp4 of 34 kB that claims eighty million frames takes 4 GB."""

_PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,
    struct.error,
    PIL.Image.DecompressionBombError,
)
"""What Pillow's readers raise at damage (RuntimeError: AVIF)."""


class MediaError(ValueError):
    """A file that cannot be used: `reason` is a short code for the manifests, the text one sentence for a person."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        # The default would call MediaError(sentence), so the error could not leave a worker process.
        return MediaError, (self.reason, str(self))


class _NamelessFile:
    """Only the bytes of a file: FFmpeg must not judge a file by its name, nor learn where its neighbours are."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = file.read
        self._failed = False
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        # FFmpeg may go on reading before it hands an error over; PyAV would print a second one.
        if self._failed:
            return b""
        try:
            return self._read(size)
        except OSError as error:
            self._failed = True
            raise unreadable(error) from error


def unreadable(error: OSError) -> MediaError:
    """The error for a file that its disk or network does not give."""
    return MediaError("unreadable", f"The file cannot be read ({error.strerror or type(error).__name__}).")


def _limit_allocations() -> None:
    # Found through PyAV's own module, which is linked to FFmpeg. Where FFmpeg is built in and hides its functions, the
    # memory limit of the worker still stands.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(LARGEST_ALLOCATION))


_limit_allocations()


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise MediaError ``too_large`` unless a picture of this size may be decoded."""
    if width * height > max_pixels:
        raise MediaError("too_large", f"Pictures of {width}×{height} are over the limit of {max_pixels} pixels.")


@contextmanager
def open_video(file: BinaryIO, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container in `file` and its main video stream, to be decoded on one thread.

    Raises MediaError: ``unreadable`` (no allowed format, or broken beyond reading), ``no_video``, ``no_decoder``,
    ``too_large``.
    """
    # The decoder checks every picture against max_pixels before it allocates, whatever the header claims.
    limits = {"format_whitelist": VIDEO_FORMATS, "protocol_whitelist": NO_PROTOCOL, "max_pixels": str(max_pixels)}
    try:
        container = av.open(_NamelessFile(file), "r", options=limits, metadata_errors="replace")
    except av.MemoryError as error:
        raise MediaError("too_large", "The file's header asks for more memory than a real file needs.") from error
    except av.FFmpegError as error:
        sentence = "This is no video or image of a supported format, or its header or index is damaged or cut off."
        raise MediaError("unreadable", sentence) from error
    with container:
        stream = _main_video_stream(container)
        check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all
        yield container, stream


def _main_video_stream(container: InputContainer) -> VideoStream:
    # A cover picture in a music file is a video stream to FFmpeg, but no video.
    moving = [s for s in container.streams.video if not Disposition(s.disposition) & Disposition.attached_pic]
    if not moving:
        raise MediaError("no_video", "No video was found in the file: it is audio only, or its header is damaged.")
    best = container.streams.best("video")
    stream = next((s for s in moving if best is not None and s.index == best.index), moving[0])
    if stream.codec_context is None:
        raise MediaError("no_decoder", "No decoder is known for the file's video stream, or its header is cut off.")
    return stream


@contextmanager
def open_image(file: BinaryIO, max_pixels: int) -> Iterator[PIL.Image.Image | None]:
    """The image in `file`, not yet decoded, or None when it is none of `IMAGE_FORMATS`.

    Raises MediaError: ``unreadable``; ``too_large`` before any pixel is decoded; ``decode_error`` when decoding inside
    the block fails.
    """
    image = _identify_image(file, max_pixels)
    if image is None:
        yield None
        return
    with image:
        check_pixels(image.width, image.height, max_pixels)
        try:
            yield image
        except MediaError:
            raise
        except _PILLOW_ERRORS as error:
            raise _image_error("decode_error", error) from error


def _identify_image(file: BinaryIO, max_pixels: int) -> PIL.Image.Image | None:
    try:
        with warnings.catch_warnings():
            # Pillow's own limit only warns up to twice its value; the caller's limit is exact.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            return PIL.Image.open(file, formats=IMAGE_FORMATS)
    except PIL.UnidentifiedImageError:
        return None
    except PIL.Image.DecompressionBombError as error:
        sentence = f"The image claims to be far larger than the limit of {max_pixels} pixels."
        raise MediaError("too_large", sentence) from error
    except _PILLOW_ERRORS as error:
        raise _image_error("unreadable", error) from error


def _image_error(reason: str, error: Exception) -> MediaError:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(error)
    return MediaError(reason, f"The image is damaged or cut off ({error}).")
