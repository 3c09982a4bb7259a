"""A running child: started, spoken to, measured and ended. Nothing here waits for what the child may never do."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from pipeline.child import THREAD_VARIABLES

CHILD_CODE = "from pipeline.child import main; main()"
"""Not ``-m``: that would load the module a second time as __main__, with message classes that are not ours."""

ENDING_S = 1.0
"""A child whose connection is closed gets this long to be gone."""
WAIT_STEP_S = 0.01


class ChildProcess:
    """Messages go through two threads: a child stuck in native code neither reads nor finishes what it writes.

    `spawner` is the executor whose thread starts the process; the child dies with that thread.
    """

    def __init__(self, spawner: Executor) -> None:
        """Start it. Raises OSError when there is no room for another process."""
        self._connection, theirs = Pipe()
        with theirs:
            self._process = spawner.submit(_spawn, theirs.fileno()).result()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_write, args=(self._connection, self._outbox), name="to-child", daemon=True),
            threading.Thread(target=_read, args=(self._connection, self._inbox), name="from-child", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: object) -> None:
        """Send a message when the child reads it. Raises what pickling it raises."""
        self._outbox.put(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def receive(self, timeout_s: float) -> object:
        """The next message, None when there is none yet. Raises EOFError when the child is gone."""
        try:
            data = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            if self._has_ended():
                # A process of the child's own may hold its end open.
                self._hang_up()
            return None
        if data is None:
            raise EOFError("the child is gone")
        return pickle.loads(data)

    def resident_bytes(self) -> int:
        """Resident memory of the process; 0 when it is gone."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def wait(self, timeout_s: float) -> None:
        """Give it time to end by itself."""
        deadline = time.monotonic() + timeout_s
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(WAIT_STEP_S)

    def ending(self) -> str:
        """How a child that is gone ended, as the end of a sentence."""
        self.wait(ENDING_S)
        self.kill()
        code = self._process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def kill(self) -> None:
        """End it at once, with the processes it started."""
        if self._connection.closed:
            return
        # While it is not reaped, its number belongs to nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._hang_up()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _hang_up(self) -> None:
        with socket.socket(fileno=os.dup(self._connection.fileno())) as line, contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    # -P: a folder `models` where the user stands must not hide ours. A process group of its own: a terminal's Ctrl-C
    # is for the driver to decide about.
    command = [sys.executable, "-P", "-c", CHILD_CODE, str(descriptor), str(os.getpid())]
    return subprocess.Popen(command, pass_fds=[descriptor], env=environment, stdin=subprocess.DEVNULL, process_group=0)


def _write(connection: Connection, outbox: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError):
        while (data := outbox.get()) is not None:
            connection.send_bytes(data)


def _read(connection: Connection, inbox: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(connection.recv_bytes())
    inbox.put(None)
