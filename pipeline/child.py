"""The worker's child process: loads the stages, runs records through them, says which one it is at.

Started by `pipeline.child_process`, which calls `main` with the socket's descriptor and its own process id as
arguments. Messages are pickles between a process and its own child. Nothing is caught here that could hide a fault: an
exception in a stage is reported and the records are given up; a crash ends the process and the host sees it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, overload

from manifests.ids import draw
from manifests.storage import StorageError
from stages.stage import Context, Record, Stage

log = logging.getLogger("vivid.child")

MEDIUM = "medium"
"""Reason of a `Failed` that no record is to blame for: the disk is full or read-only, the store does not answer."""
MEDIUM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PR_SET_PDEATHSIG = 1
LONGEST_MESSAGE = 500
"""Characters of an exception's text that reach the manifest; some libraries put whole arrays into it."""
DEVICE_FAULTS = ("CUDA", "cuDNN", "CUBLAS")
"""Words of errors after which a device's process cannot be trusted."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Setup:
    """First message to the child: how to make the stages. `chain` holds (stage name, settings) pairs."""

    chain: tuple[tuple[str, dict[str, Any]], ...]
    context: Context


@dataclass(frozen=True)
class Work:
    """A group of records to run together."""

    number: int
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Ready:
    """The stages are set up."""


@dataclass(frozen=True)
class Progress:
    """The child is now at this stage of this group (`number` is None while setting up)."""

    number: int | None
    stage: str


@dataclass(frozen=True)
class Done:
    """A finished group with the seconds each stage took."""

    number: int
    records: tuple[Record, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Failed:
    """A stage raised (`number` is None while setting up). `fatal`: the process can't be trusted any more."""

    number: int | None
    stage: str
    reason: str
    message: str
    fatal: bool


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; a closed pipe is not noticed inside native code."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def one_sentence(error: BaseException) -> str:
    """What went wrong, on one line and of bounded length."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST_MESSAGE:
        text = text[: LONGEST_MESSAGE - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _failed(number: int | None, stage: str, error: Exception) -> Failed:
    log.debug("stage %s raised", stage, exc_info=error)
    # After a CUDA error other than out-of-memory every later call in the process fails too.
    text = f"{type(error).__name__}: {error}"
    fatal = any(mark in text for mark in DEVICE_FAULTS) and "out of memory" not in text
    if isinstance(error, StorageError):
        return Failed(number, stage, MEDIUM, str(error), fatal)
    if isinstance(error, OSError) and error.errno in MEDIUM_ERRORS:
        sentence = f"a worker cannot write: {error.strerror}; the same command goes on where it stopped"
        return Failed(number, stage, MEDIUM, sentence, fatal)
    reason = "memory" if isinstance(error, MemoryError) else "error"
    return Failed(number, stage, reason, one_sentence(error), fatal)


def _seed_opencv(seed: int, record_id: str) -> None:
    # OpenCV's generator (GrabCut, k-means, RANSAC) is global and one per thread: a record must not inherit its
    # state from the record before.
    import cv2

    cv2.setRNGSeed(draw(seed, record_id, "opencv") & 0x7FFFFFFF)


class SeededRecords(Sequence[Record]):
    """The records of a group; taking one out of it seeds OpenCV for it, so that `batch` does not change a result."""

    def __init__(self, records: Sequence[Record], seed: int) -> None:
        self._records = records
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return SeededRecords(self._records[index], self._seed)
        record = self._records[index]
        _seed_opencv(self._seed, record.id)
        return record


@dataclass
class _Group:
    """A group on its way: the stage it is at and the seconds each stage took."""

    work: Work
    stage: str
    seconds: dict[str, float] = field(default_factory=dict)

    def live(self) -> list[Record]:
        return [record for record in self.work.records if not record.dropped]


class Child:
    """Runs groups one after another; the preparation of the next overlaps the run of the present one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._send_lock = threading.Lock()
        self._preparer = ThreadPoolExecutor(1, "prepare")
        self._groups: queue.SimpleQueue[tuple[_Group, Future[None]] | None] = queue.SimpleQueue()
        self.stages: list[Stage[Record]] = []
        self.seed = 0

    def send(self, message: object) -> None:
        with self._send_lock:
            self.connection.send(message)

    def main(self) -> None:
        setup = self.connection.recv()
        if not self._set_up(setup):
            return
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        while (item := self._groups.get()) is not None:
            self._run(*item)
        for stage in self.stages:
            stage.close()

    def _set_up(self, setup: Setup) -> bool:
        # Imported here: the stages come with heavy libraries, and the environment must be set before.
        from pipeline.registry import make_stage

        self.seed = setup.context.seed
        for stage_name, settings in setup.chain:
            self.send(Progress(None, stage_name))
            try:
                stage = make_stage(stage_name, settings)
                stage.setup(setup.context)
            except Exception as error:  # noqa: BLE001 - reported
                self.send(_failed(None, stage_name, error))
                return False
            self.stages.append(stage)
        self.send(Ready())
        return True

    def _receive(self) -> None:
        try:
            while (work := self.connection.recv()) is not None:
                group = _Group(work, self.stages[0].name)
                self._groups.put((group, self._preparer.submit(self._prepare, group)))
        except (EOFError, OSError):
            log.debug("the host is gone")
        finally:
            self._groups.put(None)

    @contextlib.contextmanager
    def _at(self, stage: Stage[Record], group: _Group) -> Iterator[None]:
        """Tell the host where the group is, and add up the seconds it spends there."""
        group.stage = stage.name
        self.send(Progress(group.work.number, stage.name))
        start = time.perf_counter()
        yield
        group.seconds[stage.name] = group.seconds.get(stage.name, 0.0) + time.perf_counter() - start

    def _prepare(self, group: _Group) -> None:
        for stage in self.stages:
            for record in group.live():
                _seed_opencv(self.seed, record.id)
                with self._at(stage, group):
                    stage.prepare(record)

    def _run(self, group: _Group, prepared: Future[None]) -> None:
        try:
            prepared.result()
            for stage in self.stages:
                records = group.live()
                if not records:
                    break
                with self._at(stage, group):
                    stage.run(SeededRecords(records, self.seed))
            for record in group.work.records:
                for name in record.transient:
                    setattr(record, name, None)
            self.send(Done(group.work.number, group.work.records, group.seconds))
        except Exception as error:  # noqa: BLE001 - reported
            self.send(_failed(group.work.number, group.stage, error))


def main() -> None:
    """Entry point of the child process."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    logging.basicConfig(level=os.environ.get("VIVID_LOG", "WARNING"))
    import cv2

    cv2.setNumThreads(1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Child(Connection(descriptor)).main()
    # Native threads of libraries must not delay the end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
