"""Makers of small media files for tests: good ones, odd ones, and files nobody should trust.

Every maker writes one file at the given path and returns the path. Pictures show smooth texture that drifts a little
from frame to frame; scenes of different seeds look nothing alike.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image

from stages.media import REPEATABLE_X264

WIDTH, HEIGHT = 128, 96
FPS = Fraction(10)
MOST_FRAMES = 400
"""The length of the longest scene; the first frames of a scene do not depend on its length."""


def moving_frames(count: int, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """RGB frames of one scene: smooth coloured texture panning by one pixel per frame, a square crossing it by two."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (6, 8 * (width + MOST_FRAMES) // width, 3), dtype=np.uint8)
    texture = cv2.resize(cells, (width + MOST_FRAMES, height), interpolation=cv2.INTER_CUBIC)
    colour = 255 - texture[height // 2, width // 2]
    side = min(width, height) // 4
    frames = []
    for number in range(count):
        frame = np.ascontiguousarray(texture[:, number : number + width])
        left = 2 * number % max(1, width - side)
        frame[height // 3 : height // 3 + side, left : left + side] = colour
        frames.append(frame)
    return frames


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction = FPS,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A video of RGB `frames`; `stamps` are in units of `time_base` (default: one frame each).

    `rotation` is the clockwise turn in degrees that a player must apply; `mirrored` adds a left–right flip before it.
    """
    frames = list(frames)
    height, width = frames[0].shape[:2]
    tick = time_base or 1 / fps
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        output.metadata.update(metadata or {})
        repeatable = REPEATABLE_X264 if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=fps, options={"threads": "1", **repeatable, **(codec_options or {})})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = tick
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or mirrored:
            stream.set_display_rotation(-rotation, hflip=mirrored)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts = number if stamps is None else stamps[number]
            picture.time_base = tick
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def write_scenes(path: Path, lengths: Sequence[int], fps: Fraction = FPS, **options: object) -> Path:
    """A video of as many scenes as `lengths` has frame counts, with hard cuts between."""
    frames = [frame for seed, length in enumerate(lengths) for frame in moving_frames(length, seed)]
    return write_video(path, frames, fps, **options)


def write_image(path: Path, image: np.ndarray | PIL.Image.Image, kind: str = "PNG", **options: object) -> Path:
    """An image file of format `kind`, whatever the path's extension says."""
    picture = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(path, kind, **options)
    return path


def write_gif(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """An animated GIF of 10 frames per second in the palette of the Web."""
    first, *others = [PIL.Image.fromarray(frame).convert("P") for frame in frames]
    return write_image(path, first, "GIF", save_all=True, append_images=others, duration=100)


def write_audio(path: Path, cover: np.ndarray | None = None) -> Path:
    """An audio file (AAC in mp4), optionally with a cover picture, which FFmpeg shows as a video stream."""
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=16000, layout="mono")
        picture = output.add_stream("png", rate=1) if cover is not None else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = cover.shape[1], cover.shape[0], "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
            output.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
            output.mux(picture.encode(None))
        for number in range(8):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, 1024 * number
            output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    """A file of these bytes."""
    path.write_bytes(data)
    return path


def truncated(path: Path, share: float) -> Path:
    """The same file, cut off after `share` of its bytes."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


def cut_before(path: Path, box: bytes) -> Path:
    """The same mp4, cut off before the first box of that name."""
    os.truncate(path, path.read_bytes().index(box) - 4)
    return path


def cut_before_picture(path: Path, number: int) -> Path:
    """The same MPEG-TS, cut off where the picture of that number, as coded, begins."""
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    os.truncate(path, positions[number])
    return path


def overwritten(path: Path, start: float, end: float) -> Path:
    """The same file, noise written over the bytes between two shares of its length."""
    data = bytearray(path.read_bytes())
    hole = slice(int(len(data) * start), int(len(data) * end))
    data[hole] = np.random.default_rng(0).integers(0, 256, hole.stop - hole.start, dtype=np.uint8).tobytes()
    return write_bytes(path, bytes(data))


def pictures_overwritten(path: Path) -> Path:
    """An mp4 with a sound index and noise for pictures."""
    data = write_faststart(path).read_bytes()
    start = data.index(b"mdat") + 4
    return write_bytes(path, data[:start] + np.random.default_rng(0).bytes(len(data) - start))


def patched(path: Path, box: bytes, offset: int, value: bytes) -> Path:
    """The same mp4 with `value` written `offset` bytes after the name of its first box called `box`."""
    data = bytearray(path.read_bytes())
    start = data.index(box) + len(box) + offset
    data[start : start + len(value)] = value
    return write_bytes(path, bytes(data))


def png_claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims any size up to 65535."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def avi_claiming(path: Path, width: int, height: int) -> Path:
    """A raw AVI whose picture header claims any size."""
    write_video(path, moving_frames(2), codec="rawvideo", pix_fmt="bgr24", container="avi")
    data = bytearray(path.read_bytes())
    start = data.index(b"strf") + 12
    data[start : start + 8] = struct.pack("<ii", width, height)
    return write_bytes(path, bytes(data))


def write_faststart(path: Path, count: int = 40) -> Path:
    """An mp4 of one scene, its index before the pictures, a key frame every 10 frames."""
    return write_video(
        path,
        moving_frames(count),
        container="mp4",
        container_options={"movflags": "+faststart"},
        codec_options={"g": "10", "crf": "10"},
    )


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def playlists(target: Path) -> dict[str, bytes]:
    """Texts with which FFmpeg would open `target`, a file beside, if it were let."""
    name = str(target).encode()
    return {
        "hls playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\n" + name + b"\n#EXT-X-ENDLIST\n",
        "hls playlist over http": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n",
        "concat script": b"ffconcat version 1.0\nfile '" + name + b"'\n",
        "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "dash manifest": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        b"<Representation><BaseURL>file://" + name + b"</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "image pattern": b"/tmp/frames/%03d.png\n",
    }


UNUSABLE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "missing": ("missing", lambda path: path),
    "folder": ("not_a_file", _folder),
    "named pipe": ("not_a_file", _pipe),
    "empty": ("empty", lambda path: write_bytes(path, b"")),
    "one byte": ("unreadable", lambda path: write_bytes(path, b"\0")),
    "text": ("unreadable", lambda path: write_bytes(path, b"This is not a video.\n" * 50)),
    "web page": ("unreadable", lambda path: write_bytes(path, b"<!DOCTYPE html><html><body>404</body></html>")),
    "noise": ("unreadable", lambda path: write_bytes(path, np.random.default_rng(1).bytes(20_000))),
    "zeros": ("unreadable", lambda path: write_bytes(path, bytes(20_000))),
    "script for ghostscript": ("unreadable", lambda path: write_bytes(path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n")),
    "audio": ("no_video", write_audio),
    "audio with a cover": ("no_video", lambda path: write_audio(path, moving_frames(1)[0])),
    "index cut off": ("unreadable", lambda path: truncated(write_video(path, moving_frames(20), container="mp4"), 0.6)),
    "head only": ("no_video", lambda path: cut_before(write_faststart(path), b"mdia")),
    "head cut off before the codec": ("no_decoder", lambda path: cut_before(write_faststart(path), b"stbl")),
    "index overwritten": ("unreadable", lambda path: overwritten(write_faststart(path), 0.0, 0.3)),
    "png of 60000 × 60000": ("too_large", lambda path: write_bytes(path, png_claiming(60_000, 60_000))),
    "png of 20000 × 20000": ("too_large", lambda path: write_bytes(path, png_claiming(20_000, 20_000))),
    "jpeg of 65000 × 65000": ("too_large", lambda path: write_bytes(path, jpeg_claiming(65_000, 65_000))),
    "avi of 30000 × 30000": ("decode_error", lambda path: avi_claiming(path, 30_000, 30_000)),
    "a billion frames claimed": (
        "unreadable",
        lambda path: patched(write_faststart(path), b"stsz", 8, b"\x3b\x9a\xca\x00"),
    ),
    "pictures overwritten": ("decode_error", pictures_overwritten),
}
"""Files that can give no clip: name → (MediaError.reason, maker)."""


ODD: dict[str, Callable[[Path], Path]] = {
    "matroska": lambda path: write_video(path, moving_frames(40), container="matroska"),
    "mpeg-ts": lambda path: write_video(path, moving_frames(40), container="mpegts"),
    "avi": lambda path: write_video(path, moving_frames(40), codec="mpeg4", container="avi"),
    "vp9": lambda path: write_video(
        path,
        moving_frames(40),
        codec="libvpx-vp9",
        container="webm",
        codec_options={"cpu-used": "8", "deadline": "realtime"},
    ),
    "raw stream without stamps": lambda path: write_video(path, moving_frames(100), Fraction(25), container="h264"),
    "10 bit": lambda path: write_video(path, moving_frames(40), pix_fmt="yuv420p10le", container="mp4"),
    "4:4:4": lambda path: write_video(path, moving_frames(40), pix_fmt="yuv444p", container="mp4"),
    "grey": lambda path: write_video(path, moving_frames(40), pix_fmt="gray", container="mp4"),
    "full range": lambda path: write_video(path, moving_frames(40), codec="mjpeg", pix_fmt="yuvj420p", container="mov"),
    "rgb with alpha": lambda path: write_video(path, moving_frames(40), codec="png", pix_fmt="rgba", container="mov"),
    "yuv with alpha": lambda path: write_video(
        path, moving_frames(40), codec="ffv1", pix_fmt="yuva420p", container="matroska"
    ),
    "animated gif": lambda path: write_gif(path, moving_frames(40)),
    "interlaced": lambda path: write_video(
        path, moving_frames(40), container="mp4", codec_options={"x264-params": "tff=1"}
    ),
    "claims 65535 × 65535": lambda path: patched(write_faststart(path), b"avc1", 24, b"\xff\xff\xff\xff"),
    "claims a year": lambda path: patched(write_faststart(path), b"mvhd", 16, b"\x7f\xff\xff\xff"),
    "broken text in metadata": lambda path: patched(
        write_video(path, moving_frames(40), container="mp4", metadata={"title": "ABCDEFGH"}),
        b"ABCD",
        -4,
        b"\xff\xfe\xfd\xfc",
    ),
}
"""Unusual or lying files of 4 s that are all usable as video of about `WIDTH` × `HEIGHT`."""
