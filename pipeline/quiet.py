"""Keeps the terminal for people: what native code prints on standard error while Ray runs is not for them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Send descriptor 2 to nowhere, while Python's `sys.stderr` still writes to the terminal.

    Ray's core prints a warning about its own actors there at every start; the same goes to Ray's log files. Set
    ``VIVID_LOG`` to see everything.
    """
    if os.environ.get("VIVID_LOG"):
        yield
        return
    sys.stderr.flush()
    kept, python_stderr = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Like Python's own: a file name that the terminal cannot show must not end the job.
    sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        sys.stderr.close()
        sys.stderr = python_stderr
        os.close(kept)
        os.close(nowhere)
