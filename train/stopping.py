"""Asking a training to stop: SIGTERM and Ctrl-C are kept until the step at hand is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """The signal that asked to stop, 0 before one came."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Within, a signal is only noted; a second one of its kind does what it would without us."""
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread alone.
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def remember(number: int, _frame: FrameType | None) -> None:
            self.number = number
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, remember)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
