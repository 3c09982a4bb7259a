"""SIGINT and SIGTERM as one exception that unwinds the run: children end and the lock is released."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import NoReturn


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception, and not KeyboardInterrupt: libraries swallow those."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_heard: Interrupted | None = None
_AGAIN_S = 0.01
"""When a signal is sent again whose exception was dropped: the code that dropped it has returned by then."""


def heard() -> Interrupted | None:
    """The signal that came since `listen`, if one did.

    What was raised for it may not arrive: a lock that is cut off (`threading.Condition.wait`) fails with an error of
    its own, and native code (DuckDB's) puts one in its place.
    """
    return _heard


def raise_if_heard() -> None:
    """Raise the signal once more, if one came: to be called wherever a long run could end."""
    if _heard is not None:
        raise _heard


def hear(number: int) -> NoReturn:
    """Take note of a signal and raise Interrupted."""
    global _heard
    # Once is enough: a second signal must not interrupt the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Not in `listen`: Typer sets a hook of its own after it.
    sys.excepthook = _printed
    _heard = Interrupted(number)
    raise _heard


def _raise(number: int, _frame: FrameType | None) -> None:
    hear(number)


def _handle() -> None:
    signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)


def _printed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Not a word about what comes again: Cython prints an exception before it drops it."""
    if not isinstance(error, Interrupted):
        sys.__excepthook__(kind, error, trace)


def _dropped(dropped: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose exception Python drops: one in a destructor, or in a callback of PyAV's native code."""
    error = dropped.exc_value
    if not isinstance(error, Interrupted):
        sys.__unraisablehook__(dropped)
        return
    _handle()
    main = threading.main_thread().ident
    assert main is not None, "it has begun"
    again = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, error.number))
    again.daemon = True
    again.start()


def listen() -> None:
    """Turn both signals into `Interrupted`; to be called again after a library has set its own handlers.

    Raises Interrupted when a signal came before and something swallowed it.
    """
    raise_if_heard()
    sys.unraisablehook = _dropped
    _handle()
