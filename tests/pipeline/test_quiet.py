"""Native noise is swallowed, Python's words are not."""

from __future__ import annotations

import os
import sys

import pytest

from pipeline.quiet import quiet_native_stderr


def speak(text: str) -> None:
    os.write(2, f"native {text}\n".encode())
    print(f"python {text}", file=sys.stderr)


def test_only_what_native_code_says_is_swallowed_and_only_inside(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIVID_LOG", raising=False)
    before = sys.stderr
    with quiet_native_stderr():
        speak("inside")
    speak("after")
    assert sys.stderr is before
    assert capfd.readouterr().err.splitlines() == ["python inside", "native after", "python after"]


def test_all_is_as_before_after_an_error(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIVID_LOG", raising=False)
    before, open_files = sys.stderr, len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no Path per descriptor
    with pytest.raises(KeyError), quiet_native_stderr():
        raise KeyError
    assert sys.stderr is before
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208
    speak("after")
    assert capfd.readouterr().err == "native after\npython after\n"


def test_a_word_that_the_terminal_cannot_show_ends_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIVID_LOG", raising=False)
    with quiet_native_stderr():
        print("broken \udcff name", file=sys.stderr)
    assert "broken" in capfd.readouterr().err


def test_everything_is_shown_on_demand(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIVID_LOG", "1")
    with quiet_native_stderr():
        speak("inside")
    assert capfd.readouterr().err == "native inside\npython inside\n"
