"""The processes that do a job's work, and the processor time they take."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import psutil

from pipeline.child_process import CHILD_CODE

INTERVAL_S = 0.2


def workers() -> list[psutil.Process]:
    """Running children of worker hosts that were started, at any remove, from this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if CHILD_CODE in process.cmdline():
                found.append(process)
    return found


@dataclass(frozen=True)
class Moment:
    """Sums since the start, in seconds, and a count the caller gave."""

    clock: float
    workers: float
    """Processor time of all workers so far."""
    idle: float
    """Processor time nobody used, all cores."""
    running: int
    done: int


@dataclass
class Watch:
    """Samples the workers in a thread while its block runs. `count` is asked at every sample."""

    count: Callable[[], int]
    moments: list[Moment] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._spent: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            running = workers()
            for process in running:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    self._spent[process.pid] = times.user + times.system
            total = psutil.cpu_times()
            self.moments.append(
                Moment(time.monotonic(), sum(self._spent.values()), total.idle, len(running), self.count())
            )
