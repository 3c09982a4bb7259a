"""Points followed by a dense flow network: its field is read at them, and checked against the field of the way back.

A network knows where a thing went and is half a pixel off; comparing the patches around a point is exact and gets lost
in large motions. So the network leads, and the patches place each point within the pixel.

Fields are dear and asked for again and again: every place that is tried for a pasted object walks through the same
frames. So those of one clip are kept, packed, as far as a bound on memory allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.point_flow import Flags, Points, to_gray
from models.protocols import Image

DenseFlow = Callable[[Image, Image], npt.NDArray[np.float32]]
"""Displacement (height, width, 2) in pixels, x then y, from the first frame to the second."""


class DensePointsSettings(BaseModel, frozen=True, extra="forbid"):
    """Which points of a dense flow are trusted, and how much of it is kept."""

    max_return_error: float = Field(
        default=1.0,
        gt=0,
        description="largest distance between a pixel and its way there and back, px; drops covered ones",
    )
    patch: int = Field(default=17, ge=3, description="side of the patches that place a point within its pixel, px")
    max_shift: float = Field(
        default=1.0,
        ge=0,
        description="farthest a patch may move a point from where the field puts it, px: beyond, it holds on to "
        "something else; 0 leaves points where the field puts them",
    )
    cache_mb: int = Field(
        default=512,
        ge=0,
        description="memory for the fields of one clip, MiB; one of 854×480 takes 1.7, and those beyond are made anew",
    )


class DensePoints:
    """Follows points by a dense flow."""

    def __init__(self, flow: DenseFlow, settings: DensePointsSettings) -> None:
        self._flow = flow
        self._settings = settings
        self._kept = _ClipFields(settings.cache_mb << 20)

    def __call__(self, first: Image, second: Image, points: Points) -> tuple[Points, Flags]:
        """See `models.protocols.Flow`; no points cost nothing."""
        pair = self._kept.step(first, second)
        if not len(points):
            return np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)
        field = self._kept.get(pair)
        if field is None:
            there, back = self._flow(first, second), self._flow(second, first)
            field = _Field.packed(there, returning(there, back, self._settings.max_return_error))
            self._kept.keep(pair, field)
        landed, trusted = field.read(points)
        return (self._placed(first, second, points, landed) if self._settings.max_shift else landed), trusted

    def _placed(self, first: Image, second: Image, points: Points, landed: Points) -> Points:
        """`landed`, each where the patch around its point fits best, unless that is too far away."""
        side = self._settings.patch
        start, guess = (np.ascontiguousarray(place).reshape(-1, 1, 2) for place in (points, landed.copy()))
        moved, found, _ = cv2.calcOpticalFlowPyrLK(
            to_gray(first),
            to_gray(second),
            start,
            guess,
            winSize=(side, side),
            maxLevel=0,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        near = np.linalg.norm(moved[:, 0] - landed, axis=1) <= self._settings.max_shift
        return np.where((near & (found[:, 0] > 0))[:, None], moved[:, 0], landed)


def returning(there: npt.NDArray[np.float32], back: npt.NDArray[np.float32], tolerance: float) -> npt.NDArray[np.bool_]:
    """Which pixels stay in the frame and come back within `tolerance` px along `back` (both (height, width, 2))."""
    height, width = there.shape[:2]
    x = there[..., 0] + np.arange(width, dtype=np.float32)
    y = there[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    way_back = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(inside & (np.linalg.norm(there + way_back, axis=2) < tolerance))


@dataclass(frozen=True)
class _Field:
    """A field in half the memory: steps of 1/64 px at 30 px of motion are far below what a network can tell."""

    there: npt.NDArray[np.float16]
    trusted: npt.NDArray[np.uint8]
    """Bits, eight columns in a byte."""

    @classmethod
    def packed(cls, there: npt.NDArray[np.float32], trusted: npt.NDArray[np.bool_]) -> _Field:
        limit = float(np.finfo(np.float16).max)
        finite = np.nan_to_num(there, nan=0.0, posinf=limit, neginf=-limit)
        return cls(finite.clip(-limit, limit).astype(np.float16), np.packbits(trusted, axis=1))

    @property
    def nbytes(self) -> int:
        return self.there.nbytes + self.trusted.nbytes

    def read(self, points: Points) -> tuple[Points, Flags]:
        """Where points go, between four pixels each, and whether all four of these are trusted."""
        height, width = self.there.shape[:2]
        x, y = (points[:, axis].clip(0, size - 1) for axis, size in enumerate((width, height)))
        left, top = x.astype(np.int64), y.astype(np.int64)
        right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        across, down = x - left, y - top
        moved = np.zeros((len(points), 2), np.float32)
        trusted = (x == points[:, 0]) & (y == points[:, 1])
        for rows, share_down in ((top, 1 - down), (bottom, down)):
            for columns, share_across in ((left, 1 - across), (right, across)):
                moved += self.there[rows, columns] * (share_down * share_across)[:, None]
                trusted &= (self.trusted[rows, columns >> 3] << (columns & 7) & 0x80) > 0
        return np.asarray(points + moved, np.float32), np.asarray(trusted)


class _ClipFields:
    """Fields of one clip by what is in their two frames, never more than a number of bytes.

    A clip is walked through from its first frame every time, so the earliest fields are kept where not all can be (the
    latest would be overwritten before they are asked for again). A pair that is neither known nor goes on where the
    last one ended is of another clip, and the kept fields are let go.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._fields: dict[bytes, _Field] = {}
        self._bytes = 0
        self._end = b""

    def step(self, first: Image, second: Image) -> bytes:
        """Walk on to a pair of frames: its name."""
        begin, end = _digest(first), _digest(second)
        if begin + end not in self._fields and begin != self._end:
            self._fields.clear()
            self._bytes = 0
        self._end = end
        return begin + end

    def get(self, pair: bytes) -> _Field | None:
        return self._fields.get(pair)

    def keep(self, pair: bytes, field: _Field) -> None:
        if self._bytes + field.nbytes <= self._limit:
            self._fields[pair] = field
            self._bytes += field.nbytes


def _digest(frame: Image) -> bytes:
    # With its shape: black frames of two clips may differ in that alone.
    return hashlib.sha256(str(frame.shape).encode() + frame.tobytes()).digest()
