"""Mask sequences as COCO run-length codes: exact, small, readable by every COCO tool.

A track's masks are one JSON document, gzipped with a zero time stamp so that equal masks give equal bytes:
``{"size": [height, width], "counts": ["...", ...]}`` with one compressed COCO RLE string per frame.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

Mask = npt.NDArray[np.bool_]
"""A binary mask (height, width)."""


@dataclass(frozen=True)
class MaskTrack:
    """Binary masks of one thing over all frames of a clip, run-length coded.

    `size` is (height, width) in pixels; `counts` holds one COCO RLE string per frame.
    """

    size: tuple[int, int]
    counts: tuple[str, ...]

    @classmethod
    def from_masks(cls, masks: Iterable[Mask]) -> MaskTrack:
        """Encode masks of one size, (H, W) bool each. Raises ValueError on none, or on mixed sizes."""
        size: tuple[int, int] | None = None
        counts: list[str] = []
        for mask in masks:
            if size is None:
                size = (int(mask.shape[0]), int(mask.shape[1]))
            elif mask.shape != size:
                raise ValueError(f"a mask of {mask.shape} in a track of {size}")
            # Encoding the transpose of a C-ordered array as Fortran order avoids a copy of every frame.
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
        return np.ascontiguousarray(coco.decode(self._code(index))).astype(np.bool_)

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

    def take(self, indices: Iterable[int]) -> MaskTrack:
        """The same track at the given frames (repeats allowed)."""
        return MaskTrack(self.size, tuple(self.counts[i] for i in indices))

    def to_bytes(self) -> bytes:
        """The gzipped JSON member; equal tracks give equal bytes."""
        text = json.dumps({"size": list(self.size), "counts": list(self.counts)}, separators=(",", ":"))
        return gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskTrack:
        """Read `to_bytes`. Raises ValueError with one sentence when the bytes are no such document."""
        try:
            document = json.loads(gzip.decompress(data))
            height, width = document["size"]
            counts = tuple(document["counts"])
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a mask track: {error}") from error
        if not counts or not all(isinstance(c, str) for c in counts):
            raise ValueError("not a mask track: it has no counts")
        return cls((int(height), int(width)), counts)


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks; 1.0 when both are empty."""
    union = int(np.count_nonzero(a | b))
    return 1.0 if union == 0 else int(np.count_nonzero(a & b)) / union


def mean_iou(a: MaskTrack, b: MaskTrack) -> float:
    """Mean over frames of the IoU of two tracks of equal length and size."""
    if a.size != b.size or len(a) != len(b):
        raise ValueError(f"tracks of {len(a)} × {a.size} and {len(b)} × {b.size} cannot be compared")
    return float(np.mean([iou(x, y) for x, y in zip(a.masks(), b.masks(), strict=True)]))
