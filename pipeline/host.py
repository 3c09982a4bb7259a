"""The worker host: runs stages in a child process, so that a fault costs one record and never the worker.

A stage that raises, hangs past its deadline, eats memory, calls ``os._exit`` or crashes in native code costs at most
the records of its batch: each of them is tried once more, alone, in a fresh child where needed; a second failure
makes it ``failed: error | timeout | memory | crashed``. The same host runs inside a Ray actor and, with ``--local``, in
the driver.
"""

from __future__ import annotations

import logging
import pickle
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from manifests.storage import StorageError
from pipeline.child import MEDIUM, Done, Failed, Progress, Ready, Setup, Work, one_sentence
from pipeline.child_process import ChildProcess
from stages.stage import Record

log = logging.getLogger("vivid.host")

POLL_S = 0.05
CLOSE_S = 5.0
"""A child that is asked to end gets this long to free its device."""


class SetupFailed(Exception):
    """The stages could not be set up (a model is missing, …): no record can be blamed. The text is one sentence."""


@dataclass(frozen=True)
class HostSettings:
    """Limits of one worker. Seconds, and bytes of resident memory (None: no limit)."""

    deadline_s: float
    setup_deadline_s: float
    memory_bytes: int | None
    batch: int = 1
    prefetch: bool = False


@dataclass(frozen=True)
class Fault:
    """What went wrong with a group of records or with the setup."""

    reason: str
    stage: str
    message: str


@dataclass
class Outcome:
    """Records as they came out, in the order they went in, and the seconds each stage took."""

    records: list[Record]
    seconds: dict[str, float]


class WorkerHost:
    """Owns one child process at a time and feeds it records. Not thread-safe; call `close` at the end."""

    def __init__(self, setup: Setup, settings: HostSettings) -> None:
        self.settings = settings
        self._scratch = Path(tempfile.mkdtemp(prefix="vivid-worker-", dir=setup.context.scratch))
        self.setup = replace(setup, context=replace(setup.context, scratch=self._scratch))
        # The kernel's parent-death signal follows the *thread* that forked: this one lives as long as the host.
        self._spawner = ThreadPoolExecutor(1, "spawn")
        self._child: ChildProcess | None = None
        self._stages: dict[int | None, str] = {}
        self._number = 0

    def run(self, records: Sequence[Record]) -> Outcome:
        """Run records through the stages. Never raises for a record's fault.

        Raises SetupFailed, and StorageError when a stage could not write or read for want of the medium.
        """
        try:
            return self._run(records)
        except BaseException:
            # What the child has in hand would answer a later call.
            self._end_child()
            raise

    def close(self) -> None:
        """End the child and remove its scratch files."""
        if self._child is not None:
            self._child.send(None)
            self._child.wait(CLOSE_S)
        self._end_child()
        self._spawner.shutdown()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # --- passes over groups ---

    def _run(self, records: Sequence[Record]) -> Outcome:
        groups = [list(records[i : i + self.settings.batch]) for i in range(0, len(records), self.settings.batch)]
        outcome: dict[str, Record] = {}
        seconds: dict[str, float] = {}
        faults: list[Fault] = []
        suspects = self._run_groups(groups, outcome, seconds, faults, depth=2 if self.settings.prefetch else 1)
        for record in suspects:
            if self._run_groups([[record]], outcome, seconds, faults, depth=1):
                outcome[record.id] = _failed(record, faults[-1])
        return Outcome([outcome[record.id] for record in records], seconds)

    def _run_groups(
        self,
        groups: list[list[Record]],
        outcome: dict[str, Record],
        seconds: dict[str, float],
        faults: list[Fault],
        depth: int,
    ) -> list[Record]:
        """Run groups in order, `depth` in hand at a time; returns the records of those that went wrong."""
        waiting = deque(groups)
        in_hand: dict[int, list[Record]] = {}
        suspects: list[Record] = []
        while waiting or in_hand:
            child = self._ready_child()
            while waiting and len(in_hand) < depth:
                self._number += 1
                in_hand[self._number] = waiting.popleft()
                child.send(Work(self._number, tuple(in_hand[self._number])))
            number = next(iter(in_hand))
            answer = self._await(child, number, self.settings.deadline_s * len(in_hand[number]))
            if isinstance(answer, Done):
                del in_hand[number]
                outcome.update((record.id, record) for record in answer.records)
                for stage, value in answer.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + value
                continue
            assert not isinstance(answer, Ready)
            if isinstance(answer, Failed) and answer.reason == MEDIUM:
                raise StorageError(answer.message)
            faults.append(Fault(answer.reason, answer.stage, answer.message))
            suspects += in_hand.pop(number)
            # An exception leaves the child and the group it prepares meanwhile intact.
            if not isinstance(answer, Failed) or answer.fatal:
                self._end_child()
                waiting.extendleft(reversed(in_hand.values()))
                in_hand.clear()
        return suspects

    def _await(self, child: ChildProcess, number: int | None, limit_s: float) -> Ready | Done | Failed | Fault:
        """The child's answer about a group (None: the setup), or what became of the child meanwhile."""
        deadline = time.monotonic() + limit_s
        memory = self.settings.memory_bytes
        while True:
            try:
                message = child.receive(POLL_S)
            except EOFError:
                return self._fault(number, "crashed", f"the worker process {child.ending()}")
            except Exception as error:
                log.debug("an answer cannot be unpickled", exc_info=error)
                return self._fault(number, "error", f"the result cannot be read back: {one_sentence(error)}")
            if isinstance(message, Ready | Done | Failed):
                self._stages.pop(number, None)
                return message
            if isinstance(message, Progress):
                self._stages[message.number] = message.stage
            if time.monotonic() > deadline:
                return self._fault(number, "timeout", f"the worker did not finish within {limit_s:g} s")
            if memory is not None and child.resident_bytes() > memory:
                return self._fault(number, "memory", f"the worker took more than {memory / 2**20:.0f} MiB of memory")

    def _fault(self, number: int | None, reason: str, message: str) -> Fault:
        return Fault(reason, self._stages.get(number, self.setup.chain[0][0]), message)

    # --- the child's life ---

    def _ready_child(self) -> ChildProcess:
        if self._child is None:
            try:
                self._start_child()
            except OSError as error:
                raise SetupFailed(f"no worker process can be started: {error.strerror}") from error
        assert self._child is not None
        return self._child

    def _start_child(self) -> None:
        answer = self._set_up_child()
        if isinstance(answer, Fault) and answer.reason == "crashed":
            # A child that was killed from outside while it loaded is no fault of the stages: once more.
            answer = self._set_up_child()
        if not isinstance(answer, Ready):
            raise SetupFailed(f"stage '{answer.stage}' could not start: {answer.message}")

    def _set_up_child(self) -> Ready | Failed | Fault:
        self._stages.clear()
        self._child = ChildProcess(self._spawner)
        self._child.send(self.setup)
        answer = self._await(self._child, None, self.settings.setup_deadline_s)
        assert not isinstance(answer, Done)
        if not isinstance(answer, Ready):
            self._end_child()
        return answer

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def _failed(record: Record, fault: Fault) -> Record:
    """The record as it came in, given up."""
    failed: Record = pickle.loads(pickle.dumps(record))
    failed.reject(record.id, record.level, fault.stage, fault.reason, fault.message, state="failed")
    failed.dropped = True
    return failed
