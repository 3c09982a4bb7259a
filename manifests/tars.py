"""Tar files that are byte-identical for identical members, with each member's byte range known.

Members are written in the order given, with zero time stamps and owners: plain POSIX tar that `tar` and `webdataset`
read, grouped by the key before the first dot of the member's name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from manifests.storage import storage_errors


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's data lies in its tar, in bytes."""

    name: str
    offset: int
    size: int


class TarWriter:
    """Writes members one after another. Use as a context manager; `members` maps name to byte range.

    Raises StorageError when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.members: dict[str, Member] = {}
        self._folder = str(path.parent)
        with storage_errors("write to", self._folder):
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with storage_errors("write to", self._folder):
            self._tar.close()

    def add(self, name: str, data: bytes) -> Member:
        """Append a member. Raises ValueError on a repeated name."""
        if name in self.members:
            raise ValueError(f"the tar already has a member {name}")
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        start = self._tar.fileobj.tell()
        with storage_errors("write to", self._folder):
            self._tar.addfile(info, BytesIO(data))
        member = Member(name, start + tarfile.BLOCKSIZE, len(data))
        self.members[name] = member
        return member


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> dict[str, Member]:
    """Write all members in order and return their byte ranges by name."""
    with TarWriter(path) as tar:
        for name, data in members:
            tar.add(name, data)
    return tar.members


def read_tar(data: bytes) -> dict[str, bytes]:
    """All regular members of a tar given as bytes."""
    with tarfile.open(fileobj=BytesIO(data), mode="r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
