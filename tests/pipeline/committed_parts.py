"""Commits of the early phases, written directly: what ANNOTATE, COMPOSE and their neighbours start from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from small_work import block, clip_row, track_of

from manifests.commits import RUN_FILE, Commit, PartWriter
from manifests.records import ClipRow, FoundRow, ListedRow
from manifests.storage import Store
from manifests.tars import TarWriter
from models.protocols import Captions
from pipeline.annotate_phase import AnnotatePhase, clip_items
from pipeline.phase import PartItem
from stages.work import ClipWork, Track

EPOCH = 1
CLIPS = {f"{letter * 16}": f"pixels of {letter}".encode() for letter in "abcdef"}
"""Content of clips by id, in place of pixels."""


def begin(store: Store) -> None:
    """Make the folder one that run 1 holds."""
    store.replace(RUN_FILE, json.dumps({"epoch": EPOCH, "roots": {}}).encode())


def commit_listing(store: Store, parts: Sequence[int]) -> None:
    """List one source for each of the ingest parts."""
    rows = [
        ListedRow(f"{part:016x}", part, "in", f"{part}.mp4", 1, 1, None, None, None, "g", None, None) for part in parts
    ]
    writer = PartWriter(store, "listing", 0, EPOCH)
    writer.add_table("listing", ListedRow, rows, folder="listing")
    writer.commit({"sources": len(rows)})


def commit_ingest(store: Store, part: int, rows: Sequence[ClipRow]) -> None:
    """One ingest part with a tar of the rows' clips."""
    writer = PartWriter(store, "ingest", part, EPOCH)
    scratch = store.scratch()
    found = []
    with TarWriter(scratch) as tar:
        for row in rows:
            member = tar.add(f"{row.clip_id}.mp4", CLIPS[row.clip_id])
            values = asdict(row)
            for name in ("part", "position", "split", "ingest_part"):
                del values[name]
            found.append(FoundRow(**values, member=member.name, offset=member.offset, size=member.size))
    writer.add_file(scratch, "clips.tar", "clips", "part", ".tar")
    writer.add_table("found", FoundRow, found, folder="clips")
    writer.commit({"clips": len(rows)})


def commit_layout(
    store: Store, number: int, rows: Sequence[ClipRow], ingest_parts: Sequence[int], retried: Sequence[str] = ()
) -> None:
    """Lay out the rows as they say."""
    writer = PartWriter(store, "layout", number, EPOCH)
    writer.add_table("clips", ClipRow, rows)
    writer.commit({"clips": len(rows)}, ingest_parts=list(ingest_parts), retried=list(retried))


def commit_clips(store: Store, rows: Sequence[ClipRow]) -> None:
    """Ingest and lay out clips, all in ingest part 0."""
    begin(store)
    commit_listing(store, [0])
    commit_ingest(store, 0, rows)
    commit_layout(store, 0, rows, [0])


def row_of(letter: str, part: int = 0, **given: object) -> ClipRow:
    """The row of one of `CLIPS`."""
    return clip_row(letter * 16, part=part, **given)


def annotated(work: ClipWork) -> ClipWork:
    """The clip with an entity and a background region found in it."""
    work.tracks = [captioned_entity(work.clip.num_frames), track_of([block(0, 30, 96, 30)], 80, "background", "sky")]
    return work


def captioned_entity(frames: int) -> Track:
    """A square that moves one pixel per frame."""
    captions = Captions("a ball", "a red ball", "A red ball. It moves. It is small.")
    models = {"tracker": "fake@1", "captioner": "fake@2"}
    return track_of([block(10 + index, 8) for index in range(frames)], captions=captions, stability=0.75, models=models)


def commit_annotate(store: Store, part: int) -> Commit:
    """Annotate a laid-out part: the same in every clip."""
    (item,) = [item for item in clip_items(store, "annotate") if item.part == part]
    works = [annotated(work) for work in item.records if isinstance(work, ClipWork)]
    return AnnotatePhase().finish(store, EPOCH, PartItem(part, tuple(works)))
