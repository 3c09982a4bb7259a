"""Mask sequences as COCO run-length codes: exact, small, readable by every COCO tool.

A track's masks are one JSON document, gzipped with a zero time stamp so that equal masks give equal bytes:
``{"size": [height, width], "counts": ["...", ...]}`` with one compressed COCO RLE string per frame.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

Mask = npt.NDArray[np.bool_]
"""A binary mask (height, width)."""

MAX_SIDE = 16384
"""Largest height or width read, pixels: beyond 8K video; a document that claims more would decode into gigabytes."""
MAX_DOCUMENT_BYTES = 2**28
"""Longest unzipped document read: a thousand times a usual track; stops a small file that unzips into gigabytes."""
_MAX_GROUPS = 6
"""5-bit groups in one COCO count: enough for MAX_SIDE², and more would overflow the decoder."""


@dataclass(frozen=True)
class MaskTrack:
    """Binary masks of one thing over all frames of a clip, run-length coded.

    `size` is (height, width) in pixels; `counts` holds one COCO RLE string per frame.
    """

    size: tuple[int, int]
    counts: tuple[str, ...]

    @classmethod
    def from_masks(cls, masks: Iterable[Mask]) -> MaskTrack:
        """Encode masks of one size, (H, W) bool each. Raises ValueError on none, on empty or mixed sizes."""
        size: tuple[int, int] | None = None
        counts: list[str] = []
        for mask in masks:
            if size is None:
                size = (int(mask.shape[0]), int(mask.shape[1]))
                if 0 in size:
                    raise ValueError(f"a mask of {size} has no pixels")
            elif mask.shape != size:
                raise ValueError(f"a mask of {mask.shape} in a track of {size}")
            # COCO counts run down the columns, so the encoder takes Fortran order.
            code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
            counts.append(code["counts"].decode("ascii"))
        if size is None:
            raise ValueError("a track needs at least one mask")
        return cls(size, tuple(counts))

    @classmethod
    def empty(cls, size: tuple[int, int], num_frames: int) -> MaskTrack:
        """A track of all-zero masks."""
        code = coco.encode(np.zeros(size, np.uint8, order="F"))["counts"].decode("ascii")
        return cls(size, (code,) * num_frames)

    def __len__(self) -> int:
        return len(self.counts)

    def _code(self, index: int) -> dict[str, object]:
        return {"size": list(self.size), "counts": self.counts[index].encode("ascii")}

    def mask(self, index: int) -> Mask:
        """The mask of frame `index` as (H, W) bool."""
        # The decoder gives zeros and ones, so their bytes are truth values. They come column by column; OpenCV turns
        # them in a quarter of numpy's time.
        return np.asarray(cv2.transpose(coco.decode(self._code(index)).T)).view(np.bool_)

    def masks(self) -> Iterator[Mask]:
        """Every frame's mask in order, decoded one at a time."""
        return (self.mask(index) for index in range(len(self)))

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels covered in each frame, without decoding."""
        return np.asarray([coco.area(self._code(i)) for i in range(len(self))], dtype=np.int64)

    def boxes(self) -> npt.NDArray[np.int64]:
        """Tight boxes (frames, 4) as x0, y0, x1, y1 in pixels, end exclusive; zeros where a mask is empty."""
        xywh = np.asarray([coco.toBbox(self._code(i)) for i in range(len(self))], dtype=np.int64).reshape(-1, 4)
        xywh[:, 2:] += xywh[:, :2]
        return xywh

    def union(self, other: MaskTrack) -> MaskTrack:
        """What either track covers, frame by frame, without decoding. Both have the same size and length."""
        codes = (self._merged(other, index, intersect=False) for index in range(len(self)))
        return MaskTrack(self.size, tuple(str(code["counts"], "ascii") for code in codes))

    def shared_areas(self, other: MaskTrack) -> npt.NDArray[np.int64]:
        """Pixels that both tracks cover in each frame, without decoding. Both have the same size and length."""
        codes = [self._merged(other, index, intersect=True) for index in range(len(self))]
        return np.asarray([coco.area(code) for code in codes], dtype=np.int64)

    def _merged(self, other: MaskTrack, index: int, intersect: bool) -> dict[str, bytes]:
        if (self.size, len(self)) != (other.size, len(other)):
            raise ValueError(f"tracks of {self.size} × {len(self)} and {other.size} × {len(other)} do not fit together")
        code: dict[str, bytes] = coco.merge([self._code(index), other._code(index)], intersect)
        return code

    def take(self, indices: Iterable[int]) -> MaskTrack:
        """The same track at the given frames (repeats allowed)."""
        return MaskTrack(self.size, tuple(self.counts[i] for i in indices))

    def to_bytes(self) -> bytes:
        """The gzipped JSON member; equal tracks give equal bytes."""
        text = json.dumps({"size": list(self.size), "counts": list(self.counts)}, separators=(",", ":"))
        return gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskTrack:
        """Read `to_bytes`. Raises ValueError with one sentence when the bytes are no such document.

        Counts that do not fill the size are refused here: the COCO decoder leaves the rest of such a mask undefined,
        and crashes on sizes beyond memory.
        """
        try:
            document = json.loads(_unzip(data))
        except (zlib.error, ValueError, RecursionError) as error:
            raise ValueError(f"not a mask track: {error}") from error
        size, counts = (document.get("size"), document.get("counts")) if isinstance(document, dict) else (None, None)
        if not isinstance(counts, list) or not counts or not all(isinstance(code, str) for code in counts):
            raise ValueError("not a mask track: it has no counts")
        if not isinstance(size, list) or len(size) != 2 or not all(_is_side(side) for side in size):
            raise ValueError(f"not a mask track: its size {size!r:.60} is not two whole numbers from 1 to {MAX_SIDE}")
        height, width = size
        for frame, code in enumerate(counts):
            if not _fills(code, height * width):
                raise ValueError(f"not a mask track: the counts of frame {frame} do not fill {height} × {width} pixels")
        return cls((height, width), tuple(counts))


def _unzip(data: bytes) -> bytes:
    gzipped = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = gzipped.decompress(data, MAX_DOCUMENT_BYTES)
    if not gzipped.eof or gzipped.unused_data:
        raise ValueError("its gzip stream is cut off, too long or followed by other bytes")
    return text


def _is_side(side: object) -> bool:
    return type(side) is int and 1 <= side <= MAX_SIDE


def _fills(code: str, pixels: int) -> bool:
    """Whether a compressed COCO string is well-formed and its runs cover exactly `pixels`."""
    if not code or not code.isascii():
        return False
    groups = np.frombuffer(code.encode("ascii"), np.uint8).astype(np.int64) - 48
    if groups.min() < 0 or groups.max() > 63:
        return False
    # A count is written in groups of 5 bits, lowest first; bit 5 says that another group follows.
    ends = np.flatnonzero(groups & 32 == 0)
    if not len(ends) or ends[-1] != len(groups) - 1:
        return False
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        return False
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    counts = np.add.reduceat((groups & 31) << 5 * place, starts)
    counts -= (groups[ends] >> 4 & 1) << 5 * lengths  # bit 4 of the last group is the sign
    # From the fourth on, a count is written as its difference from the one two before it.
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return bool(counts.min() >= 0 and counts.sum() == pixels)


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks; 1.0 when both are empty."""
    union = int(np.count_nonzero(a | b))
    return 1.0 if union == 0 else int(np.count_nonzero(a & b)) / union


def mean_iou(a: MaskTrack, b: MaskTrack) -> float:
    """Mean over frames of the IoU of two tracks of equal length and size."""
    if a.size != b.size or len(a) != len(b):
        raise ValueError(f"tracks of {len(a)} × {a.size} and {len(b)} × {b.size} cannot be compared")
    return float(np.mean([iou(x, y) for x, y in zip(a.masks(), b.masks(), strict=True)]))
