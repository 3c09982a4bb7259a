"""Signals as one exception that nothing on the way swallows."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import av
import pytest
from tiny_dataset import INTERRUPTED, job_environment

from pipeline import cli
from pipeline.interrupt import Interrupted, heard, listen, raise_if_heard

SIGNALS = (signal.SIGINT, signal.SIGTERM)

pytestmark = pytest.mark.usefixtures("signals_put_back")


def interrupted_at_work(number: signal.Signals, log: list[str]) -> None:
    """Work that a signal ends, among handlers as libraries have them; more signals come while it is put in order."""
    try:
        with contextlib.suppress(Exception, KeyboardInterrupt):
            os.kill(os.getpid(), number)
        log.append("went on")
    finally:
        for again in SIGNALS:
            os.kill(os.getpid(), again)
        log.append("put in order")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_unwinds_past_handlers_of_errors_and_a_second_one_waits(number: signal.Signals) -> None:
    log: list[str] = []
    listen()
    with pytest.raises(Interrupted, match=number.name) as caught:
        interrupted_at_work(number, log)
    assert log == ["put in order"]
    assert caught.value.number == number


def test_listening_again_hears_again_after_a_library_has_set_its_own_handlers() -> None:
    listen()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)
    listen()
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("ask", [listen, raise_if_heard])
def test_a_signal_that_was_swallowed_is_raised_when_asked_for(ask: Callable[[], None]) -> None:
    listen()
    raise_if_heard()
    assert heard() is None
    with contextlib.suppress(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM"):
        ask()


class Leaving:
    """Something at whose end a signal comes."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)


class Interrupting(io.BytesIO):
    """A file at whose first reading a signal comes."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def read(self, _size: int | None = -1) -> bytes:
        if heard() is None:
            os.kill(os.getpid(), self._number)
        return b""


def open_interrupted(number: int) -> None:
    with contextlib.suppress(av.FFmpegError):
        av.open(Interrupting(number))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dropping", [Leaving, open_interrupted])
def test_a_signal_that_is_dropped_comes_again_and_nothing_is_said(
    dropping: Callable[[int], object], number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    listen()
    with pytest.raises(Interrupted, match=number.name):
        work_on(dropping, number)
    assert capfd.readouterr().err == ""


def work_on(dropping: Callable[[int], object], number: int) -> None:
    dropping(number)
    time.sleep(120)


class Broken:
    """Something that fails at its end."""

    def __del__(self) -> None:
        raise ValueError("a defect")


def test_other_errors_that_are_dropped_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    listen()
    Broken()
    assert "ValueError: a defect" in capfd.readouterr().err
    assert heard() is None
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    error = TypeError("another")
    sys.excepthook(type(error), error, None)
    assert "TypeError: another" in capfd.readouterr().err


class CutOff:
    """A lock at whose taking again, after a wait, a signal comes."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire, self.release = lock.acquire, lock.release
        self.__enter__, self.__exit__ = lock.__enter__, lock.__exit__

    def _acquire_restore(self, _state: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def wait_cut_off() -> None:
    """What `threading.Condition` does when a signal comes at the end of a wait."""
    condition = threading.Condition(CutOff())  # type: ignore[arg-type]
    with condition:
        condition.wait(0.001)


def query_cut_off() -> None:
    """What DuckDB's native code does when a signal comes during a query."""
    with contextlib.suppress(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    raise RuntimeError("Query interrupted")


@pytest.mark.parametrize(
    ("work", "says"), [(wait_cut_off, "release unlocked lock"), (query_cut_off, "Query interrupted")]
)
def test_an_error_in_the_place_of_the_signal_counts_as_the_signal(
    work: Callable[[], None], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", work)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert repr(caught.value.__context__) == f"RuntimeError('{says}')"
    assert caught.value.code == 143
    assert capsys.readouterr().err == f"{INTERRUPTED}\n"


RAY_CUT_OFF = """
import atexit, os, signal, sys
import pipeline.cli, ray
atexit.register(print, "the end of Ray")
pipeline.cli.app = lambda: print("all that was said") or os.kill(os.getpid(), signal.SIGTERM)
pipeline.cli.main()
"""


def test_ray_is_left_without_its_own_end() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RAY_CUT_OFF], env=job_environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 143, ended.stderr
    assert ended.stdout == "all that was said\n"
    assert ended.stderr == f"{INTERRUPTED}\n"


def test_who_reads_the_output_may_be_gone_before() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RAY_CUT_OFF],
        env={**job_environment(), "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as ended:
        assert ended.stdout is not None
        ended.stdout.close()
        assert ended.stderr is not None
        assert ended.stderr.read() == f"{INTERRUPTED}\n"
    assert ended.returncode == 143
