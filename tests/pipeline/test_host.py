from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from manifests.storage import open_store
from pipeline.child import LONGEST_MESSAGE, Setup
from pipeline.host import HostSettings, Outcome, SetupFailed, WorkerHost
from stages.stage import Context

from faulty_stages import FAULTS, FOREVER_S, Item, Slow  # isort: skip - beside this file

DEADLINE_S = 2.0
MEMORY_BYTES = 320 * 2**20
PAYLOAD = bytes(4 * 2**20)
"""More than a socket holds: sending it waits for the reader."""

Step = str | tuple[str, dict[str, Any]]
HostMaker = Callable[..., WorkerHost]


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[HostMaker]:
    """Makes hosts of stages in `faulty_stages`; checks at the end that they leave no process and no file."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    hosts: list[WorkerHost] = []

    def make(*chain: Step, **limits: Any) -> WorkerHost:
        steps = [(step, {}) if isinstance(step, str) else step for step in chain]
        named = tuple((f"faulty_stages:{name}", settings) for name, settings in steps)
        context = Context(open_store(tmp_path / "out"), scratch, seed=5, roots={})
        defaults = {"deadline_s": 60, "setup_deadline_s": 60, "memory_bytes": None}
        hosts.append(WorkerHost(Setup(named, context), HostSettings(**(defaults | limits))))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()
    assert processes() == []
    assert list(scratch.iterdir()) == []


def processes() -> list[psutil.Process]:
    """Living processes that were started from this one, but for the helper of Python's own multiprocessing."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if (line := command_line(p)) and "multiprocessing.resource_tracker" not in line]


def command_line(process: psutil.Process) -> str:
    """Of a living process; empty for one that is gone or about to be."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # Zombies among them.
        return ""


def sleepers() -> list[psutil.Process]:
    """Processes that a stage has started, whoever their parent is now."""
    own = psutil.Process().username()
    every = psutil.process_iter(["username", "cmdline", "status"])
    return [p for p in every if p.info["username"] == own and p.info["cmdline"] == ["sleep", str(FOREVER_S)]]


def wait_for(condition: Callable[[], bool], limit_s: float = 120) -> None:
    """Wait until something is so, and fail if it does not come."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def items(*ids: str, payload: bytes = b"") -> list[Item]:
    return [Item(name, payload=payload) for name in ids]


def run(host: WorkerHost, records: Sequence[Item]) -> list[Item]:
    outcome = host.run(records)
    assert all(isinstance(record, Item) for record in outcome.records)
    return outcome.records  # type: ignore[return-value]


def assert_intact(record: Item, stages: Sequence[str]) -> None:
    """The record has met every stage once, and has its own result."""
    assert not record.dropped
    assert record.rejects == []
    assert record.stages == list(stages)
    assert record.prepared == [record.id] * sum(name in ("first", "last") for name in stages)
    assert record.result == f"result of {record.id}"


def assert_failed(record: Item, reason: str, stage: str, message: str) -> None:
    """The record is as it came in, with the one reject that says why."""
    (reject,) = record.rejects
    assert record.dropped
    assert record.stages == []
    assert (reject.id, reject.level, reject.state) == (record.id, "clip", "failed")
    assert (reject.reason, reject.stage) == (reason, stage)
    assert message in reject.message
    assert "\n" not in reject.message


# --- faults of records ---

REASONS = {
    "raise_error": ("error", "ValueError: a bad feather"),
    "hang": ("timeout", f"did not finish within {DEADLINE_S:g} s"),
    "allocate_without_end": ("memory", "more than 320 MiB of memory"),
    "exit_at_once": ("crashed", "ended with exit code 3"),
    "segfault": ("crashed", "was killed by SIGSEGV"),
    "be_killed": ("crashed", "was killed by SIGKILL"),
}
SPREADS = [
    pytest.param(False, 1, ("raise_error", "segfault"), id="batch 1"),
    pytest.param(True, 1, ("exit_at_once", "allocate_without_end"), id="batch 1, prefetch"),
    pytest.param(False, 3, ("raise_error", "be_killed"), id="batch 3"),
    pytest.param(True, 3, ("hang", "raise_error"), id="batch 3, prefetch"),
]


def _mixed(faults: Sequence[str]) -> tuple[list[Item], dict[str, str]]:
    """Two good records before each bad one, and one at the end."""
    names = [name for i, fault in enumerate(faults) for name in (f"good-{2 * i}", f"good-{2 * i + 1}", fault)]
    return items(*names, "good-last"), {fault: fault for fault in faults}


@pytest.mark.parametrize(("prefetch", "batch", "faults"), SPREADS)
def test_a_fault_that_happens_once_costs_nothing(
    make_host: HostMaker, tmp_path: Path, prefetch: bool, batch: int, faults: Sequence[str]
) -> None:
    records, wrong = _mixed(faults)
    faulty = ("Faulty", {"faults": wrong, "once": tmp_path})
    limits = {"deadline_s": DEADLINE_S, "memory_bytes": MEMORY_BYTES, "prefetch": prefetch, "batch": batch}
    done = run(make_host("First", faulty, "Last", **limits), records)
    assert [record.id for record in done] == [record.id for record in records]
    assert all((tmp_path / fault).exists() for fault in faults)
    for record in done:
        assert_intact(record, ("first", "faulty", "last"))


@pytest.mark.parametrize(("prefetch", "batch", "faults"), SPREADS)
def test_a_fault_that_happens_always_costs_its_record_only(
    make_host: HostMaker, prefetch: bool, batch: int, faults: Sequence[str]
) -> None:
    records, wrong = _mixed(faults)
    limits = {"deadline_s": DEADLINE_S, "memory_bytes": MEMORY_BYTES, "prefetch": prefetch, "batch": batch}
    done = run(make_host("First", ("Faulty", {"faults": wrong}), "Last", **limits), records)
    assert [record.id for record in done] == [record.id for record in records]
    for record in done:
        if record.id in wrong:
            assert_failed(record, REASONS[record.id][0], "faulty", REASONS[record.id][1])
        else:
            assert_intact(record, ("first", "faulty", "last"))


@pytest.mark.parametrize(("prefetch", "fault"), [(False, "hang"), (True, "segfault"), (True, "raise_error")])
def test_a_fault_in_prepare_is_put_down_to_its_stage(make_host: HostMaker, prefetch: bool, fault: str) -> None:
    faulty = ("Faulty", {"faults": {"bad": fault}, "where": "prepare"})
    host = make_host("First", faulty, "Last", deadline_s=DEADLINE_S, prefetch=prefetch)
    a, bad, b = run(host, items("a", "bad", "b"))
    assert_failed(bad, REASONS[fault][0], "faulty", REASONS[fault][1])
    for record in (a, b):
        assert_intact(record, ("first", "faulty", "last"))


def test_an_exception_keeps_the_process_and_a_lost_device_does_not(make_host: HostMaker, tmp_path: Path) -> None:
    faults = {"error": "raise_error", "cuda": "raise_cuda_error"}
    host = make_host(("Faulty", {"faults": faults, "once": tmp_path}))
    a, error, b, cuda, c = run(host, items("a", "error", "b", "cuda", "c"))
    assert a.pid == b.pid != cuda.pid
    assert error.pid == cuda.pid == c.pid, "those given up are tried again at the end"


def test_what_an_exception_says(make_host: HostMaker) -> None:
    faults = {"memory": "raise_memory_error", "long": "raise_long_error", "exit": "exit_politely"}
    memory, long, left = run(make_host(("Faulty", {"faults": faults})), items("memory", "long", "exit"))
    assert_failed(memory, "memory", "faulty", "Unable to allocate 5.00 PiB")
    assert_failed(long, "error", "faulty", "ValueError: feather feather")
    assert len(long.rejects[0].message) <= len("ValueError: ") + LONGEST_MESSAGE
    assert_failed(left, "crashed", "faulty", "ended with exit code 4")


def test_a_result_that_cannot_travel_costs_its_record_only(make_host: HostMaker) -> None:
    function, unreadable, good = run(make_host("Untransferable"), items("function", "unreadable", "good"))
    assert_failed(function, "error", "untransferable", "lambda")
    assert_failed(unreadable, "error", "untransferable", "cannot be read back: ValueError: invalid literal")
    assert not good.dropped


def test_a_child_that_answers_by_half_does_not_hold_up_its_supervisor(make_host: HostMaker, tmp_path: Path) -> None:
    faulty = ("Faulty", {"faults": {"half": "answer_by_half", "mute": "hang_up"}, "once": tmp_path})
    done = run(make_host("First", faulty, "Last", deadline_s=DEADLINE_S), items("half", "mute", "good"))
    for record in done:
        assert_intact(record, ("first", "faulty", "last"))


@pytest.mark.parametrize("where", ["prepare", "run"])
def test_a_child_stuck_in_native_code_does_not_hold_up_its_supervisor(make_host: HostMaker, where: str) -> None:
    faulty = ("Faulty", {"faults": {"stuck": "hang_in_native_code"}, "where": where})
    host = make_host("First", faulty, "Last", deadline_s=DEADLINE_S, prefetch=True)
    done = run(host, items("a", "stuck", "b", "c", payload=PAYLOAD))
    assert_failed(done.pop(1), "timeout", "faulty", "did not finish")
    for record in done:
        assert_intact(record, ("first", "faulty", "last"))
        assert record.payload == PAYLOAD


@pytest.mark.parametrize("fault", ["crash_leaving_a_process", "hang_with_a_process"])
def test_processes_of_a_stage_end_with_it(make_host: HostMaker, fault: str) -> None:
    # They hold the connection open, too: the end of the child must be seen all the same.
    faulty = ("Faulty", {"faults": {"bad": fault}})
    deadline = DEADLINE_S if fault.startswith("hang") else 60
    (record,) = run(make_host(faulty, deadline_s=deadline), items("bad"))
    assert record.rejects[0].reason == ("timeout" if fault.startswith("hang") else "crashed")
    wait_for(lambda: not sleepers())


def test_a_child_killed_while_it_waits_is_replaced(make_host: HostMaker) -> None:
    host = make_host("First", "Last")
    run(host, items("a"))
    (child,) = processes()
    child.kill()
    wait_for(lambda: not processes())
    (record,) = run(host, items("b"))
    assert_intact(record, ("first", "last"))


# --- setup ---


def test_a_setup_that_raises_is_one_sentence(make_host: HostMaker) -> None:
    host = make_host("First", ("FaultySetup", {"fault": "raise_error"}))
    for _ in range(2):
        with pytest.raises(SetupFailed) as caught:
            host.run(items("a"))
        assert str(caught.value) == "stage 'faulty_stages:FaultySetup' could not start: ValueError: a bad feather"
        assert processes() == []


def test_a_setup_that_crashes_once_goes_on(make_host: HostMaker, tmp_path: Path) -> None:
    host = make_host(("FaultySetup", {"fault": "segfault", "once": tmp_path}), "First", "Last")
    (record,) = run(host, items("a"))
    assert_intact(record, ("first", "last"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("segfault", "the worker process was killed by SIGSEGV"),
        ("hang_in_native_code", "the worker did not finish within 1.5 s"),
        ("allocate_without_end", "the worker took more than 320 MiB of memory"),
    ],
)
def test_a_setup_that_never_succeeds(make_host: HostMaker, fault: str, message: str) -> None:
    deadline = 1.5 if "hang" in fault else 60
    host = make_host(("FaultySetup", {"fault": fault}), setup_deadline_s=deadline, memory_bytes=MEMORY_BYTES)
    with pytest.raises(SetupFailed, match=f"^stage 'faulty_stages:FaultySetup' could not start: {message}$"):
        host.run(items("a"))
    assert processes() == []


def test_a_system_without_room_for_a_process_is_no_fault_of_a_record(
    make_host: HostMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(SetupFailed, match=r"^no worker process can be started: Resource temporarily unavailable$"):
        make_host("First").run(items("a"))


# --- the child's life ---

PARENT = """
import sys
from pathlib import Path
from manifests.storage import open_store
from pipeline.child import Setup
from pipeline.host import HostSettings, WorkerHost
from stages.stage import Context
from faulty_stages import Item

folder = Path(sys.argv[1])
chain = (("faulty_stages:Stuck", {"note": str(folder / "pid")}),)
setup = Setup(chain, Context(open_store(folder), folder, 0, {}))
WorkerHost(setup, HostSettings(60, 60, None)).run([Item("a")])
"""


def test_a_child_stuck_in_native_code_dies_with_its_parent(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=environment)
    try:
        wait_for((tmp_path / "pid").exists)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        assert child.ppid() == parent.pid
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs([child], timeout=60)
    assert alive == []


def test_a_child_outlives_the_thread_that_used_the_host_first(make_host: HostMaker, tmp_path: Path) -> None:
    host = make_host(("Faulty", {"faults": {}}))
    results: list[Item] = []
    thread = threading.Thread(target=lambda: results.extend(run(host, items("a"))))
    thread.start()
    thread.join()
    (child,) = processes()
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(0.3)
    assert run(host, items("b"))[0].pid == results[0].pid == child.pid
    assert os.getpgid(child.pid) != os.getpgid(0), "a terminal's Ctrl-C would reach it"


def test_transient_fields_stay_in_the_child_and_files_until_close(make_host: HostMaker, tmp_path: Path) -> None:
    host = make_host("Frames", batch=2)
    record, other = run(host, items("a", "b"))
    assert [record.rejects, other.rejects] == [[], []]
    assert [record.frames, other.frames] == [None, None]
    assert isinstance(record.result, Path)
    assert record.result.exists()
    assert record.result.is_relative_to(tmp_path / "scratch")
    (child,) = processes()
    host.close()
    assert not child.is_running()
    assert not record.result.exists()
    assert list((tmp_path / "scratch").iterdir()) == []
    host.close()


def test_a_folder_where_the_user_stands_does_not_hide_a_package(
    make_host: HostMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text("raise RuntimeError('not these stages')")
    monkeypatch.chdir(tmp_path)
    (record,) = run(make_host("First", "Last"), items("a"))
    assert_intact(record, ("first", "last"))


def test_after_an_interrupted_run_the_next_one_gets_its_own_answers(make_host: HostMaker) -> None:
    host = make_host("First", "Last", prefetch=True)
    unsendable = Item("b", frames=threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        host.run([*items("a"), unsendable])
    assert processes() == []
    done = run(host, items("c", "d"))
    for record in done:
        assert_intact(record, ("first", "last"))


def test_no_records_need_no_process(make_host: HostMaker) -> None:
    assert make_host("First").run([]) == Outcome([], {})
    assert processes() == []


# --- what comes back ---


def test_results_are_not_swapped(make_host: HostMaker) -> None:
    names = [f"record-{number}" for number in (5, 3, 9, 1, 7, 0, 8, 2)]
    faulty = ("Faulty", {"faults": {"record-9": "raise_error", "record-8": "raise_error"}})
    done = run(make_host("First", faulty, "Last", prefetch=True, batch=3), items(*names))
    assert [record.id for record in done] == names
    assert [record.id for record in done if record.dropped] == ["record-9", "record-8"]
    for record in done:
        if not record.dropped:
            assert_intact(record, ("first", "faulty", "last"))


def test_later_stages_do_not_see_a_filtered_record(make_host: HostMaker) -> None:
    early, late = ("Drop", {"ids": ("a",), "where": "prepare"}), ("Drop", {"ids": ("c",)})
    a, b, c = run(make_host("First", early, late, "Last", batch=2), items("a", "b", "c"))
    for record in (a, c):
        assert record.dropped
        assert [(reject.stage, reject.state) for reject in record.rejects] == [("drop", "filtered")]
    assert (a.prepared, a.stages) == (["a"], [])
    assert (c.prepared, c.stages) == (["c", "c"], ["first"])
    assert (b.prepared, b.stages) == (["b", "b"], ["first", "last"])


def test_draws_of_opencv_depend_on_the_record_only(make_host: HostMaker) -> None:
    def draws(host: WorkerHost, *names: str) -> dict[str, list[int]]:
        return {record.id: record.draws for record in run(host, items(*names))}

    singly, together = make_host("Draws", "Draws"), make_host("Draws", "Draws", batch=3, prefetch=True)
    first = draws(singly, "b")["b"]
    assert len(set(first)) == 1, "every stage begins with the same state, in whichever pool it is"
    expected = draws(singly, "aaa", "b", "cc")
    assert expected["b"] == first
    assert draws(together, "cc", "aaa", "b", "dddd") == draws(singly, "dddd", "cc", "b", "aaa")
    assert draws(together, "b", "aaa", "cc") == expected
    assert len({drawn[0] for drawn in expected.values()}) == 3


def test_the_seconds_of_each_stage_add_up(make_host: HostMaker) -> None:
    outcome = make_host("First", "Slow", batch=2).run(items("a", "b", "c"))
    assert set(outcome.seconds) == {"first", "slow"}
    assert outcome.seconds["slow"] >= 3 * 2 * Slow.LEAST_S
    assert outcome.seconds["first"] >= 0


def test_with_prefetch_the_next_record_is_prepared_during_the_present_one(make_host: HostMaker) -> None:
    # Each half waits for the other: without overlap the first record would run into the deadline.
    host = make_host(("Overlap", {"next": "b"}), prefetch=True, deadline_s=5)
    assert [record.rejects for record in run(host, items("a", "b"))] == [[], []]


def test_without_prefetch_records_are_worked_on_one_after_another(make_host: HostMaker) -> None:
    *_, last = run(make_host("SequenceLog", batch=2), items("a", "b", "c"))
    assert last.result == ["prepare a", "prepare b", "run a b", "prepare c", "run c"]


def test_what_a_stage_prints_does_not_reach_the_host(make_host: HostMaker, capfd: pytest.CaptureFixture[str]) -> None:
    done = run(make_host("Noisy", "First", "Last"), items("a", "b"))
    for record in done:
        assert_intact(record, ("first", "last"))
    assert "an ordinary line" in capfd.readouterr().out


def test_every_fault_of_the_collection_is_tried() -> None:
    tests = Path(__file__).read_text()
    assert all(f'"{name}"' in tests for name in FAULTS)


def test_a_kill_from_outside_during_the_work_costs_nothing(make_host: HostMaker, tmp_path: Path) -> None:
    host = make_host(("Faulty", {"faults": {"a": "hang"}, "once": tmp_path}), "First", "Last")
    results: list[Item] = []
    thread = threading.Thread(target=lambda: results.extend(run(host, items("a", "b"))))
    thread.start()
    wait_for((tmp_path / "a").exists)
    (child,) = processes()
    child.send_signal(signal.SIGTERM)
    thread.join()
    for record in results:
        assert_intact(record, ("faulty", "first", "last"))
    assert len(results) == 2
