"""Stages that misbehave, and ones that tell what happened to them, for the tests of the worker host."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
from pydantic import BaseModel

from stages.stage import Context, Record, Stage

FOREVER_S = 3607
"""Not a round number: processes that sleep this long are ours."""
CHUNK_BYTES = 16 * 2**20
CHUNK_PAUSE_S = 0.005


@dataclass
class Item(Record):
    """A record that remembers which stages it met, and in which process."""

    transient: ClassVar[tuple[str, ...]] = ("frames",)

    payload: bytes = b""
    frames: object = None
    stages: list[str] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)
    pid: int = 0
    result: object = None


def raise_error() -> None:
    raise ValueError("a bad\n  feather")


def raise_long_error() -> None:
    raise ValueError("feather " * 10_000)


def raise_cuda_error() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def raise_memory_error() -> None:
    raise MemoryError("Unable to allocate 5.00 PiB")


def hang() -> None:
    time.sleep(FOREVER_S)


def hang_in_native_code() -> None:
    # PyDLL keeps the interpreter's lock: no other thread of the process runs any more.
    ctypes.PyDLL(None).sleep(FOREVER_S)


def allocate_without_end() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(b"x") * CHUNK_BYTES)
        time.sleep(CHUNK_PAUSE_S)


def exit_at_once() -> None:
    os._exit(3)


def exit_politely() -> None:
    sys.exit(4)


def segfault() -> None:
    ctypes.string_at(0)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def answer_by_half() -> None:
    """Announce a message of a megabyte to the host, and never send it."""
    os.write(int(sys.argv[1]), struct.pack("!i", 2**20))
    time.sleep(FOREVER_S)


def hang_up() -> None:
    socket.socket(fileno=int(sys.argv[1])).shutdown(socket.SHUT_RDWR)
    time.sleep(FOREVER_S)


def _start_sleeper() -> None:
    # It inherits the connection to the host.
    subprocess.Popen(["sleep", str(FOREVER_S)], close_fds=False)


def crash_leaving_a_process() -> None:
    _start_sleeper()
    os._exit(3)


def hang_with_a_process() -> None:
    _start_sleeper()
    time.sleep(FOREVER_S)


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        raise_error,
        raise_long_error,
        raise_cuda_error,
        raise_memory_error,
        hang,
        hang_in_native_code,
        allocate_without_end,
        exit_at_once,
        exit_politely,
        segfault,
        be_killed,
        answer_by_half,
        hang_up,
        crash_leaving_a_process,
        hang_with_a_process,
    )
}


def happens(name: str, once: Path | None) -> bool:
    """Whether a fault happens now: always, or (with a folder to remember in) the first time only."""
    if once is None:
        return True
    try:
        (once / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class FaultySettings(BaseModel, frozen=True, extra="forbid"):
    """Which records go wrong how (id → fault), where, and a folder if only once."""

    faults: dict[str, str] = {}
    where: Literal["prepare", "run"] = "run"
    once: Path | None = None


class Faulty(Stage[Item]):
    """Goes wrong on chosen records."""

    name = "faulty"
    Settings = FaultySettings
    settings: FaultySettings

    def _perhaps(self, record: Item, where: str) -> None:
        fault = self.settings.faults.get(record.id)
        if fault and where == self.settings.where and happens(record.id, self.settings.once):
            FAULTS[fault]()

    def prepare(self, record: Item) -> None:
        self._perhaps(record, "prepare")

    def run(self, records: Sequence[Item]) -> None:
        for record in records:
            record.stages.append(self.name)
            record.pid = os.getpid()
            self._perhaps(record, "run")


class First(Stage[Item]):
    """Passes everything on."""

    name = "first"

    def prepare(self, record: Item) -> None:
        record.prepared.append(record.id)

    def run(self, records: Sequence[Item]) -> None:
        for record in records:
            record.stages.append(self.name)


class Last(First):
    """Answers with something that only this record can have."""

    name = "last"

    def run(self, records: Sequence[Item]) -> None:
        super().run(records)
        for record in records:
            record.result = f"result of {record.id}"


class SetupSettings(BaseModel, frozen=True, extra="forbid"):
    """What goes wrong in `setup`."""

    fault: str
    once: Path | None = None


class FaultySetup(Stage[Item]):
    """Cannot be set up."""

    name = "faulty_setup"
    Settings = SetupSettings
    settings: SetupSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        if happens("setup", self.settings.once):
            FAULTS[self.settings.fault]()

    def run(self, records: Sequence[Item]) -> None:
        pass


class DropSettings(BaseModel, frozen=True, extra="forbid"):
    """Ids to filter."""

    ids: tuple[str, ...] = ()
    where: Literal["prepare", "run"] = "run"


class Drop(Stage[Item]):
    """Filters chosen records."""

    name = "drop"
    Settings = DropSettings
    settings: DropSettings

    def prepare(self, record: Item) -> None:
        if self.settings.where == "prepare":
            self._judge(record)

    def run(self, records: Sequence[Item]) -> None:
        if self.settings.where == "run":
            for record in records:
                self._judge(record)

    def _judge(self, record: Item) -> None:
        if record.id in self.settings.ids:
            record.drop(self.name, "unwanted", "it is not wanted")


class Draws(Stage[Item]):
    """Takes numbers from OpenCV's global generator, from one record more than from another."""

    name = "draws"

    def prepare(self, record: Item) -> None:
        self._draw(record)

    def run(self, records: Sequence[Item]) -> None:
        for record in records:
            self._draw(record)

    def _draw(self, record: Item) -> None:
        numbers = cv2.randu(np.zeros(len(record.id), np.int32), 0, 2**30)
        record.draws += [int(number) for number in numbers.ravel()]


class Frames(Stage[Item]):
    """Puts something that cannot travel into the transient field, and a file into the scratch folder."""

    name = "frames"

    def prepare(self, record: Item) -> None:
        record.frames = threading.Lock()

    def run(self, records: Sequence[Item]) -> None:
        for record in records:
            assert record.frames is not None
            file = self.context.scratch / record.id
            file.touch()
            record.result = file


class Unreadable:
    """Pickles, but does not come back."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("not a number",)


class Untransferable(Stage[Item]):
    """Leaves on a record what pickle cannot carry."""

    name = "untransferable"

    def run(self, records: Sequence[Item]) -> None:
        for record in records:
            record.result = {"function": lambda: None, "unreadable": Unreadable()}.get(record.id)


class Noisy(Stage[Item]):
    """Writes on every channel but the host's."""

    name = "noisy"

    def setup(self, context: Context) -> None:
        super().setup(context)
        print("setting up")

    def run(self, records: Sequence[Item]) -> None:
        warnings.warn("an ordinary warning", stacklevel=1)
        print("an ordinary line")
        print("a complaint", file=sys.stderr)
        os.write(1, b"\x80\x04 bytes of native code\n")


class Slow(Stage[Item]):
    """Takes a known least time in both of its halves."""

    name = "slow"
    LEAST_S = 0.02

    def prepare(self, record: Item) -> None:
        time.sleep(self.LEAST_S)

    def run(self, records: Sequence[Item]) -> None:
        time.sleep(self.LEAST_S * len(records))


class OverlapSettings(BaseModel, frozen=True, extra="forbid"):
    """The record whose preparation the run of the one before waits for."""

    next: str


class Overlap(Stage[Item]):
    """The run of a record ends only when the next one is being prepared, which ends only after that run has begun."""

    name = "overlap"
    Settings = OverlapSettings
    settings: OverlapSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.preparing, self.running = threading.Event(), threading.Event()

    def prepare(self, record: Item) -> None:
        if record.id == self.settings.next:
            self.preparing.set()
            self.running.wait()

    def run(self, records: Sequence[Item]) -> None:
        if records[0].id != self.settings.next:
            self.running.set()
            self.preparing.wait()


class SequenceLog(Stage[Item]):
    """Numbers its calls."""

    name = "sequence_log"
    PAUSE_S = 0.1

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.calls: list[str] = []

    def prepare(self, record: Item) -> None:
        self.calls.append(f"prepare {record.id}")

    def run(self, records: Sequence[Item]) -> None:
        # A preparation that runs ahead has time to be noted before.
        time.sleep(self.PAUSE_S)
        self.calls.append(f"run {' '.join(record.id for record in records)}")
        for record in records:
            record.result = list(self.calls)


class StuckSettings(BaseModel, frozen=True, extra="forbid"):
    """Where to write the process id."""

    note: Path


class Stuck(Stage[Item]):
    """Notes its process id and never comes back from native code."""

    name = "stuck"
    Settings = StuckSettings
    settings: StuckSettings

    def run(self, records: Sequence[Item]) -> None:
        note = self.settings.note
        note.with_suffix(".part").write_text(str(os.getpid()))
        note.with_suffix(".part").rename(note)
        hang_in_native_code()
