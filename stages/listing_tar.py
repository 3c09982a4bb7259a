"""The index of a plain tar archive: which members hold data, and where. Read by the listing and by the fetch alike."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from stages.listing_records import Problem, escape_problem, is_utf8, tidy


@dataclass(frozen=True, slots=True)
class TarIndex:
    """`members`: name → (offset, size) in bytes of each intact regular file; `problems`: what is unusable, and why."""

    members: dict[str, tuple[int, int]]
    problems: tuple[Problem, ...]


def read_tar_index(stream: BinaryIO, size: int) -> TarIndex:
    """Index the uncompressed tar in `stream` (seekable, `size` bytes); of a damaged one, what precedes the damage.

    Links, folders and devices are passed over. Of two members of one name the later counts, as when unpacking.
    """
    members: dict[str, tuple[int, int]] = {}
    problems: list[Problem] = []
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                # tarfile remembers every member; an archive of a million need not.
                archive.members = []  # type: ignore[attr-defined]
                problem = _member_problem(member, size)
                if problem is not None:
                    problems.append(problem)
                elif member.isreg():
                    members[tidy(member.name)] = (member.offset_data, member.size)
            if not _ends_properly(stream, archive.offset):
                problems.append(
                    Problem("", "damaged_archive", "is damaged or cut short after its last readable member")
                )
    except (tarfile.TarError, EOFError, ValueError) as error:
        problems.append(Problem("", "damaged_archive", f"is not a plain, complete tar archive ({error})"))
    return TarIndex(members, tuple(problems))


def _member_problem(member: tarfile.TarInfo, size: int) -> Problem | None:
    if not member.isreg():
        return None
    name = tidy(member.name)
    escapes = escape_problem(name)
    if escapes is not None:
        # An absolute name is shown as it stands; the archive's own path precedes it.
        return escapes if is_utf8(name) else Problem(name, "bad_name", "is not valid UTF-8; rename it in the archive")
    if member.issparse():
        return Problem(name, "not_a_file", "is a sparse member; unpack the archive and make it anew")
    if member.size < 0 or member.offset_data + member.size > size:
        return Problem(name, "damaged_archive", "is cut short by the end of its archive")
    return None


def _ends_properly(stream: BinaryIO, offset: int) -> bool:
    # tarfile stops without a word at a broken header in the middle; only zeros, or nothing, may follow the last member.
    stream.seek(offset)
    return not stream.read(tarfile.BLOCKSIZE).strip(b"\0")
