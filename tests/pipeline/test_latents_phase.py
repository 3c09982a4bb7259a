"""What the two phases of a set of latents load and commit; no model takes part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from written_shards import DELETION, write_part

from manifests.commits import RUN_FILE, read_commit, read_rows
from manifests.latents import CaptionRow, LatentRow, caption_key, entry_key, latents_url
from manifests.records import RejectRow
from manifests.storage import Store, open_store
from manifests.tars import read_tar
from pipeline.latents_phase import CaptionsPhase, LatentsPhase
from pipeline.phase import PartItem
from stages.latent_work import (
    CaptionText,
    ClipLatents,
    EncodedWindow,
    Masking,
    PartOfDataset,
    clip_shape,
    distinct_windows,
    window_id,
)
from stages.windows import WindowSettings

WINDOWS = WindowSettings(height=64, width=96, frames=9, fixed=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty set beside a dataset of one part with two clips."""
    write_part(tmp_path / "out", 0, "ab")
    store = open_store(latents_url(str(tmp_path / "out"), "default"))
    store.replace(RUN_FILE, json.dumps({"epoch": 1}).encode())
    return store


def item(*captions: str, split: str | None = "train") -> PartItem:
    return PartItem(0, (PartOfDataset("part 0", split, captions),))


def loaded_clips(store: Store) -> list[ClipLatents]:
    return [record for record in LatentsPhase().load(store, item()) if isinstance(record, ClipLatents)]


def encode(store: Store, record: ClipLatents) -> None:
    """Stand-ins for latents: files that say what they are."""
    masking = Masking(record.samples[0].track_id, "original", True)
    for number, window in distinct_windows(clip_shape(record.samples[0]), WINDOWS, 0):
        for one in (None, masking):
            file = store.scratch()
            file.write_text(f"{record.id} {number} {one is not None}")
            record.encoded.append(EncodedWindow(number, window, one, file))


def test_a_part_holds_the_clips_of_the_split(store: Store) -> None:
    clips = loaded_clips(store)
    assert [clip.id for clip in clips] == ["a" * 16, "b" * 16]
    assert all(len(clip.samples) == 6 for clip in clips)
    assert all(sample.clip_id == clip.id for clip in clips for sample in clip.samples)
    assert LatentsPhase().load(store, item(split="eval")) == []
    assert len(LatentsPhase().load(store, item(split=None))) == 2


def test_the_index_leads_to_every_member(store: Store) -> None:
    clips = loaded_clips(store)
    for clip in clips:
        encode(store, clip)
    windows = distinct_windows(clip_shape(clips[0].samples[0]), WINDOWS, 0)
    commit = LatentsPhase().finish(store, 1, replace(item(), records=tuple(clips)))
    assert commit.counts == {
        "kept": 2,
        "filtered": 0,
        "failed": 0,
        "windows": 2 * len(windows),
        "masked": 2 * len(windows),
    }
    tar = commit.file("latents.tar")
    assert tar is not None
    assert tar.path.startswith("clips/part-00000-")
    rows = {row.key: row for row in read_rows(store, read_commit(store, "latents", 0), "latents", LatentRow)}
    for number, window in windows:
        plain = rows[entry_key("a" * 16, window_id(window))]
        assert store.read_range(tar.path, plain.offset, plain.size) == f"{'a' * 16} {number} False".encode()
        assert (plain.start, plain.track_id, plain.kive) == (window.indices[0], None, None)
        masked = rows[entry_key("a" * 16, window_id(window), f"{'a' * 16}-00", "original", True)]
        assert store.read_range(tar.path, masked.offset, masked.size) == f"{'a' * 16} {number} True".encode()
        assert masked.member == f"{'a' * 16}.window-{number}.track-00.original.kive.safetensors"
    assert sorted(read_tar(store.read(tar.path))) == sorted(row.member for row in rows.values())
    store.clear_scratch()
    assert not any(one.file.exists() for clip in clips for one in clip.encoded)


def test_a_failed_clip_is_a_row_of_rejects_without_folders(store: Store) -> None:
    good, bad = loaded_clips(store)
    encode(store, good)
    bad.reject(bad.id, "clip", "encode", "error", f"{store.url}/x and {store.url[:-16]}/y are broken", state="failed")
    bad.dropped = True
    commit = LatentsPhase().finish(store, 1, replace(item(), records=(good, bad)))
    assert (commit.counts["kept"], commit.counts["failed"]) == (1, 1)
    (reject,) = read_rows(store, commit, "rejects", RejectRow)
    assert (reject.id, reject.phase, reject.state) == (bad.id, "latents", "failed")
    assert reject.message == "…/x and …/y are broken"
    assert {row.clip_id for row in read_rows(store, commit, "latents", LatentRow)} == {good.id}


def test_a_part_without_anything_is_committed(store: Store) -> None:
    commit = LatentsPhase().finish(store, 1, replace(item(), records=()))
    assert (commit.files, commit.counts["windows"]) == ((), 0)
    assert read_commit(store, "latents", 0) == commit


def test_captions_are_found_by_their_text(store: Store) -> None:
    phase = CaptionsPhase()
    records = [
        record for record in phase.load(store, item("", DELETION, "A square.")) if isinstance(record, CaptionText)
    ]
    assert [record.caption for record in records] == ["", "A square.", DELETION]
    assert len({record.id for record in records}) == 3
    for number, record in enumerate(records):
        record.file, record.tokens = store.scratch(), number + 1
        record.file.write_text(record.caption or "empty")
    records[1].dropped = True
    commit = phase.finish(store, 1, replace(item(), records=tuple(records)))
    assert commit.counts == {"kept": 2, "filtered": 1, "failed": 0, "tokens": 4}
    tar = commit.file("captions.tar")
    assert tar is not None
    rows = {row.key: row for row in read_rows(store, commit, "captions", CaptionRow)}
    assert set(rows) == {caption_key(""), caption_key(DELETION)}
    found = rows[caption_key(DELETION)]
    assert store.read_range(tar.path, found.offset, found.size) == DELETION.encode()
