"""What a source file is, found out cheaply and without believing its header.

The first picture is really decoded (its size, orientation and pixel shape count), and the frame rate is measured on the
time stamps of the first packets; the header's rate is used only where it agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import BinaryIO, Literal

import av
import PIL.Image
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL.ExifTags import Base as ExifTag

from stages.containers import MediaError, check_pixels, open_image, open_video, unreadable
from stages.media import MediaSettings
from stages.upright import UPRIGHT, Orientation, believable_pixel_aspect, orientation_of, upright_size

PACKETS_TO_MEASURE = 100
"""Packets whose stamps give the frame rate: 3–4 seconds, enough for a median."""
PACKETS_TO_FIRST_PICTURE = 600
"""Packets after which a stream without one good picture counts as undecodable."""
FALLBACK_RATE = Fraction(25)
"""Frames per second of a stream that says nothing at all about time; also FFmpeg's choice for raw streams."""

_STANDARD_RATES = [Fraction(n) for n in (24, 25, 30, 48, 50, 60)] + [Fraction(n * 1000, 1001) for n in (24, 30, 60)]
_SNAP_TOLERANCE = Fraction(1, 200)
_AGREEMENT = Fraction(1, 10)
_MAX_DENOMINATOR = 1001

_EXIF_ORIENTATIONS = {
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, flip_x=True),
    7: Orientation(transposed=True, flip_x=True, flip_y=True),
    8: Orientation(transposed=True, flip_y=True),
}


@dataclass(frozen=True)
class Probe:
    """Facts of a source file.

    `width` and `height` are those of the picture as it is meant to be seen: turned upright, with square pixels.
    `fps` (None for images) is measured, `duration_us` (None where unknown) only what the container claims.
    `orientation` is how stored pictures are turned upright, `pixel_aspect` the width over height of a stored pixel;
    `width` and `height` already include both.
    """

    kind: Literal["video", "image"]
    width: int
    height: int
    fps: Fraction | None
    duration_us: int | None
    codec: str
    container: str
    orientation: Orientation = UPRIGHT
    pixel_aspect: Fraction = Fraction(1)

    @property
    def rotation(self) -> int:
        """Clockwise turn in degrees (0, 90, 180, 270) from the stored to the upright picture."""
        return self.orientation.degrees


def probe(path: Path, settings: MediaSettings) -> Probe:
    """Look at a file.

    Raises MediaError: ``missing``, ``not_a_file`` (a folder, a device), ``unreadable``, ``empty``, ``no_video`` (audio
    only), ``no_decoder``, ``too_large``, ``decode_error``.
    """
    if not path.exists():
        raise MediaError("missing", "The file does not exist.")
    if not path.is_file():
        # Opening a pipe or a device could wait for ever.
        raise MediaError("not_a_file", "The source is a folder or a device, not a file.")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError("empty", "The file is empty (0 bytes).")
            file.seek(0)
            found = _probe_image(file, settings.max_pixels)
            if found is not None:
                return found
            file.seek(0)
            return _probe_video(file, settings.max_pixels)
    except OSError as error:
        raise unreadable(error) from error


def _probe_image(file: BinaryIO, max_pixels: int) -> Probe | None:
    with open_image(file, max_pixels) as image:
        if image is None or (image.format == "GIF" and getattr(image, "is_animated", False)):
            return None
        orientation = _exif_orientation(image)
        width, height = upright_size(image.width, image.height, Fraction(1), orientation)
        name = (image.format or "").lower()
        return Probe("image", width, height, None, None, name, name, orientation)


def _exif_orientation(image: PIL.Image.Image) -> Orientation:
    return _EXIF_ORIENTATIONS.get(image.getexif().get(ExifTag.Orientation, 1), UPRIGHT)


def _probe_video(file: BinaryIO, max_pixels: int) -> Probe:
    with open_video(file, max_pixels) as (container, stream):
        picture, stamps = _first_picture(container, stream)
        check_pixels(picture.width, picture.height, max_pixels)
        orientation = orientation_of(picture)
        aspect = believable_pixel_aspect(stream.sample_aspect_ratio)
        width, height = upright_size(picture.width, picture.height, aspect, orientation)
        check_pixels(width, height, max_pixels)
        return Probe(
            "video",
            width,
            height,
            _frame_rate(stream, stamps),
            container.duration if container.duration and container.duration > 0 else None,
            stream.codec_context.name,
            container.format.name,
            orientation,
            aspect,
        )


def _first_picture(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, list[int]]:
    """The first picture that decodes, and the time stamps of the packets read."""
    picture: VideoFrame | None = None
    stamps: list[int] = []
    try:
        for number, packet in enumerate(islice(container.demux(stream), PACKETS_TO_FIRST_PICTURE)):
            if packet.pts is not None:
                stamps.append(packet.pts)
            if picture is None:
                try:
                    picture = next(iter(packet.decode()), None)
                except av.FFmpegError:
                    continue
            elif number >= PACKETS_TO_MEASURE:
                break
    except av.FFmpegError:
        # What came before the damage counts.
        pass
    if picture is None:
        raise MediaError("decode_error", "No picture of the video can be decoded: its data is damaged or cut off.")
    return picture, stamps


def _frame_rate(stream: VideoStream, stamps: list[int]) -> Fraction:
    claimed = [rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    measured = _measured_rate(stamps, stream.time_base)
    if measured is None:
        return _tidy(claimed[0]) if claimed else FALLBACK_RATE
    return _tidy(next((rate for rate in claimed if abs(rate - measured) <= _AGREEMENT * measured), measured))


def _measured_rate(stamps: list[int], time_base: Fraction | None) -> Fraction | None:
    # Packets come in decoding order.
    steps = [later - earlier for earlier, later in pairwise(sorted(set(stamps)))]
    if not steps or not time_base:
        return None
    return 1 / (Fraction(median(steps)) * time_base)


def _tidy(rate: Fraction) -> Fraction:
    """The standard rate within half a per cent, else the rate with a small denominator."""
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(nearest - rate) <= _SNAP_TOLERANCE * nearest:
        return nearest
    return max(rate.limit_denominator(_MAX_DENOMINATOR), Fraction(1, _MAX_DENOMINATOR))
