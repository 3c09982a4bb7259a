"""Signals as one exception that nothing on the way swallows."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from pipeline.interrupt import Interrupted, listen

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
