"""The worker's child process: loads the stages, runs records through them, says which one it is at.

Started by `pipeline.host`, which calls `main` with the socket's descriptor and its own process id as arguments. Messages
are pickles between a process and its own child. Nothing is caught here that could hide a fault: an exception in a stage is reported and the
records are given up; a crash ends the process and the host sees it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from manifests.ids import draw
from stages.stage import Context, Record, Stage

log = logging.getLogger("vivid.child")

PR_SET_PDEATHSIG = 1
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
    """The child is now at this stage of this group (`stage` is "prepare" while it waits for preparation)."""

    number: int
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
    message: str
    fatal: bool


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; a closed pipe is not noticed inside native code."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _is_fatal(error: BaseException) -> bool:
    # After a CUDA error other than out-of-memory every later call in the process fails too.
    text = f"{type(error).__name__}: {error}"
    return "CUDA" in text and "out of memory" not in text


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Child:
    """Runs groups one after another; the preparation of the next overlaps the run of the present one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._send_lock = threading.Lock()
        self._preparer = ThreadPoolExecutor(1, "prepare")
        self._groups: queue.SimpleQueue[tuple[Work, Future[dict[str, float]]] | None] = queue.SimpleQueue()
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

        stage_name = ""
        try:
            self.seed = setup.context.seed
            for stage_name, settings in setup.chain:
                stage = make_stage(stage_name, settings)
                stage.setup(setup.context)
                self.stages.append(stage)
        except Exception as error:
            log.debug("stage %s raised", stage_name, exc_info=error)
            self.send(Failed(None, stage_name, _sentence(error), fatal=True))
            return False
        self.send(Ready())
        return True

    def _receive(self) -> None:
        while True:
            try:
                work = self.connection.recv()
            except (EOFError, OSError):
                work = None
            if work is None:
                self._groups.put(None)
                return
            self._groups.put((work, self._preparer.submit(self._prepare, work)))

    def _seed(self, record_id: str) -> None:
        # OpenCV's generator (GrabCut, k-means, RANSAC) is global and one per thread: a record must not inherit its
        # state from the record before.
        import cv2

        cv2.setRNGSeed(draw(self.seed, record_id, "opencv") & 0x7FFFFFFF)

    def _prepare(self, work: Work) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for record in work.records:
            self._seed(record.id)
            for stage in self.stages:
                start = time.perf_counter()
                stage.prepare(record)
                seconds[stage.name] = seconds.get(stage.name, 0.0) + time.perf_counter() - start
        return seconds

    def _run(self, work: Work, prepared: Future[dict[str, float]]) -> None:
        stage_name = "prepare"
        try:
            self.send(Progress(work.number, stage_name))
            seconds = prepared.result()
            self._seed(work.records[0].id)
            for stage in self.stages:
                records = [record for record in work.records if not record.dropped]
                if not records:
                    break
                stage_name = stage.name
                self.send(Progress(work.number, stage_name))
                start = time.perf_counter()
                stage.run(records)
                seconds[stage_name] = seconds.get(stage_name, 0.0) + time.perf_counter() - start
        except Exception as error:
            log.debug("stage %s raised", stage_name, exc_info=error)
            self.send(Failed(work.number, stage_name, _sentence(error), _is_fatal(error)))
            return
        for record in work.records:
            for name in record.transient:
                setattr(record, name, None)
        self.send(Done(work.number, work.records, seconds))


def main() -> None:
    """Entry point of the child process."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    # The driver decides about interrupts; a terminal's Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=os.environ.get("VIVID_LOG", "WARNING"))
    import cv2

    cv2.setNumThreads(1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Child(Connection(descriptor)).main()
    # Native threads of libraries must not delay the end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
