"""Progress where there is no terminal: plain lines, each whole, with a believable time left."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from manifests.commits import Commit
from pipeline import progress
from pipeline.progress import PhaseProgress


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def commit(kept: int = 0, filtered: int = 0, failed: int = 0) -> Commit:
    return Commit("annotate", 0, 1, (), {"kept": kept, "filtered": filtered, "failed": failed, "tracks": 99})


def test_a_pipe_gets_one_whole_line_now_and_then_and_one_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    with PhaseProgress("annotate", "clips", 100_000, Console(file=out, width=40)) as phase:
        clock.now += 5
        phase.add(commit(kept=1000), 1000)
        assert out.getvalue() == ""
        clock.now += 15
        phase.add(commit(kept=8000, filtered=900, failed=100), 9000)
        clock.now += 9
        phase.add(commit(kept=1), 1)
    assert out.getvalue().splitlines() == [
        "annotate: 10000/100000 clips, 500/s kept 9000 filtered 900 failed 100, 3.0 min left",
        "annotate: 10001/100000 clips, 345/s kept 9001 filtered 900 failed 100, stopped",
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("done", "total", "after_s", "left"),
    [
        (10, 20, 30, "30 s left"),
        (1, 90, 1, "89 s left"),
        (10, 30, 600, "20 min left"),
        (1, 100, 60, "1.6 h left"),
        (1, 100_001, 3600, "100000 h left"),
        (20, 20, 60, "0 s left"),
        (0, 20, 60, "time left unknown"),
    ],
)
def test_the_time_left_has_a_fitting_unit_and_is_not_made_up(
    clock: Clock, done: int, total: int, after_s: float, left: str
) -> None:
    out = io.StringIO()
    phase = PhaseProgress("ingest", "sources", total, Console(file=out))
    clock.now += max(after_s, progress.LINE_EVERY_S + 1)
    phase._start = clock.now - after_s
    phase.add(commit(kept=done), done)
    assert out.getvalue().endswith(f", {left}\n")


def test_a_phase_that_comes_to_its_end_is_done(clock: Clock) -> None:
    out = io.StringIO()
    with PhaseProgress("compose", "clips", 3, Console(file=out)) as phase:
        clock.now += 4
        phase.add(commit(kept=2), 2)
        phase.add(commit(failed=1), 1)
    assert out.getvalue() == "compose: 3/3 clips, 0.75/s kept 2 filtered 0 failed 1, done\n"


def test_an_error_stops_the_phase_and_passes_through(clock: Clock) -> None:
    out = io.StringIO()
    with pytest.raises(RuntimeError, match="full"), PhaseProgress("compose", "clips", 3, Console(file=out)):
        raise RuntimeError("full")
    assert out.getvalue() == "compose: 0/3 clips, 0/s kept 0 filtered 0 failed 0, stopped\n"


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_every_number_in_one_line(clock: Clock, width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with PhaseProgress("annotate", "clips", 9876, console) as phase:
        clock.now += 3
        phase.add(commit(kept=1000, filtered=20, failed=3), 1023)
    last = out.getvalue().splitlines()[-2]
    for shown in ("annotate", "1023/9876", "341/s", "kept 1000 filtered 20 failed 3", "26 s left"):
        assert shown in last
    assert "…" not in last
