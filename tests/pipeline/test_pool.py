"""A pool's worker around its host: what goes in, what comes out, and when a part is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from committed_parts import EPOCH, annotated, commit_clips, row_of

from manifests.commits import Commit, StaleEpoch, read_rows
from manifests.records import TrackRow
from manifests.storage import StorageError, open_store
from pipeline import pool
from pipeline.annotate_phase import clip_items
from pipeline.child import Setup
from pipeline.config import Pool
from pipeline.host import HostSettings, Outcome, SetupFailed
from pipeline.phase import PartItem, PhaseSpec
from pipeline.pool import Aborted, PoolWorker, host_settings, pack, unpack
from stages.stage import Record
from stages.work import ClipWork

POOLS = (
    Pool(name="first", stages=("decode", "screen"), deadline_s=7, memory_mb=512, batch=4, prefetch=True),
    Pool(name="last", stages=("decode", "caption"), memory_mb=None),
)


class FakeHost:
    """Finds the same in every clip, takes a second, and drops the clip of `drops`; or raises `error`."""

    drops = "b" * 16
    error: Exception | None = None

    def __init__(self, setup: Setup, settings: HostSettings) -> None:
        self.setup, self.settings = setup, settings
        self.seen: list[str] = []

    def run(self, records: Sequence[Record]) -> Outcome:
        if self.error:
            raise self.error
        self.seen += [record.id for record in records]
        answers: list[Record] = []
        # In another order, and copies: what comes back from a child is never the same object.
        for record in reversed(records):
            assert isinstance(record, ClipWork)
            answer = annotated(replace(record, rejects=[]))
            if record.id == self.drops:
                answer.drop("screen", "dull", "nothing moves")
            answers.append(answer)
        return Outcome(answers, {"decode": 1.0})

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhaseSpec:
    monkeypatch.setattr(pool, "WorkerHost", FakeHost)
    url = str(tmp_path / "out")
    commit_clips(open_store(url), [row_of("a"), row_of("b"), row_of("c")])
    return PhaseSpec("annotate", url, EPOCH, 3, {"in": "/data"}, POOLS, {"screen": {"min_area": 0.5}})


def host_of(worker: PoolWorker) -> Any:
    return worker.host


def test_parts_go_through_the_pools_and_the_last_one_commits(spec: PhaseSpec) -> None:
    store = open_store(spec.url)
    first, last = PoolWorker(spec, 0), PoolWorker(spec, 1)
    (item,) = clip_items(store, "annotate")
    between = first.process(item)
    assert isinstance(between, PartItem)
    assert [record.id[0] for record in between.records] == ["a", "b", "c"]
    assert [record.dropped for record in between.records] == [False, True, False]
    assert between.seconds == {"decode": 1.0}
    assert item.seconds == {}
    commit = last.process(between)
    # What is dropped is not worked on any more, and still counts.
    assert host_of(last).seen == ["a" * 16, "c" * 16]
    assert isinstance(commit, Commit)
    assert (commit.counts["kept"], commit.counts["filtered"], commit.timings) == (2, 1, {"decode": 2.0})
    assert {row.clip_id for row in read_rows(store, commit, "tracks", TrackRow)} == {"a" * 16, "c" * 16}
    for worker in (first, last):
        worker.close()
        assert host_of(worker).closed


def test_the_host_gets_the_pools_stages_and_limits(spec: PhaseSpec) -> None:
    first = host_of(PoolWorker(spec, 0))
    assert first.setup.chain == (("decode", {}), ("screen", {"min_area": 0.5}))
    assert (first.setup.context.seed, first.setup.context.roots) == (3, {"in": "/data"})
    assert first.settings == HostSettings(7, 600, 512 * 2**20, 4, True)
    assert host_settings(spec, 1).memory_bytes is None


@pytest.mark.parametrize("error", [StorageError("disk full"), SetupFailed("no weights"), StaleEpoch("taken over")])
def test_what_is_no_records_fault_aborts_the_part(
    spec: PhaseSpec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(FakeHost, "error", error)
    (item,) = clip_items(open_store(spec.url), "annotate")
    assert PoolWorker(spec, 0).process(item) == Aborted(0, str(error))


def test_an_error_of_the_program_itself_is_not_hidden(spec: PhaseSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHost, "error", ZeroDivisionError("ours"))
    (item,) = clip_items(open_store(spec.url), "annotate")
    with pytest.raises(ZeroDivisionError):
        PoolWorker(spec, 0).process(item)


def test_a_newer_run_makes_the_commit_of_this_one_stale(spec: PhaseSpec) -> None:
    store = open_store(spec.url)
    (item,) = clip_items(store, "annotate")
    aborted = PoolWorker(replace(spec, epoch=EPOCH + 1), 1).process(item)
    assert isinstance(aborted, Aborted)
    assert "has taken over" in aborted.message
    assert clip_items(store, "annotate")


def test_payloads_travel_whole(spec: PhaseSpec) -> None:
    (item,) = clip_items(open_store(spec.url), "annotate")
    for value in (item, Aborted(3, "why")):
        assert unpack(pack(value)) == value
