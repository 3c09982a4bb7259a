"""Reading a user's video whole and writing an edited one like it: size, time stamps and sound as they came."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import PIL.Image
import psutil
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from models.protocols import Image
from stages.containers import MediaError, open_image, open_video
from stages.lossless import file_url
from stages.media import AVCOL_SPC_BT709, REPEATABLE_X264, MediaSettings, decode_image
from stages.upright import UPRIGHT, UprightRgb, orientation_of
from train.sound import open_sound, sound_packets

log = logging.getLogger("vivid.train")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
CRF = "16"
"""Rate factor of what is written: an edit should not look worse for its encoding."""
AVAILABLE_SHARE = 1 / 3
"""Share of the free memory that a decoded video may take; with its masks and its edit it takes 2.4 times as much."""
LIGHT = 127
"""Pixels of a mask file above this level are edited."""


@dataclass(frozen=True)
class VideoFile:
    """A decoded video. `frames` (frames, height, width, 3) uint8 RGB; `stamps` in units of `time_base`.

    `start` is the moment of the file, in seconds, that stamps count from: of its first picture or sound, but not before
    0, where sound has only the run-up that its decoder needs (AAC in Matroska). `colour_profile`: what the colours of a
    picture mean (ICC), where it says so.
    """

    path: Path
    frames: npt.NDArray[np.uint8]
    stamps: tuple[int, ...]
    time_base: Fraction
    rate: Fraction
    start: Fraction = Fraction(0)
    pixel_aspect: Fraction = Fraction(1)
    colour_profile: bytes | None = None

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return float(self.rate)

    @property
    def is_image(self) -> bool:
        """Whether it is one picture."""
        return self.path.suffix.lower() in IMAGE_SUFFIXES

    @property
    def size(self) -> str:
        """Width × height, as people write it."""
        return f"{self.frames.shape[2]}×{self.frames.shape[1]}"


def read_video(path: str | Path, *, first_only: bool = False) -> VideoFile:
    """Decode a video whole (or its first frame) or an image, upright.

    Raises ValueError (one sentence) when it cannot be read.
    """
    file, limit = Path(path), MediaSettings().max_pixels
    try:
        with file.open("rb") as source:
            if file.suffix.lower() in IMAGE_SUFFIXES:
                profile = _colour_profile(source, limit)
                picture = decode_image(source, limit)
                return VideoFile(file, picture[None], (0,), Fraction(1, 25), Fraction(25), colour_profile=profile)
            with open_video(source, limit) as (container, stream):
                return _read_stream(file, container, stream, first_only)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from error
    except MediaError as error:
        raise ValueError(f"cannot read {file}: {error}") from error


def _colour_profile(source: BinaryIO, max_pixels: int) -> bytes | None:
    """The ICC profile of a picture, where it is one for RGB: that of grey or CMYK says nothing of what is written."""
    with open_image(source, max_pixels) as image:
        profile = None if image is None else image.info.get("icc_profile")
    source.seek(0)
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None


def _read_stream(file: Path, container: InputContainer, stream: VideoStream, first_only: bool) -> VideoFile:
    rate = Fraction(stream.average_rate or stream.base_rate or 25)
    base = Fraction(stream.time_base or 1 / rate)
    free = psutil.virtual_memory().available * AVAILABLE_SHARE
    to_rgb, orientation = UprightRgb(UPRIGHT), UPRIGHT
    frames: list[Image] = []
    stamps: list[int] = []
    used = 0
    try:
        for frame in container.decode(stream):
            if not frames:
                orientation = orientation_of(frame)
                to_rgb = UprightRgb(orientation)
            picture = to_rgb(frame)
            used += picture.nbytes
            if used > free:
                raise ValueError(
                    f"{file} does not fit into memory: its first {len(frames)} frames take {used / 2**30:.1f} GiB; "
                    "cut it into pieces"
                )
            if frames and picture.shape != frames[0].shape:
                raise ValueError(f"{file} changes its size from {frames[0].shape} to {picture.shape}")
            # Frames without a stamp, or with one that goes back, follow the one before at the average rate.
            follows = stamps[-1] + max(1, round(1 / rate / base)) if stamps else 0
            stamp = frame.pts if frame.pts is not None and (not stamps or frame.pts > stamps[-1]) else follows
            frames.append(picture)
            stamps.append(stamp)
            if first_only:
                break
    except av.FFmpegError as error:
        if not frames:
            raise ValueError(f"cannot read {file}: {error.strerror}") from error
        log.warning("%s is damaged after its frame %d; what comes before is used", file, len(frames))
    if not frames:
        raise ValueError(f"cannot read {file}: it holds no picture")
    first = stamps[0] * base
    if container.start_time is not None:
        first = max(Fraction(0), Fraction(container.start_time, av.time_base))
    # Rounded to the microsecond, the container's start may lie just behind the first picture.
    start = min(stamps[0], round(first / base)) * base
    counted = tuple(stamp - int(start / base) for stamp in stamps)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return VideoFile(
        file, np.stack(frames), counted, base, rate, start, 1 / aspect if orientation.transposed else aspect
    )


def check_output(path: str | Path, *, is_image: bool, lossless: bool = False) -> None:
    """Raise ValueError unless the ending of a name says what will be in the file."""
    wanted = ".png" if is_image else ".mkv" if lossless else ".mp4"
    if Path(path).suffix.lower() != wanted:
        why = " for a picture" if is_image else " when lossless" if lossless else ""
        raise ValueError(f"the output {path} must end with {wanted}{why}")


def write_picture(path: str | Path, picture: Image, colour_profile: bytes | None = None) -> None:
    """Write a PNG, whole or not at all. Raises ValueError (one sentence) when it cannot be written."""
    check_output(path, is_image=True)
    with _whole_file(Path(path)) as partial:
        PIL.Image.fromarray(picture).save(partial, format="png", icc_profile=colour_profile)


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """A name to write under; the file gets its own name when the block ends, and vanishes when it fails."""
    # Not longer than a name may be, however long the target's is.
    partial = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except (OSError, av.FFmpegError) as error:
        raise ValueError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_video(path: str | Path, frames: npt.NDArray[np.uint8], like: VideoFile, *, lossless: bool = False) -> None:
    """Write frames with the time stamps and the sound of `like`.

    H.264 in mp4; `lossless`: FFV1 in mkv, every pixel as it is. The file appears whole or not at all. Sound that cannot
    be taken over is left out with a warning: no edit is lost for it. Raises ValueError (one sentence) when the name's
    ending does not fit or the file cannot be written.
    """
    check_output(path, is_image=False, lossless=lossless)
    if len(frames) != len(like.stamps):
        raise ValueError(f"{len(frames)} frames cannot take the time stamps of {len(like.stamps)}")
    with _whole_file(Path(path)) as partial:
        try:
            with _open_output(partial, lossless) as container, open_sound(like.path) as sound:
                stream = _picture_stream(container, frames, like, lossless)
                packets = iter(()) if sound is None else sound_packets(container, *sound, like.start)
                _write(container, stream, frames, like, packets)
        except (OSError, ValueError) as error:
            # Raises again when it was not for the sound.
            with _open_output(partial, lossless) as container:
                _write(container, _picture_stream(container, frames, like, lossless), frames, like, iter(()))
            log.warning("the sound of %s cannot be taken over and is left out: %s", like.path, error)


def _open_output(path: Path, lossless: bool) -> OutputContainer:
    # Bit-exact: without a random name of the file in its header.
    kind, options = "mp4", {"fflags": "+bitexact"}
    if lossless:
        # The run-up of AAC sound lies before 0; Matroska's muxer would delay everything by it.
        kind, options = "matroska", {**options, "avoid_negative_ts": "disabled"}
    return av.open(file_url(path), "w", kind, options)


def _picture_stream(
    container: OutputContainer, frames: npt.NDArray[np.uint8], like: VideoFile, lossless: bool
) -> VideoStream:
    stream = container.add_stream("ffv1" if lossless else "libx264", rate=like.rate)
    codec = stream.codec_context
    codec.height, codec.width = frames.shape[1:3]
    stream.time_base = codec.time_base = like.time_base
    if like.pixel_aspect != 1:
        codec.sample_aspect_ratio = like.pixel_aspect
    if lossless:
        codec.pix_fmt = "bgr0"
        return stream
    # Half-size colour planes need even sides.
    codec.pix_fmt = "yuv444p" if frames.shape[1] % 2 or frames.shape[2] % 2 else "yuv420p"
    codec.colorspace, codec.color_range = AVCOL_SPC_BT709, ColorRange.MPEG
    codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    stream.options = {"crf": CRF, "preset": "medium", **REPEATABLE_X264}
    return stream


def _write(
    container: OutputContainer,
    stream: VideoStream,
    frames: npt.NDArray[np.uint8],
    like: VideoFile,
    sound: Iterator[Packet[AudioStream]],
) -> None:
    to_codec = VideoReformatter()
    waiting = next(sound, None)
    for picture, stamp in zip(frames, like.stamps, strict=True):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if stream.codec_context.name == "libx264":
            frame = to_codec.reformat(
                frame,
                format=stream.codec_context.pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                # Averages the colours of each 2×2 block; the default reads every other pixel's.
                interpolation=Interpolation.AREA | Interpolation.FULL_CHR_H_INP,
            )
        frame.pts, frame.time_base = stamp, like.time_base
        container.mux(stream.encode(frame))
        # Side by side, so that a player need not search the file for the sound.
        while waiting is not None and _moment(waiting) <= stamp * like.time_base:
            container.mux(waiting)
            waiting = next(sound, None)
    container.mux(stream.encode(None))
    while waiting is not None:
        container.mux(waiting)
        waiting = next(sound, None)


def _moment(packet: Packet[AudioStream]) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base)


def read_masks(path: str | Path, video: VideoFile, *, first_only: bool = False) -> npt.NDArray[np.bool_]:
    """Masks of a mask video (frames, height, width) or of a mask image (1, height, width), light where `video` changes.

    With `first_only` that of the first frame alone. Raises ValueError (one sentence) when sizes or lengths differ, or
    nothing is masked.
    """
    file = read_video(path, first_only=first_only)
    if file.frames.shape[1:3] != video.frames.shape[1:3]:
        raise ValueError(f"the mask {path} is {file.size}, and the video is {video.size}")
    masks: npt.NDArray[np.bool_] = file.frames.max(axis=3) > LIGHT
    if len(masks) not in (1, len(video.frames)):
        raise ValueError(f"the mask {path} has {len(masks)} frames, and the video has {len(video.frames)}")
    if not masks.any():
        where = "in the first frame" if first_only else "everywhere"
        raise ValueError(f"the mask {path} is black {where} (no pixel is above {LIGHT}): there is nothing to edit")
    return masks


def read_picture(path: str | Path, video: VideoFile) -> Image:
    """A picture of the video's size. Raises ValueError (one sentence) otherwise."""
    file = read_video(path)
    if len(file.frames) != 1:
        raise ValueError(f"the keyframe {path} has {len(file.frames)} frames, and it must be one picture")
    if file.frames.shape != video.frames[:1].shape:
        raise ValueError(f"the keyframe {path} is {file.size}, and the video is {video.size}")
    picture: Image = file.frames[0]
    return picture
