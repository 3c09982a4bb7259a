"""Triples as files that any tool can edit: lossless, named as `train.triples.folder_triples` reads them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import av
import numpy as np

from stages.lossless import write_lossless
from train.triples import CAPTION_ENDING, DELETE, Triple, TripleSource

VIDEO_ENDING = "_src.mkv"
MASK_ENDING = "_mask.mkv"


def check_new_folder(folder: Path) -> None:
    """Raise ValueError unless the folder is empty or not there yet."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and the triples need a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder for the triples")


def export_triples(
    sources: Sequence[TripleSource], folder: Path, on_progress: Callable[[float], None] | None = None
) -> list[str]:
    """Write every triple: ``<name>_src.mkv``, ``<name>_mask.mkv`` (FFV1) and, of what is drawn, ``<name>.txt``.

    The folder appears whole or not at all, and never over another one's files. What cannot be read is left out.

    Returns:
        A line for each that was left out. Raises ValueError (one sentence) when something is in the folder, it cannot
        be written, or no triple can be read.
    """
    problems = []
    with _new_folder(folder) as partial:
        for number, source in enumerate(sources, 1):
            try:
                triple = source.read()
            except ValueError as error:
                problems.append(f"{source.name} is left out: {error}")
            else:
                _write_triple(partial, triple)
            if on_progress is not None:
                on_progress(number / len(sources))
        if len(problems) == len(sources):
            raise ValueError(f"no triple can be exported: {problems[0]}")
    return problems


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in, which gets its own name when the block ends and vanishes when it fails."""
    check_new_folder(folder)
    # `absolute`, for "." has no name; a link keeps pointing where it does.
    target = folder.absolute()
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        yield partial
        # Takes the place of an empty folder, and fails where something has come into it meanwhile.
        partial.rename(target)
    except (OSError, av.FFmpegError) as error:
        raise ValueError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        rmtree(partial, ignore_errors=True)


def _write_triple(folder: Path, triple: Triple) -> None:
    masks = np.where(triple.masks, np.uint8(255), np.uint8(0))
    write_lossless(folder / f"{triple.name}{MASK_ENDING}", masks, triple.fps)
    write_lossless(folder / f"{triple.name}{VIDEO_ENDING}", triple.frames, triple.fps)
    if triple.task != DELETE:
        (folder / f"{triple.name}{CAPTION_ENDING}").write_text(f"{triple.caption}\n", encoding="utf-8")
