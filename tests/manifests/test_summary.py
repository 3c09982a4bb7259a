"""The funnel: every count from the rows that count, every reason once, and what a retry takes again."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from manifest_rows import example

from manifests.commits import RUN_FILE, PartWriter
from manifests.dataset import Dataset
from manifests.records import TABLES, ClipRow, RejectRow, SampleRow, SourceRow, TrackRow
from manifests.storage import Store, open_store
from manifests.summary import failed_ids, summarise, write_summary

A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path: Path) -> Store:
    store = open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")
    store.replace(RUN_FILE, b'{"epoch": 1}')
    return store


def commit(
    store: Store, phase: str, part: int, timings: dict[str, float] | None = None, **tables: list[object]
) -> None:
    writer = PartWriter(store, phase, part, 1)
    for name, rows in tables.items():
        writer.add_table(name, TABLES[name], rows)
    if phase == "compose":
        scratch = store.scratch()
        scratch.write_bytes(bytes(1000 + part))
        writer.add_file(scratch, "shard", "shards", "part", ".tar")
    writer.commit({}, timings)


def reject(
    identity: str, phase: str, part: int, level: str, state: str, reason: str, stage: str = "probe"
) -> RejectRow:
    return example(RejectRow, id=identity, phase=phase, part=part, level=level, state=state, reason=reason, stage=stage)


def source(name: str, part: int, state: str) -> SourceRow:
    return example(SourceRow, source_id=name, ingest_part=part, state=state)


def clip(clip_id: str, part: int, position: int, kind: str) -> ClipRow:
    return example(ClipRow, clip_id=clip_id, part=part, position=position, kind=kind)


def track(clip_id: str, number: int, role: str, part: int = 0) -> TrackRow:
    return example(TrackRow, track_id=f"{clip_id}-{number:02d}", clip_id=clip_id, role=role, part=part)


def sample(clip_id: str, name: str, task: str, kind: str, split: str, part: int = 0) -> SampleRow:
    given = {"sample_id": f"{clip_id}-{name}", "clip_id": clip_id, "part": part}
    return example(SampleRow, **given, task=task, kind=kind, split=split)


@pytest.fixture
def run(store: Store) -> Store:
    """Three sources, of which one was retried with success; three clips, of which one was retried in vain."""
    commit(
        store,
        "ingest",
        0,
        {"probe": 0.25, "cut": 1.0},
        sources=[source("s", 0, "kept"), source("t", 0, "failed"), source("u", 0, "filtered")],
        rejects=[
            reject("t", "ingest", 0, "source", "failed", "unreadable"),
            reject("u", "ingest", 0, "source", "filtered", "short"),
        ],
    )
    commit(
        store,
        "ingest",
        1,
        {"probe": 0.5},
        sources=[source("t", 1, "kept")],
        rejects=[reject("t", "ingest", 1, "source", "kept", "retried")],
    )
    commit(store, "layout", 0, clips=[clip(A, 0, 0, "video"), clip(B, 0, 1, "video"), clip(C, 1, 0, "image")])
    commit(store, "layout", 1, clips=[clip(B, 2, 0, "video")])
    commit(
        store,
        "annotate",
        0,
        tracks=[track(A, 0, "entity"), track(A, 80, "background"), track(B, 0, "entity")],
        rejects=[
            reject(f"{A}-01", "annotate", 0, "track", "filtered", "small", "screen"),
            reject(f"{A}-02", "annotate", 0, "track", "filtered", "small", "screen"),
            reject(f"{A}-03", "annotate", 0, "track", "filtered", "still", "screen"),
            reject(B, "annotate", 0, "clip", "failed", "timeout", "segment"),
        ],
    )
    commit(store, "annotate", 2, rejects=[reject(B, "annotate", 2, "clip", "failed", "crashed", "segment")])
    commit(
        store,
        "compose",
        0,
        {"pack": 0.125},
        tracks=[track(A, 90, "pasted")],
        samples=[
            sample(A, "00-o-s", "add_modify", "video", "train"),
            sample(A, "00-o-m", "add_modify", "video", "train"),
            sample(A, "90-o-f", "delete", "video", "train"),
            sample(B, "00-o-s", "add_modify", "video", "train"),
        ],
    )
    commit(store, "compose", 1, samples=[sample(C, "00-o-s", "add_modify", "image", "eval", part=1)])
    return store


def test_the_funnel_counts_what_counts(run: Store):
    summary = summarise(Dataset(run))
    assert summary["sources"] == {"filtered": 1, "kept": 2}
    assert summary["clips"] == {"image": 1, "video": 2}
    assert summary["tracks"] == {"background": 1, "entity": 1, "pasted": 1}
    assert summary["samples"] == {"add_modify": 3, "delete": 1}
    assert summary["samples_by_kind"] == {"image": 1, "video": 3}
    assert summary["samples_by_split"] == {"eval": 1, "train": 3}
    assert summary["clips_with_samples"] == 2
    assert summary["parts"] == {"listing": 0, "ingest": 2, "layout": 2, "annotate": 2, "donors": 0, "compose": 2}
    assert summary["stage_seconds"] == {"probe": 0.75, "cut": 1.0, "pack": 0.125}


def test_every_reason_is_listed_once_by_level_and_number(run: Store):
    rejects = [tuple(row.values()) for row in summarise(Dataset(run))["rejects"]]
    assert rejects == [
        ("source", "filtered", "probe", "short", 1),
        ("clip", "failed", "segment", "crashed", 1),
        ("track", "filtered", "screen", "small", 2),
        ("track", "filtered", "screen", "still", 1),
    ]


def test_bytes_are_those_of_the_committed_files(run: Store):
    run.replace("shards/part-00009-00000000.tar", bytes(10**6))
    summary = summarise(Dataset(run))
    assert summary["bytes"]["shards"] == 1000 + 1001
    assert summary["bytes"]["clips"] == summary["bytes"]["masks"] == 0
    assert summary["bytes"]["manifests"] == sum(len(run.read(path)) for path in run.list("manifests"))


def test_the_summary_of_an_empty_dataset(store: Store):
    summary = summarise(Dataset(store))
    assert (summary["sources"], summary["samples"], summary["rejects"]) == ({}, {}, [])
    assert summary["clips_with_samples"] == 0


def test_the_file_says_what_is_returned(run: Store):
    written = write_summary(run)
    assert json.loads(run.read("summary.json")) == written
    assert written == summarise(Dataset(run))
    first = run.read("summary.json")
    write_summary(run)
    assert run.read("summary.json") == first


def test_a_retry_takes_what_has_failed_and_not_been_made_good(run: Store):
    assert failed_ids(run) == ([], [B])


def test_a_retry_takes_no_listing_no_track_and_nothing_filtered(store: Store):
    rows = [
        reject("s2", "ingest", 0, "source", "failed", "x"),
        reject("s1", "ingest", 0, "source", "failed", "x"),
        reject("s3", "ingest", 0, "source", "filtered", "x"),
        # Damaged at its end: the clips before were kept.
        reject("s4", "ingest", 0, "source", "failed", "damaged"),
    ]
    states = {"s1": "failed", "s2": "failed", "s3": "filtered", "s4": "kept"}
    sources = [example(SourceRow, source_id=name, state=state) for name, state in states.items()]
    commit(store, "listing", 0, rejects=[reject("no such file", "listing", 0, "source", "failed", "missing")])
    assert failed_ids(store) == ([], [])
    commit(store, "ingest", 0, sources=sources, rejects=rows)
    commit(
        store,
        "annotate",
        0,
        rejects=[
            reject(B, "annotate", 0, "clip", "failed", "x"),
            reject(f"{A}-00", "annotate", 0, "track", "failed", "x"),
        ],
    )
    commit(store, "compose", 0, rejects=[reject(A, "compose", 0, "clip", "failed", "x")])
    assert failed_ids(store) == (["s1", "s2"], [A, B])


def test_words_of_neither_vocabulary_are_counted_over_all_parts(store: Store) -> None:
    for part, words in enumerate([{"joy": 2, "rush": 1}, {}, {"joy": 1, **{f"word{i:02d}": 1 for i in range(30)}}]):
        PartWriter(store, "annotate", part, 1).commit({}, other_tags=words)
    PartWriter(store, "annotate", 3, 1).commit({})
    found = summarise(Dataset(store))["other_tags"]
    assert (found["total"], found["distinct"]) == (34, 32)
    assert list(found["most_frequent"].items())[:3] == [("joy", 3), ("rush", 1), ("word00", 1)]
    assert len(found["most_frequent"]) == 20
