"""Progress of a phase: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from manifests.commits import Commit

LINE_EVERY_S = 10.0
STATES = ("kept", "filtered", "failed")


class PhaseProgress:
    """Counts records as parts are committed and shows rate, states and time left. Use as a context manager."""

    def __init__(self, phase: str, unit: str, total: int, console: Console) -> None:
        self.phase, self.unit, self.total, self.console = phase, unit, total, console
        self.done = 0
        self.counts = dict.fromkeys(STATES, 0)
        self._start = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(phase, total=total, note=self._note())

    def __enter__(self) -> PhaseProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self.console.is_terminal:
            self._line("done" if self.done >= self.total else "stopped")

    def _rate(self) -> float:
        return self.done / max(time.monotonic() - self._start, 1e-6)

    def _note(self) -> str:
        states = " ".join(f"{name} {self.counts[name]}" for name in STATES)
        return f"{self._rate():.2f} {self.unit}/s  {states}"

    def add(self, commit: Commit, records: int) -> None:
        """A part of `records` records is committed."""
        self.done += records
        for name in STATES:
            self.counts[name] += commit.counts.get(name, 0)
        self._bar.update(self._task, completed=self.done, note=self._note())
        if not self.console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            left = (self.total - self.done) / max(self._rate(), 1e-9)
            self._line(f"about {left:.0f} s left")

    def _line(self, note: str) -> None:
        self.console.print(
            f"{self.phase}: {self.done}/{self.total} {self.unit}, {self._note()}, {note}", highlight=False
        )


def stderr_console() -> Console:
    """Progress goes to standard error, so that output can be piped."""
    return Console(file=sys.stderr)
