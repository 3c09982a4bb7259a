"""Reading a user's video whole and writing an edited one like it: size, time stamps and sound as they came."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

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
from stages.containers import MediaError, open_video
from stages.media import AVCOL_SPC_BT709, REPEATABLE_X264, MediaSettings, RgbConverter, decode_image

log = logging.getLogger("vivid.train")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CRF = "16"
"""Rate factor of what is written: an edit should not look worse for its encoding."""
AVAILABLE_SHARE = 0.4
"""Share of the free memory that a decoded video may take; editing needs as much again."""
MP4_SOUND = ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac")
"""Sound that is copied into an mp4 as it is. Cameras' PCM would fit too, but browsers do not play it there."""
LIGHT = 127
"""Pixels of a mask file above this level are edited."""


@dataclass(frozen=True)
class VideoFile:
    """A decoded video. `frames` (frames, height, width, 3) uint8 RGB; `stamps` in units of `time_base`.

    `start` is the moment of the file, in seconds, that stamps count from: of its first picture or sound, but not before
    0, where sound has only the run-up that its decoder needs (AAC in Matroska).
    """

    path: Path
    frames: npt.NDArray[np.uint8]
    stamps: tuple[int, ...]
    time_base: Fraction
    rate: Fraction
    start: Fraction = Fraction(0)
    pixel_aspect: Fraction = Fraction(1)

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


def read_video(path: str | Path) -> VideoFile:
    """Decode a video or an image whole, upright. Raises ValueError (one sentence) when it cannot be read."""
    file = Path(path)
    try:
        with file.open("rb") as source:
            if file.suffix.lower() in IMAGE_SUFFIXES:
                picture = decode_image(source, MediaSettings().max_pixels)
                return VideoFile(file, picture[None], (0,), Fraction(1, 25), Fraction(25))
            with open_video(source, MediaSettings().max_pixels) as (container, stream):
                return _read_stream(file, container, stream)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from error
    except MediaError as error:
        raise ValueError(f"cannot read {file}: {error}") from error


def _read_stream(file: Path, container: InputContainer, stream: VideoStream) -> VideoFile:
    rate = Fraction(stream.average_rate or stream.base_rate or 25)
    base = Fraction(stream.time_base or 1 / rate)
    free = psutil.virtual_memory().available * AVAILABLE_SHARE
    to_rgb = RgbConverter(None)
    frames: list[Image] = []
    stamps: list[int] = []
    used = turns = 0
    try:
        for frame in container.decode(stream):
            # Anticlockwise, as PyAV has it and numpy turns.
            turns = round(frame.rotation / 90) % 4
            picture = np.ascontiguousarray(np.rot90(to_rgb(frame), turns))
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
    return VideoFile(file, np.stack(frames), counted, base, rate, start, 1 / aspect if turns % 2 else aspect)


def check_output(path: str | Path, *, is_image: bool, lossless: bool = False) -> None:
    """Raise ValueError unless the ending of a name says what will be in the file."""
    wanted = ".png" if is_image else ".mkv" if lossless else ".mp4"
    if Path(path).suffix.lower() != wanted:
        why = " for a picture" if is_image else " when lossless" if lossless else ""
        raise ValueError(f"the output {path} must end with {wanted}{why}")


def write_picture(path: str | Path, picture: Image) -> None:
    """Write a PNG, whole or not at all. Raises ValueError (one sentence) when it cannot be written."""
    check_output(path, is_image=True)
    with _whole_file(Path(path)) as partial:
        PIL.Image.fromarray(picture).save(partial, format="png")


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """A name to write under; the file gets its own name when the block ends, and vanishes when it fails."""
    partial = target.with_name(f".{target.name}.partial")
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

    H.264 in mp4; `lossless`: FFV1 in mkv, every pixel as it is. The file appears whole or not at all. Raises ValueError
    (one sentence) when the name's ending does not fit or the file cannot be written.
    """
    check_output(path, is_image=False, lossless=lossless)
    if len(frames) != len(like.stamps):
        raise ValueError(f"{len(frames)} frames cannot take the time stamps of {len(like.stamps)}")
    # Bit-exact: without a random name of the file in its header.
    kind, options = "mp4", {"fflags": "+bitexact"}
    if lossless:
        # The run-up of AAC sound lies before 0; Matroska's muxer would delay everything by it.
        kind, options = "matroska", {**options, "avoid_negative_ts": "disabled"}
    with _whole_file(Path(path)) as partial, av.open(str(partial), "w", kind, options) as container:
        stream = _picture_stream(container, frames, like, lossless)
        _write(container, stream, frames, like)


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


def _write(container: OutputContainer, stream: VideoStream, frames: npt.NDArray[np.uint8], like: VideoFile) -> None:
    to_codec = VideoReformatter()
    with av.open(str(like.path)) as source:
        sound = _sound(container, source, like)
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


def _sound(container: OutputContainer, source: InputContainer, like: VideoFile) -> Iterator[Packet[AudioStream]]:
    """Packets of the first sound track: as they are, or as AAC where players would not take them in an mp4."""
    if like.is_image or not source.streams.audio:
        return iter(())
    sound = source.streams.audio[0]
    if container.format.name != "mp4" or sound.codec_context.name in MP4_SOUND:
        return _copied(source, sound, container.add_stream_from_template(sound), like.start)
    # By their number: many files do not say which of its channels is where.
    encoded = container.add_stream("aac", rate=sound.rate, layout="mono" if sound.channels == 1 else "stereo")
    return _encoded(source, sound, encoded, like.start)


def _copied(
    source: InputContainer, sound: AudioStream, copied: AudioStream, start: Fraction
) -> Iterator[Packet[AudioStream]]:
    for packet in source.demux(sound):
        if packet.dts is None or packet.pts is None:
            continue
        earlier = round(start / Fraction(packet.time_base))
        packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
        packet.stream = copied
        yield packet


def _encoded(
    source: InputContainer, sound: AudioStream, encoded: AudioStream, start: Fraction
) -> Iterator[Packet[AudioStream]]:
    for frame in source.decode(sound):
        if frame.pts is not None and frame.time_base is not None:
            frame.pts -= round(start / Fraction(frame.time_base))
        yield from encoded.encode(frame)
    yield from encoded.encode(None)


def read_masks(path: str | Path, video: VideoFile) -> npt.NDArray[np.bool_]:
    """Masks of a mask video (frames, height, width) or of a mask image (1, height, width), light where `video` changes.

    Raises ValueError (one sentence) when sizes or lengths differ, or nothing is masked.
    """
    file = read_video(path)
    if file.frames.shape[1:3] != video.frames.shape[1:3]:
        raise ValueError(f"the mask {path} is {file.size}, and the video is {video.size}")
    masks: npt.NDArray[np.bool_] = file.frames.max(axis=3) > LIGHT
    if len(masks) not in (1, len(video.frames)):
        raise ValueError(f"the mask {path} has {len(masks)} frames, and the video has {len(video.frames)}")
    if not masks.any():
        raise ValueError(f"the mask {path} is black everywhere (no pixel is above {LIGHT}): there is nothing to edit")
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
