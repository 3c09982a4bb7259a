"""SIGINT and SIGTERM as one exception that unwinds the run: children end and the lock is released."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception, and not KeyboardInterrupt: libraries swallow those."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def signal_behind(error: BaseException) -> Interrupted | None:
    """The signal from which an error arose, if any.

    A signal may cut off code between taking and giving back a lock (`threading.Condition.wait` does both): unwound, it
    fails with an error of its own, which takes the place of `Interrupted`.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, Interrupted):
        behind = behind.__context__
    return behind


def _raise(number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second signal must not interrupt the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted(number)


def listen() -> None:
    """Turn both signals into `Interrupted`; to be called again after a library has set its own handlers."""
    signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)
