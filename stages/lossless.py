"""Video in which every pixel stays as it is: FFV1 in Matroska."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

LARGEST_RATE_PART = 1001
"""Frame rates are fractions of small numbers, such as 30000/1001."""


def file_url(path: Path) -> str:
    """The file's name as FFmpeg takes it for a file's in any case: it takes what precedes a colon for a protocol."""
    return f"file:{path.absolute()}"


def write_lossless(target: Path | BinaryIO, pictures: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    """Write pictures, all (height, width, 3) uint8 RGB or all (height, width) uint8 grey. Equal ones give equal bytes.

    Raises OSError and av.FFmpegError when the file cannot be written, ValueError when there is no picture.
    """
    rate = Fraction(fps).limit_denominator(LARGEST_RATE_PART)
    stream = None
    # Bit-exact: without a random name of the file in its header.
    output = file_url(target) if isinstance(target, Path) else target
    with av.open(output, "w", "matroska", {"fflags": "+bitexact"}) as file:
        for number, picture in enumerate(pictures):
            kind, stored = ("rgb24", "bgr0") if picture.ndim == 3 else ("gray", "gray")
            if stream is None:
                stream = file.add_stream("ffv1", rate=rate)
                stream.codec_context.height, stream.codec_context.width = picture.shape[:2]
                stream.codec_context.pix_fmt = stored
                # With more, the picture is cut into slices by the number of the machine's cores.
                stream.codec_context.thread_count = 1
                stream.time_base = stream.codec_context.time_base = 1 / rate
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(stream.encode(frame))
        if stream is None:
            raise ValueError("a video needs at least one picture")
        file.mux(stream.encode(None))
