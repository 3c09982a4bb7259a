"""A file inside a stored one, fetched piece by piece: decoding a window of a clip takes a fraction of its bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["RangeFile"]

SMALL = 512 * 2**10
"""Bytes of a file that is fetched whole: asking a remote store once more costs more time than they do."""


class RangeFile(io.RawIOBase):
    """A read-only file of `size` bytes whose ranges `fetch(offset, size)` gives; no byte is fetched twice.

    A read may give fewer bytes than asked for, as raw files may: what is there comes before anything is fetched.
    Leaving the file as a context raises the error of a fetch that failed, whatever its reader made of that.

    Args:
        fetch: gives exactly `size` bytes from `offset`; what it raises goes through.
        size: length of the file in bytes.
        block: fewest bytes fetched at a time, to keep requests few.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, block: int = 128 * 2**10) -> None:
        super().__init__()
        self._fetch, self._size, self._block = fetch, size, block
        self._position = 0
        self._pieces: list[tuple[int, bytes]] = []
        self._error: Exception | None = None
        self._expected = (0, size) if size <= SMALL else (0, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        # FFmpeg takes a failed read for the end of a damaged file.
        if self._error is not None and error is not self._error:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def expect(self, start: int, stop: int) -> None:
        """Say that bytes `start` to `stop` will be read: the first read among them fetches all from there on."""
        self._expected = (start, min(stop, self._size))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"byte {origin + offset} is before the file's start")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes from the position on, at least one before the end; all the rest when negative."""
        if size is None or size < 0:
            return self.readall()
        # A reader may go on after an error; one is enough.
        if self._error is not None or self._position >= self._size or not size:
            return b""
        start, piece = self._piece(size)
        data = piece[self._position - start : self._position - start + size]
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """All bytes from the position to the end."""
        self.expect(self._position, self._size)
        parts = []
        while data := self.read(self._size):
            parts.append(data)
        return b"".join(parts)

    def _piece(self, size: int) -> tuple[int, bytes]:
        """The piece that holds the position, fetched when there is none."""
        for start, piece in self._pieces:
            if start <= self._position < start + len(piece):
                return start, piece
        first, last = self._expected
        stop = last if first <= self._position < last else self._position + max(size, self._block)
        following = [start for start, _ in self._pieces if start > self._position]
        stop = min([stop, self._size, *following])
        try:
            fetched = self._position, self._fetch(self._position, stop - self._position)
        except Exception as error:
            self._error = error
            raise
        self._pieces.append(fetched)
        return fetched
