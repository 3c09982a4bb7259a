"""Export: every logical sample with its own copy of clip and mask, the form in which other tools take such data.

Tars of `webdataset` keys: ``<sample_id>.mp4`` or ``.jpg`` (the clip as the shard holds it), ``<sample_id>.mask.mkv``
(FFV1) or ``.mask.png`` (white where the sample is edited) and ``<sample_id>.json``. A dataset stores a clip once and
its masks as variants of few tracks; the exported form repeats both for each sample.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pyarrow as pa

from manifests.dataset import Dataset
from manifests.records import SampleRow
from manifests.schema import from_table
from manifests.storage import storage_errors
from manifests.tars import TarWriter
from stages.augment import variant_of_frame
from stages.lossless import write_lossless

MARKER = "export.json"
TOLD = (
    *("sample_id", "clip_id", "track_id", "task", "kind", "split", "caption", "caption_kind", "mask_variant"),
    *("width", "height", "fps", "num_frames", "area_mean"),
)
"""Columns of a sample that go into its JSON."""


@dataclass(frozen=True)
class Exported:
    """What lies in the folder after an export; `written` tars of it are new."""

    samples: int
    tars: int
    written: int
    num_bytes: int


class Export:
    """The samples of a dataset that fit a condition, in a fixed order, cut into tars.

    Args:
        url: the dataset's folder or URL.
        folder: where the tars go; an earlier export of the same samples there is completed.
        where: SQL condition over the columns of `samples`; None: all of them.
        per_tar: samples in each tar.

    Raises ValueError (one sentence) when no sample fits or the folder holds something else, DatasetDamaged.
    """

    def __init__(self, url: str, folder: Path, where: str | None = None, per_tar: int = 100) -> None:
        self.url, self.folder, self.per_tar = url, folder, per_tar
        dataset = Dataset(url)
        self.table = _chosen(dataset, where)
        if not self.table.num_rows:
            raise ValueError(f"{url} has no samples{'' if where is None else f' where {where}'}")
        self._bind({"dataset": dataset.identity, "where": where, "per_tar": per_tar, "samples": self.table.num_rows})

    def _bind(self, document: dict[str, Any]) -> None:
        marker = self.folder / MARKER
        text = json.dumps(document, indent=1) + "\n"
        if marker.is_file():
            if marker.read_text(encoding="utf-8") != text:
                raise ValueError(
                    f"{self.folder} holds an export of other samples (see {MARKER} in it; a dataset that has grown has "
                    "others, too); name a new folder"
                )
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty; name a new folder for the export")
        with storage_errors("write to", str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            marker.write_text(text, encoding="utf-8")

    def run(self, workers: int, report: Callable[[int], None]) -> Exported:
        """Write the tars that are missing, `workers` at a time; `report` is told the samples of each that is there."""
        paths = self._paths()
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        for number in set(range(len(paths))).difference(missing):
            report(len(self._rows(number)))
        jobs = (partial(write_samples, self.url, paths[number], self._rows(number)) for number in missing)
        _run(jobs, workers, report)
        return Exported(self.table.num_rows, len(paths), len(missing), sum(path.stat().st_size for path in paths))

    def _paths(self) -> list[Path]:
        count = -(-self.table.num_rows // self.per_tar)
        return [self.folder / f"samples-{number:05d}.tar" for number in range(count)]

    def _rows(self, number: int) -> list[SampleRow]:
        return from_table(SampleRow, self.table.slice(number * self.per_tar, self.per_tar))


def _chosen(dataset: Dataset, where: str | None) -> pa.Table:
    try:
        return dataset.table("samples", where or "true")
    except duckdb.Error as error:
        raise ValueError(f"the samples cannot be chosen: {str(error).splitlines()[0]}") from error


def _run(jobs: Iterator[Callable[[], int]], workers: int, report: Callable[[int], None]) -> None:
    if workers == 1:
        for job in jobs:
            report(job())
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=_settle) as pool:
        running: set[Future[int]] = set()
        try:
            for job in jobs:
                # Rows of a few tars wait at a time, not those of millions of samples.
                if len(running) >= 2 * workers:
                    running = _reported(running, report)
                running.add(pool.submit(job))
            while running:
                running = _reported(running, report)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _reported(running: set[Future[int]], report: Callable[[int], None]) -> set[Future[int]]:
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        report(future.result())
    return rest


def _settle() -> None:
    # Ctrl-C in a terminal goes to all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def write_samples(url: str, path: Path, rows: Sequence[SampleRow]) -> int:
    """Write one tar, whole or not at all; returns the number of its samples. Raises DatasetDamaged, StorageError."""
    members = Members(_dataset(url))
    partial_path = path.with_name(f"{path.name}.partial")
    with TarWriter(partial_path) as tar:
        for row in rows:
            for ending, content in members.of(row):
                tar.add(f"{row.sample_id}.{ending}", content)
    with storage_errors("write to", str(path.parent)):
        partial_path.replace(path)
    return len(rows)


class Members:
    """Files of samples; a clip is read, and a mask drawn, once for the samples in a row that share it."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._clip: tuple[str, bytes] = ("", b"")
        self._mask: tuple[str, bytes] = ("", b"")

    def of(self, row: SampleRow) -> list[tuple[str, bytes]]:
        """Ending and content of each."""
        if self._clip[0] != row.clip_id:
            self._clip = (row.clip_id, self._dataset.clip_bytes(row))
        key = f"{row.track_id} {row.mask_variant}"
        if self._mask[0] != key:
            self._mask = (key, self._drawn(row))
        said = json.dumps({name: getattr(row, name) for name in TOLD}, ensure_ascii=False, indent=1)
        return [
            ("mp4" if row.kind == "video" else "jpg", self._clip[1]),
            ("mask.mkv" if row.kind == "video" else "mask.png", self._mask[1]),
            ("json", f"{said}\n".encode()),
        ]

    def _drawn(self, row: SampleRow) -> bytes:
        track, parameters = self._dataset.masks(row), json.loads(row.variant_parameters)
        masks = (variant_of_frame(track, number, parameters).astype(np.uint8) * 255 for number in range(len(track)))
        if row.kind == "image":
            _, png = cv2.imencode(".png", next(masks))
            return png.tobytes()
        assert row.fps is not None, "a video has a frame rate"
        target = io.BytesIO()
        write_lossless(target, masks, row.fps)
        return target.getvalue()


@cache
def _dataset(url: str) -> Dataset:
    """Opened once in each process."""
    return Dataset(url)
