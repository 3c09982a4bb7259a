"""Signals as one exception that nothing on the way swallows."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline import cli
from pipeline.interrupt import Interrupted, listen, signal_behind

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    kept = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, kept, strict=True):
        signal.signal(number, handler)


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


def test_listening_again_hears_again() -> None:
    listen()
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    listen()
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)


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


def test_the_error_of_a_lock_that_a_signal_cut_off_is_the_signal() -> None:
    listen()
    with pytest.raises(RuntimeError, match="release unlocked lock") as caught:
        wait_cut_off()
    found = signal_behind(caught.value)
    assert found is not None
    assert found.number == signal.SIGTERM


def test_an_error_after_other_errors_is_no_signal() -> None:
    first, second = KeyError("first"), ValueError("second")
    second.__context__ = first
    assert signal_behind(second) is None


def test_the_command_line_takes_such_an_error_for_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", wait_cut_off)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 143
    assert capsys.readouterr().err == "vivid: interrupted; the same command goes on where it stopped\n"
