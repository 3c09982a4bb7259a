"""What a source picture must become: upright, square pixels, at most 720 high, even sides, BT.709 ``yuv420p``.

One libavfilter chain does it: crop, scale and convert in one step, then turn. It works on YUV directly, so a source
that already is as it should be reaches the encoder untouched. For editing a picture keeps its size and becomes RGB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc

from models.protocols import Image
from stages.containers import MediaError
from stages.filter_graph import build_graph, forget_unknown_matrix, yuv_matrix

_HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_MOST_EXTREME_PIXEL = 4
_EXACT = "full_chroma_inp+full_chroma_int+accurate_rnd"
"""Without these swscale darkens by a level when it changes the matrix, and reads half of the colours of RGB."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned upright: swap rows and columns, then mirror in x, then in y."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """Clockwise rotation in degrees (0, 90, 180, 270), mirroring aside."""
        if self.transposed:
            return 90 if self.flip_x else 270 if self.flip_y else 90
        return 180 if self.flip_y else 0


UPRIGHT = Orientation()
"""As stored."""


def orientation_of(frame: VideoFrame) -> Orientation:
    """The orientation in the frame's display matrix, to the nearest quarter turn."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return UPRIGHT
    # Rows (a, b, ·), (c, d, ·): a point goes from (x, y) to (a·x + c·y, b·x + d·y).
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def believable_pixel_aspect(aspect: Fraction | None) -> Fraction:
    """Width over height of one stored pixel; 1 where the file says nothing, or nonsense."""
    if aspect is None or not Fraction(1, _MOST_EXTREME_PIXEL) <= aspect <= _MOST_EXTREME_PIXEL:
        return Fraction(1)
    return aspect


def upright_size(width: int, height: int, pixel_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """(width, height) at which a stored picture is meant to be seen."""
    stretched = max(1, round(width * pixel_aspect))
    return (height, stretched) if orientation.transposed else (stretched, height)


def even_side(side: Fraction | int) -> int:
    """The side in whole pixels, one less where it is odd."""
    return max(2, round(side) // 2 * 2)


class Uprighter:
    """Turns decoded frames of one file into frames to encode.

    Args:
        orientation: how they are turned upright. The file's; asking each frame would keep frames in reference cycles.
        pixel_aspect: width over height of a stored pixel.
        max_short_side: longest allowed short side of the result in pixels, even; pictures are never enlarged to it.
    """

    def __init__(self, orientation: Orientation, pixel_aspect: Fraction, max_short_side: int) -> None:
        self._orientation = orientation
        self._pixel_aspect = pixel_aspect
        self._max_short_side = max_short_side
        self._chain = _Chain()

    def source_size(self, frame: VideoFrame) -> tuple[int, int]:
        """(width, height) at which the decoded frame is meant to be seen."""
        return upright_size(frame.width, frame.height, self._pixel_aspect, self._orientation)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The frame as limited-range BT.709 ``yuv420p`` with even sides. Raises MediaError ``decode_error``."""
        return self._chain(frame, lambda: [*self._resizing(frame), *_turning(self._orientation)])

    def _resizing(self, frame: VideoFrame) -> list[tuple[str, str]]:
        stretched = frame.width * self._pixel_aspect
        scale = min(Fraction(1), self._max_short_side / min(stretched, Fraction(frame.height)))
        width, height = even_side(stretched * scale), even_side(frame.height * scale)
        # An odd side loses its last row or column rather than being stretched to an even one.
        crop_width = min(frame.width, round(width / scale / self._pixel_aspect))
        crop_height = min(frame.height, round(height / scale))
        method = "area" if width <= crop_width and height <= crop_height else "bicubic"
        return [
            ("crop", f"{crop_width}:{crop_height}:0:0"),
            ("scale", f"{width}:{height}:flags={method}+{_EXACT}:{_colours(frame)}"),
            ("format", "yuv420p"),
        ]


class UprightRgb:
    """Turns decoded frames of one file into upright RGB images (height, width, 3) of the stored size.

    Colours are those that players show, to the nearest level, HDR brought down to BT.709 as for the dataset's clips.
    """

    def __init__(self, orientation: Orientation) -> None:
        self._orientation = orientation
        self._chain = _Chain()

    def __call__(self, frame: VideoFrame) -> Image:
        """The frame as an RGB image. Raises MediaError ``decode_error``."""
        upright = self._chain(frame, lambda: [*_to_rgb(frame), *_turning(self._orientation)])
        return np.ascontiguousarray(upright.to_ndarray(), dtype=np.uint8)


class _Chain:
    """A graph of filters that is built anew where another kind of picture comes."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._graph = Graph()

    def __call__(self, frame: VideoFrame, filters: Callable[[], list[tuple[str, str]]]) -> VideoFrame:
        """The picture behind the filters that its kind needs. Raises MediaError ``decode_error``."""
        forget_unknown_matrix(frame)
        name = frame.format.name
        kind = (frame.width, frame.height, name, frame.colorspace, frame.color_range, frame.color_trc)
        try:
            if kind != self._kind:
                self._graph = build_graph(frame, filters())
                self._kind = kind
            self._graph.vpush(frame)
            return self._graph.vpull()
        except av.FFmpegError as error:
            sentence = f"Pictures in {name} of {frame.width}×{frame.height} cannot be converted ({error.strerror})."
            raise MediaError("decode_error", sentence) from error


def _to_rgb(frame: VideoFrame) -> list[tuple[str, str]]:
    # Of the ways to enlarge the colour planes, bicubic loses least when an edit is edited again.
    options = [f"flags=bicubic+{_EXACT}", *_source_colours(frame)]
    return [("scale", ":".join(options)), ("format", "rgb24")]


def _turning(orientation: Orientation) -> list[tuple[str, str]]:
    steps = [
        ("transpose", "cclock_flip", orientation.transposed),
        ("hflip", "", orientation.flip_x),
        ("vflip", "", orientation.flip_y),
    ]
    return [(name, arguments) for name, arguments, needed in steps if needed]


def _colours(frame: VideoFrame) -> str:
    """The scale filter's options for the colours of `frame` → limited-range BT.709."""
    return ":".join(["out_color_matrix=bt709", "out_range=tv", *_source_colours(frame)])


def _source_colours(frame: VideoFrame) -> list[str]:
    """The scale filter's options for what the colours of `frame` mean; of RGB there is nothing to say."""
    options = [] if frame.format.is_rgb else [f"in_color_matrix={yuv_matrix(frame)}"]
    if frame.color_trc in _HDR_TRANSFERS:
        options += ["out_primaries=bt709", "out_transfer=bt709"]
    return options
