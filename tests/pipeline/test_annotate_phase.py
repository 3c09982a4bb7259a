"""ANNOTATE's ends: which clips are to be done and where they lie, and what a part's commit holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from committed_parts import CLIPS, EPOCH, annotated, begin, commit_clips, commit_ingest, commit_layout, row_of
from small_work import PIXELS, block, image_row, track_of, work_of

from manifests.commits import read_commit, read_rows
from manifests.masks import MaskTrack
from manifests.records import RejectRow, TrackRow
from manifests.storage import Store, open_store
from manifests.tars import read_tar
from models.protocols import Tag
from pipeline.annotate_phase import AnnotatePhase, clip_items, clip_locations, track_row
from pipeline.phase import PartItem
from stages.work import ClipWork, Pasting


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "out")


def works(item: PartItem) -> list[ClipWork]:
    return [work for work in item.records if isinstance(work, ClipWork)]


def test_items_are_the_laid_out_parts_that_are_not_committed(store: Store) -> None:
    begin(store)
    rows = [row_of("a"), row_of("b"), row_of("c", 1, ingest_part=1), row_of("d", 2, ingest_part=1)]
    commit_ingest(store, 0, rows[:2])
    commit_ingest(store, 1, rows[2:])
    commit_layout(store, 0, rows, [0, 1])
    commit_layout(store, 1, [row_of("a", 3)], [], retried=["a" * 16])
    AnnotatePhase().finish(store, EPOCH, PartItem(1, ()))
    items = clip_items(store, "annotate")
    assert [(item.part, [work.id[0] for work in works(item)]) for item in items] == [
        (0, ["a", "b"]),
        (2, ["d"]),
        (3, ["a"]),
    ]
    assert items[0].retried == {"a" * 16}
    for item in items:
        for work in works(item):
            where = work.location
            assert store.read_range(where.path, where.offset, where.size) == CLIPS[work.id]
            assert work.clip.part == item.part
    # Another phase has its own commits.
    assert [item.part for item in clip_items(store, "compose")] == [0, 1, 2, 3]
    assert set(clip_locations(store, [1])) == {"c" * 16, "d" * 16}


def test_a_part_holds_every_track_of_the_clips_that_are_left(store: Store) -> None:
    commit_clips(store, [row_of("a"), row_of("b"), row_of("c")])
    (item,) = clip_items(store, "annotate")
    kept, filtered, failed = works(item)
    for work in (kept, filtered, failed):
        annotated(work)
    filtered.drop("screen", "dull", f"nothing moves in {store.url}/clips", value=0.1, threshold=0.2)
    failed.reject(failed.id, "clip", "tag", "timeout", "too slow", state="failed")
    failed.dropped = True
    kept.reject(f"{kept.id}-01", "track", "screen", "min_area", "too small")
    item = PartItem(item.part, item.records, seconds={"tag": 1.5})
    commit = AnnotatePhase().finish(store, EPOCH, item)
    assert commit == read_commit(store, "annotate", 0)
    assert commit.counts == {"kept": 1, "filtered": 1, "failed": 1, "tracks": 2}
    assert commit.timings == {"tag": 1.5}

    rows = read_rows(store, commit, "tracks", TrackRow)
    assert [(row.track_id, row.role) for row in rows] == [
        ("a" * 16 + "-00", "entity"),
        ("a" * 16 + "-80", "background"),
    ]
    tar = commit.file("masks.tar")
    assert tar is not None
    members = read_tar(store.read(tar.path))
    assert sorted(members) == sorted(row.member for row in rows)
    for row, track in zip(rows, kept.tracks, strict=True):
        assert MaskTrack.from_bytes(members[row.member]) == track.masks
        offset, size = commit.facts["masks"][row.track_id]
        assert store.read_range(tar.path, offset, size) == members[row.member]

    rejects = {row.reason: row for row in read_rows(store, commit, "rejects", RejectRow)}
    assert set(rejects) == {"dull", "timeout", "min_area"}
    assert (rejects["dull"].phase, rejects["dull"].part, rejects["dull"].value) == ("annotate", 0, 0.1)
    # Where the dataset lies is nobody's business.
    assert rejects["dull"].message == "nothing moves in …/clips"


def test_a_part_without_tracks_has_no_tar(store: Store) -> None:
    commit_clips(store, [row_of("a")])
    (item,) = clip_items(store, "annotate")
    commit = AnnotatePhase().finish(store, EPOCH, item)
    assert commit.files == ()
    assert commit.counts == {"kept": 1, "filtered": 0, "failed": 0, "tracks": 0}
    assert not clip_items(store, "annotate")


def test_the_row_of_a_track_measures_its_masks() -> None:
    work = annotated(work_of(row_of("a")))
    entity = work.tracks[0]
    entity.masks = MaskTrack.from_masks([block(0, 0), block(0, 0, 0, 0), block(0, 0, 32, 16), block(0, 0)])
    entity.models = {"tracker": "t@1", "segmenter": "s@1"}
    entity.relative_motion = 0.25
    entity.caption_score = 27.5
    row = track_row(work.clip, entity)
    assert (row.area_min, row.area_max) == (0, round(512 / PIXELS, 6))
    assert row.area_mean == round(256 / PIXELS, 6)
    assert (row.visible_fraction, row.num_frames, row.stability, row.relative_motion) == (0.75, 4, 0.75, 0.25)
    assert (row.caption_short, row.caption_medium, row.caption_score) == ("a ball", "a red ball", 27.5)
    assert json.loads(row.models) == entity.models
    assert row.models.index("segmenter") < row.models.index("tracker")
    assert (row.donor_track_id, row.motion, row.dx) == (None, None, None)
    pasted = track_of([block(0, 0)], 90, "pasted", pasting=Pasting("donor-00", "still", 3, -4, 1.5))
    row = track_row(image_row("a" * 16), pasted)
    assert (row.track_id, row.member) == ("a" * 16 + "-90", "a" * 16 + ".track-90.json.gz")
    assert (row.donor_track_id, row.motion, row.dx, row.dy, row.scale) == ("donor-00", "still", 3, -4, 1.5)
    assert (row.caption_short, row.caption_score, row.stability) == (None, None, None)


def test_tags_of_neither_vocabulary_are_counted_by_clip(store: Store) -> None:
    commit_clips(store, [row_of("a"), row_of("b"), row_of("c")])
    (item,) = clip_items(store, "annotate")
    for work, words in zip(works(item), (["rush", "joy"], ["joy"], []), strict=True):
        work.other_tags = [Tag(word, 0.9) for word in words]
    AnnotatePhase().finish(store, EPOCH, item)
    assert read_commit(store, "annotate", 0).facts["other_tags"] == {"joy": 2, "rush": 1}
