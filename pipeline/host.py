"""The worker host: runs stages in a child process, so that a fault costs one record and never the worker.

A stage that raises, hangs past its deadline, eats memory, calls ``os._exit`` or crashes in native code costs at most
the records it had in hand: each of them is tried once more, alone, in a fresh child where needed; a second failure
makes it ``failed: error | timeout | memory | crashed``. The same host runs inside a Ray actor and, with ``--local``, in
the driver.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from pipeline.child import THREAD_VARIABLES, Done, Failed, Progress, Ready, Setup, Work
from stages.stage import Record

CHILD_CODE = "from pipeline.child import main; main()"
"""Not ``-m``: that would load the module a second time as __main__, with message classes that are not ours."""
POLL_S = 0.05
MEMORY_CHECK_S = 0.25
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
    """What went wrong with a group of records."""

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
        self._sender = ThreadPoolExecutor(1, "send")
        self._sending: Future[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._number = 0

    def run(self, records: Sequence[Record]) -> Outcome:
        """Run records through the stages. Never raises for a record's fault; raises SetupFailed."""
        groups = [list(records[i : i + self.settings.batch]) for i in range(0, len(records), self.settings.batch)]
        results: dict[str, Record] = {}
        seconds: dict[str, float] = {}
        suspects = self._run_groups(groups, results, seconds, prefetch=self.settings.prefetch)
        for record in suspects:
            faults: list[Fault] = []
            self._run_groups([[record]], results, seconds, prefetch=False, faults=faults)
            if faults:
                fault = faults[-1]
                failed = pickle.loads(pickle.dumps(record))
                failed.reject(record.id, record.level, fault.stage, fault.reason, fault.message, state="failed")
                failed.dropped = True
                results[record.id] = failed
        return Outcome([results[record.id] for record in records], seconds)

    def close(self) -> None:
        """End the child and remove its scratch files."""
        if self._connection is not None:
            self._send(None)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_S)
        self._kill()
        self._spawner.shutdown()
        self._sender.shutdown()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # --- one pass over groups ---

    def _run_groups(
        self,
        groups: list[list[Record]],
        results: dict[str, Record],
        seconds: dict[str, float],
        *,
        prefetch: bool,
        faults: list[Fault] | None = None,
    ) -> list[Record]:
        """Run groups in order; returns the records that were in hand when something went wrong."""
        waiting = deque(groups)
        in_hand: dict[int, list[Record]] = {}
        suspects: list[Record] = []
        depth = 2 if prefetch else 1
        while waiting or in_hand:
            self._ensure_child()
            while waiting and len(in_hand) < depth:
                self._number += 1
                in_hand[self._number] = waiting.popleft()
                self._send(Work(self._number, tuple(in_hand[self._number])))
            answer = self._await(in_hand)
            if isinstance(answer, Done):
                del in_hand[answer.number]
                for record in answer.records:
                    results[record.id] = record
                for stage, value in answer.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + value
            elif isinstance(answer, Failed):
                # An exception leaves the child and the group it prepares meanwhile intact.
                assert answer.number is not None
                suspects += in_hand.pop(answer.number)
                if faults is not None:
                    faults.append(Fault("error", answer.stage, answer.message))
                if answer.fatal:
                    suspects += [record for group in in_hand.values() for record in group]
                    in_hand.clear()
                    self._kill()
            else:
                suspects += [record for group in in_hand.values() for record in group]
                in_hand.clear()
                if faults is not None:
                    faults.append(answer)
                self._kill()
        return suspects

    def _send(self, message: object) -> None:
        # In a thread: a child stuck in native code does not read, and must not block its supervisor.
        assert self._connection is not None
        self._sending = self._sender.submit(self._connection.send, message)

    def _check_sending(self) -> None:
        if self._sending is not None and self._sending.done():
            error = self._sending.exception()
            # A broken pipe shows as the end of the connection; anything else (a record that can't be pickled) is a bug.
            if error is not None and not isinstance(error, OSError):
                raise error

    def _await(self, in_hand: dict[int, list[Record]]) -> Done | Failed | Fault:
        """The next finished or failed group, or what became of the child."""
        stage = "prepare"
        size = max(len(group) for group in in_hand.values())
        deadline = time.monotonic() + self.settings.deadline_s * size
        next_check = 0.0
        while True:
            message = self._receive()
            if isinstance(message, Done | Failed):
                return message
            if isinstance(message, Progress):
                stage = message.stage
                continue
            if isinstance(message, Fault):
                return replace(message, stage=stage)
            now = time.monotonic()
            if now > deadline:
                limit = self.settings.deadline_s * size
                return Fault("timeout", stage, f"stage '{stage}' did not finish within {limit:g} s")
            if now > next_check:
                next_check = now + MEMORY_CHECK_S
                if self._too_much_memory():
                    limit = (self.settings.memory_bytes or 0) / 2**20
                    return Fault("memory", stage, f"stage '{stage}' took more than {limit:.0f} MiB of memory")

    def _receive(self) -> object:
        """A message, a Fault when the child is gone, or None when there is nothing yet."""
        assert self._connection is not None
        self._check_sending()
        try:
            if self._connection.poll(POLL_S):
                return self._connection.recv()
        except (EOFError, OSError):
            return self._crash()
        return None

    def _crash(self) -> Fault:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Fault("crashed", "prepare", f"the worker process {how}")

    def _too_much_memory(self) -> bool:
        if self.settings.memory_bytes is None:
            return False
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss) > self.settings.memory_bytes
        except psutil.NoSuchProcess:
            return False

    # --- the child's life ---

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._child is not None
        return self._child

    def _ensure_child(self) -> None:
        if self._child is not None:
            return
        # A child that was killed from outside while it loaded is no fault of the stages: once more.
        for last in (False, True):
            message = self._start_child()
            if isinstance(message, Ready):
                return
            self._kill()
            if last or isinstance(message, Failed) or message.reason == "timeout":
                raise SetupFailed(f"stage '{message.stage}' could not start: {message.message}")

    def _start_child(self) -> Ready | Failed | Fault:
        ours, theirs = Pipe()
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-c", CHILD_CODE, str(theirs.fileno()), str(os.getpid())]
        descriptor = theirs.fileno()
        self._child = self._spawner.submit(
            lambda: subprocess.Popen(command, pass_fds=[descriptor], env=environment, stdin=subprocess.DEVNULL)
        ).result()
        theirs.close()
        self._connection = ours
        self._send(self.setup)
        limit = self.settings.setup_deadline_s
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            message = self._receive()
            if isinstance(message, Ready | Failed | Fault):
                return message
        return Fault("timeout", self.setup.chain[0][0], f"the models were not loaded within {limit:g} s")

    def _kill(self) -> None:
        # The child first: its end releases a send that is blocked on its pipe.
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        if self._sending is not None:
            wait([self._sending])
            self._sending = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
