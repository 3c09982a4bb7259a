from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

import pytest
from rich.console import Console

from manifests.commits import Commit
from pipeline import drive as module
from pipeline.config import Pool
from pipeline.drive import Options, RunError, drive
from pipeline.interrupt import Interrupted
from pipeline.phase import PartItem, PhaseSpec
from pipeline.pool import Aborted

SPEC = PhaseSpec("latents", "out", 1, 0, {}, (Pool(name="one", stages=("decode",)),), {})
ITEMS = [PartItem(part, ()) for part in (2, 5, 7)]
SIZES = {0: 10, 2: 1, 5: 4, 7: 2}


def carry_out(patch: pytest.MonkeyPatch, answers: Sequence[Commit | Aborted]) -> tuple[int, str]:
    """Drive three parts whose pools answer so; returns the count and what was said."""

    def run_local(_spec: PhaseSpec, _items: Sequence[PartItem]) -> Iterator[Commit | Aborted]:
        yield from answers

    patch.setattr(module, "run_local", run_local)
    said = io.StringIO()
    return drive(SPEC, ITEMS, SIZES, "clips", Options(local=True), Console(file=said)), said.getvalue()


def commit(part: int) -> Commit:
    return Commit("latents", part, 1, (), {"kept": SIZES[part]})


def test_every_part_counts_with_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    committed, said = carry_out(monkeypatch, [commit(5), commit(2), commit(7)])
    assert committed == 3
    assert "latents: 7/7 clips" in said
    assert "kept 7 filtered 0 failed 0, done" in said


def test_nothing_to_do_says_nothing() -> None:
    said = io.StringIO()
    assert drive(SPEC, [], SIZES, "clips", Options(), Console(file=said)) == 0
    assert said.getvalue() == ""


def test_an_aborted_part_ends_the_run_with_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="the disk is full"):
        carry_out(monkeypatch, [commit(2), Aborted(5, "the disk is full")])


def test_lost_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"latents: 2 parts were lost with their workers \(2, 7\); run the same command"):
        carry_out(monkeypatch, [commit(5)])


@pytest.mark.usefixtures("signals_put_back")
def test_a_signal_while_ray_starts_is_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Ray's own handler does, which it sets before it connects.
    monkeypatch.setattr("pipeline.ray_runner.start_ray", lambda _address: sys.exit(15))
    with pytest.raises(Interrupted, match="SIGTERM"):
        drive(SPEC, ITEMS, SIZES, "clips", Options(), Console(file=io.StringIO()))
