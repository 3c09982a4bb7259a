"""Starting a training in processes of its own, several of them where a launcher does so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tiny_dataset import job_environment


def meeting_port() -> str:
    """A port for the processes to meet at, another one for every test process."""
    return str(20000 + os.getpid() % 20000)


def run_on_cpus(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a folder, on CPUs."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**job_environment(), "ACCELERATE_USE_CPU": "true"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
