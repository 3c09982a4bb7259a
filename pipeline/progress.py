"""Progress of a phase: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

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
            TextColumn("{task.description:<8}"),
            # On a narrow terminal the bar shrinks, not the numbers.
            BarColumn(),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            # Not rich's own: it forgets what is half a minute old, and a part may take longer.
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(phase, total=total, note=self._note(), left="")

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
        return f"{self._rate():.3g}/s {states}"

    def add(self, commit: Commit, records: int) -> None:
        """A part of `records` records is committed."""
        self.done += records
        for name in STATES:
            self.counts[name] += commit.counts.get(name, 0)
        self._bar.update(self._task, completed=self.done, note=self._note(), left=self._time_left())
        if not self.console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._line(self._time_left())

    def _time_left(self) -> str:
        if not self.done:
            return "time left unknown"
        return f"{_duration((self.total - self.done) / self._rate())} left"

    def _line(self, note: str) -> None:
        # A pipe has no width: rich would break the line after 80 columns.
        self.console.print(
            f"{self.phase}: {self.done}/{self.total} {self.unit}, {self._note()}, {note}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _duration(seconds: float) -> str:
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds:.0f} s"
