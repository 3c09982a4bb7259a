"""Everything a stranger may hand in: odd files that are usable, broken ones, hostile ones, odd names, links.

Each entry says what must become of it: ``kept`` (the source gives clips), ``filtered`` (readable, but a rule leaves it
out), else the reason of its row in `rejects`.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
import PIL.Image
from media_files import (
    UNUSABLE,
    cut_before,
    cut_before_picture,
    moving_frames,
    patched,
    pictures_overwritten,
    playlists,
    truncated,
    write_audio,
    write_bytes,
    write_faststart,
    write_gif,
    write_image,
    write_video,
)

Maker = Callable[[Path], object]
SIDES = {"width": 96, "height": 64}
LONGEST_NAME = 255
KEPT, FILTERED = "kept", "filtered"
DEEP = {"I;16": np.uint16, "F": np.float32}
"""Pillow's modes of pictures with more than 8 bits, white at 65535."""


@dataclass(frozen=True)
class Entry:
    """`outcome`: kept, filtered, or the reason; `make` writes the file at the path it is given."""

    outcome: str
    make: Maker


_seeds = count(1)


def frames_of(length: int = 8, **sides: int) -> list[np.ndarray]:
    """Frames of a scene that no other file of the folder shows."""
    return moving_frames(length, next(_seeds), **(sides or SIDES))


def video(length: int = 8, fps: Fraction = Fraction(10), sides: dict[str, int] | None = None, **options) -> Maker:
    """A maker of a short video (0.8 s unless told)."""
    return lambda path: write_video(path, frames_of(length, **(sides or SIDES)), fps, **{"container": "mp4", **options})


def picture(kind: str, mode: str = "RGB", sides: dict[str, int] | None = None, **options) -> Maker:
    """A maker of an image of a Pillow mode."""

    def make(path: Path) -> Path:
        image = PIL.Image.fromarray(frames_of(1, **(sides or SIDES))[0])
        if mode in DEEP:
            image = PIL.Image.fromarray(np.asarray(image.convert("L")).astype(DEEP[mode]) * 257)
        return write_image(path, image if mode in DEEP else image.convert(mode), kind, **options)

    return make


def turned(orientation: int) -> PIL.Image.Exif:
    """EXIF data with that orientation."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def cut(share: float, **options) -> Maker:
    """A video of three groups of frames, cut off after `share` of its bytes."""
    make = video(15, codec_options={"g": "5"}, **options)
    return lambda path: truncated(make(path), share)


FAST = {"container_options": {"movflags": "+faststart"}}
VP9 = {"codec": "libvpx-vp9", "container": "webm"}


def remuxed(path: Path, keep: Callable[[int, bool], bool]) -> Path:
    """A transport stream without the packets (number, is key frame) that `keep` refuses."""
    whole = video(16, codec_options={"g": "8", "bf": "0"}, container="mpegts")
    source = io.BytesIO(Path(whole(path)).read_bytes())
    with av.open(source) as given, av.open(str(path), "w", format="mpegts") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.dts is not None and keep(number, packet.is_keyframe):
                packet.stream = stream
                taken.mux(packet)
    return path


def bomb_png(path: Path, side: int = 8192) -> Path:
    """A 16-bit grey PNG of a few hundred kB that really holds `side` × `side` pixels, the most that is decoded."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(6)
    rows = [b"\0" + np.arange(side, dtype=">u2").tobytes(), b"\0" + bytes(2 * side)]
    data = b"".join(packer.compress(rows[row // 1024 % 2]) for row in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return write_bytes(path, b"\x89PNG\r\n\x1a\n" + body)


def bomb_tiff(path: Path) -> Path:
    """A TIFF whose header claims 60000 × 60000 pixels in one strip."""
    write_image(path, frames_of(1)[0], "TIFF")
    with PIL.Image.open(path) as image:
        image.tag_v2[256] = image.tag_v2[257] = 60_000
        out = io.BytesIO()
        tags = image.tag_v2
        tags[278] = 60_000
        out.write(b"II*\0\x08\0\0\0" + tags.tobytes(8))
    return write_bytes(path, out.getvalue() + bytes(10_000))


def many_frames(path: Path, claimed: int = 80_000_000) -> Path:
    """An mp4 of 30 kB whose index says in 20 bytes that there are `claimed` frames of one byte each."""
    patched(write_faststart(path), b"stsz", 4, struct.pack(">II", 1, claimed))
    return patched(path, b"stsc", 12, struct.pack(">I", claimed))


def compressed_index(path: Path, size: int = 600_000_000) -> Path:
    """A QuickTime file of 600 kB whose compressed index unpacks to `size` bytes."""

    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + name + body

    packer = zlib.compressobj(9)
    block = bytes(2**20)
    packed = b"".join(packer.compress(block) for _ in range(size // 2**20)) + packer.flush()
    index = box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", size) + packed))
    return write_bytes(path, box(b"ftyp", b"qt  \0\0\0\0") + box(b"moov", index))


def zipped(path: Path) -> Path:
    """A zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    return path


def bound_socket(path: Path) -> None:
    """A socket file; its name is bound through a relative path, which must be short."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def folder_with_a_video(path: Path) -> None:
    """A folder named like a video, with one inside."""
    path.mkdir()
    video()(path / "inside.mp4")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd" width="96" height="64"/></svg>'
HTML = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"

USABLE: dict[str, Entry] = {
    "matroska.mkv": Entry(KEPT, video(container="matroska")),
    "vp9.webm": Entry(KEPT, video(**VP9, codec_options={"cpu-used": "8", "deadline": "realtime"})),
    "transport stream.ts": Entry(KEPT, video(container="mpegts")),
    "mpeg-4 part 2.avi": Entry(KEPT, video(codec="mpeg4", container="avi")),
    "raw stream without stamps.mp4": Entry(KEPT, video(20, container="h264")),
    "10 bit.mp4": Entry(KEPT, video(pix_fmt="yuv420p10le")),
    "4 4 4.mp4": Entry(KEPT, video(pix_fmt="yuv444p")),
    "grey.mp4": Entry(KEPT, video(pix_fmt="gray")),
    "full range.mov": Entry(KEPT, video(codec="mjpeg", pix_fmt="yuvj420p", container="mov")),
    "alpha.mov": Entry(KEPT, video(codec="png", pix_fmt="rgba", container="mov")),
    "palette, animated gif.mp4": Entry(KEPT, lambda path: write_gif(path, frames_of())),
    "odd sides.mkv": Entry(
        KEPT, video(sides={"width": 97, "height": 67}, codec="ffv1", pix_fmt="yuv444p", container="matroska")
    ),
    "rotated by 90.mp4": Entry(KEPT, video(rotation=90)),
    "rotated by 180.mp4": Entry(KEPT, video(rotation=180)),
    "rotated by 270, mirrored.mp4": Entry(KEPT, video(rotation=270, mirrored=True)),
    "oblong pixels.mp4": Entry(KEPT, video(pixel_aspect=Fraction(4, 3))),
    "interlaced.mp4": Entry(KEPT, video(codec_options={"x264-params": "tff=1"})),
    "variable rate.mkv": Entry(
        KEPT,
        video(
            12,
            container="matroska",
            stamps=[0, 90, 210, 290, 410, 480, 610, 700, 790, 900, 1010, 1090],
            time_base=Fraction(1, 1000),
        ),
    ),
    "negative stamps.mp4": Entry(
        KEPT, video(15, stamps=list(range(-5, 10)), container_options={"avoid_negative_ts": "disabled"})
    ),
    "stamps that begin at a day.ts": Entry(KEPT, video(stamps=list(range(864_000, 864_008)), container="mpegts")),
    "stamps that leap by an hour.mkv": Entry(
        KEPT, video(16, stamps=[*range(8), *range(36_000, 36_008)], container="matroska")
    ),
    "one key frame.mp4": Entry(KEPT, video(20, codec_options={"g": "1000", "sc_threshold": "0"})),
    "begins without a key frame.ts": Entry(KEPT, lambda path: remuxed(path, lambda number, _: number > 2)),
    "claims 65535 × 65535.mp4": Entry(KEPT, lambda path: patched(video(**FAST)(path), b"avc1", 24, b"\xff" * 4)),
    "claims 7680 × 4320.mp4": Entry(
        KEPT, lambda path: patched(video(**FAST)(path), b"avc1", 24, struct.pack(">HH", 7680, 4320))
    ),
    "claims a year.mp4": Entry(KEPT, lambda path: patched(video(**FAST)(path), b"mvhd", 16, b"\x7f\xff\xff\xff")),
    "png.mp4": Entry(KEPT, picture("PNG")),
    "video.jpg": Entry(KEPT, video()),
    "grey.png": Entry(KEPT, picture("PNG", "L")),
    "16 bit.png": Entry(KEPT, picture("PNG", "I;16")),
    "alpha.png": Entry(KEPT, picture("PNG", "RGBA")),
    "palette.png": Entry(KEPT, picture("PNG", "P", transparency=3)),
    "cmyk.jpg": Entry(KEPT, picture("JPEG", "CMYK")),
    "progressive.jpeg": Entry(KEPT, picture("JPEG", progressive=True)),
    "exif turned.jpg": Entry(KEPT, picture("JPEG", exif=turned(6))),
    "exif mirrored.jpg": Entry(KEPT, picture("JPEG", exif=turned(5))),
    "odd sides.png": Entry(KEPT, picture("PNG", sides={"width": 97, "height": 67})),
    "floats.tif": Entry(KEPT, picture("TIFF", "F")),
    "picture.webp": Entry(KEPT, picture("WEBP")),
    "picture.bmp": Entry(KEPT, picture("BMP")),
    "bomb of 8192 × 8192.png": Entry(KEPT, bomb_png),
    "one frame.mp4": Entry(FILTERED, video(1)),
    "1000 frames a second.mkv": Entry(FILTERED, video(40, Fraction(1000), container="matroska")),
    "a frame in 5 seconds.mkv": Entry(
        FILTERED, video(5, Fraction(1), stamps=[0, 5, 10, 15, 20], time_base=Fraction(1), container="matroska")
    ),
    "one pixel.png": Entry(FILTERED, picture("PNG", sides={"width": 1, "height": 1})),
    "a line of 5000 × 1.png": Entry(FILTERED, picture("PNG", sides={"width": 5000, "height": 1})),
    "tiny.mp4": Entry(FILTERED, video(sides={"width": 16, "height": 16})),
}
"""Odd, but readable."""

CUT_OFF: dict[str, Entry] = {
    "index last, cut at 0.1.mp4": Entry("unreadable", cut(0.1)),
    "index last, cut at 0.5.mp4": Entry("unreadable", cut(0.5)),
    "index last, cut at 0.98.mp4": Entry("unreadable", cut(0.98)),
    "cut within the index.mp4": Entry("no_video", lambda path: cut_before(Path(video(**FAST)(path)), b"mdia")),
    "cut before the codec.mp4": Entry("no_decoder", lambda path: cut_before(Path(video(**FAST)(path)), b"stbl")),
    "index first, cut at 0.3.mp4": Entry("decode_error", cut(0.3, **FAST)),
    "index first, cut at 0.9.mp4": Entry("damaged", cut(0.9, **FAST)),
    "cut at 0.02.mkv": Entry("unreadable", cut(0.02, container="matroska")),
    "cut at 0.3.mkv": Entry("decode_error", cut(0.3, container="matroska")),
    "cut at 0.9.mkv": Entry(KEPT, cut(0.9, container="matroska")),
    "cut at 0.3.webm": Entry(FILTERED, cut(0.3, **VP9)),
    "cut at 0.9.webm": Entry(KEPT, cut(0.9, **VP9)),
    "cut at 0.1.ts": Entry("decode_error", cut(0.1, container="mpegts")),
    "cut between pictures.ts": Entry(
        KEPT, lambda path: cut_before_picture(Path(video(15, container="mpegts")(path)), 13)
    ),
    "cut at 0.5.png": Entry("decode_error", lambda path: truncated(Path(picture("PNG")(path)), 0.5)),
    "cut at 0.5.jpg": Entry("decode_error", lambda path: truncated(Path(picture("JPEG")(path)), 0.5)),
    "cut at 0.5.webp": Entry("unreadable", lambda path: truncated(Path(picture("WEBP")(path)), 0.5)),
}
"""Good files that end early. Those that are damaged may still have given clips; where a format has no index, a clean
end cannot be told from a cut, and what is whole is kept."""

BROKEN: dict[str, Entry] = {
    **{
        f"{name}.mp4": Entry(reason, make)
        for name, (reason, make) in UNUSABLE.items()
        if name not in ("missing", "folder")
    },
    "empty.jpg": Entry("empty", lambda path: write_bytes(path, b"")),
    "text.jpg": Entry("unreadable", lambda path: write_bytes(path, b"This is no picture.\n" * 20)),
    "sound.mkv": Entry("no_video", write_audio),
    "web page.png": Entry("unreadable", lambda path: write_bytes(path, HTML)),
    "vector.png": Entry("unreadable", lambda path: write_bytes(path, SVG)),
    "zip.mp4": Entry("unreadable", zipped),
    "no key frame at all.ts": Entry("decode_error", lambda path: remuxed(path, lambda _, is_key: not is_key)),
    "pictures overwritten.mov": Entry("decode_error", pictures_overwritten),
    "bomb of 60000 × 60000.tif": Entry("too_large", bomb_tiff),
    "80 million frames claimed.mp4": Entry("decode_error", many_frames),
    "compressed index.mov": Entry("too_large", compressed_index),
}
"""What gives nothing."""


def disguised(target: Path, port: int) -> dict[str, Entry]:
    """Playlists and scripts named like media, which would open `target` or a port of this machine."""
    texts = {name: text.replace(b"127.0.0.1:9/", b"127.0.0.1:%d/" % port) for name, text in playlists(target).items()}
    return {
        f"{name}{extension}": Entry("unreadable", lambda path, text=text: write_bytes(path, text))
        for name, text in texts.items()
        for extension in (".mp4", ".ts")
    }


ODD_NAMES = (
    "two  spaces .jpg",
    'it\'s "quoted" `here`; $(rm -rf) & more.jpg',
    "two\nlines.jpg",
    "tab\tand\rreturn.jpg",
    unicodedata.normalize("NFC", "é ü 한.jpg"),
    unicodedata.normalize("NFD", "é ü 한.jpg"),
    "-rf.jpg",
    "--out=x.jpg",
    "50%20#1?[a]*{b}.jpg",
    "back\\slash.jpg",
    "right to left \u202egpj.jpg",
    "🎬.jpg",
    "a" * (LONGEST_NAME - 4) + ".jpg",
    "UPPER.JPG",
)
"""Names of good pictures."""


def names_and_links(outside: Path) -> dict[str, Entry]:
    """Odd names, and everything in a folder that is no plain file. `outside` is a video out of the root."""
    return {
        **{name: Entry(KEPT, picture("JPEG")) for name in ODD_NAMES},
        os.fsdecode(b"undecodable \xff\xfe.jpg"): Entry("bad_name", picture("JPEG")),
        "archive.tar!member.mp4": Entry("bad_name", video()),
        "link out of the root.mp4": Entry("outside_root", lambda path: path.symlink_to(outside)),
        "folder out of the root": Entry("outside_root", lambda path: path.symlink_to(outside.parent)),
        "endless device.mp4": Entry("outside_root", lambda path: path.symlink_to("/dev/zero")),
        "dead link.mp4": Entry("missing", lambda path: path.symlink_to("nowhere.mp4")),
        "link to itself.mp4": Entry("missing", lambda path: path.symlink_to(path.name)),
        "named pipe.ts": Entry("not_a_file", os.mkfifo),
        "socket.mp4": Entry("not_a_file", bound_socket),
    }


def write_tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """A plain tar of files and symbolic links."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, goal in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, goal
            archive.addfile(info)
    return path
