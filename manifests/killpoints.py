"""Named moments at which a test may kill the process, to prove that nothing is lost or doubled.

Without the environment variables this does nothing. ``VIVID_KILL_POINT=<name>`` sends SIGKILL to the process that
reaches that point; ``VIVID_KILL_LOG=<file>`` appends every point reached, so that a test can first list them all.
"""

from __future__ import annotations

import os
import signal

_KILL_AT = os.environ.get("VIVID_KILL_POINT")
_LOG = os.environ.get("VIVID_KILL_LOG")


def reach(name: str) -> None:
    """Say that the point `name` has been reached."""
    if _LOG:
        with open(_LOG, "a") as log:
            log.write(name + "\n")
    if name == _KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
