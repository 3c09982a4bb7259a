"""What memory holds before it is written to: for finding results that depend on it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from tiny_dataset import job_environment


def outputs_in_filled_memory(script: str, *arguments: str) -> list[bytes]:
    """What a Python script prints when memory is handed out full of one byte, and when of another.

    glibc's MALLOC_PERTURB_ has to stand from the start of a process: mallopt(3) leaves out memory that is used again.
    """
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc fills memory on request")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**job_environment(), "MALLOC_PERTURB_": byte},
            stdout=subprocess.PIPE,
        )
        for byte in ("1", "85")
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert all(outputs)
    return outputs
