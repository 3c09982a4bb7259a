"""Files behind rejects that are named by a hash only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manifest_rows import example
from written_dataset import small_scenes, write_dataset

from manifests.commits import PartWriter
from manifests.dataset import Dataset
from manifests.gallery_origins import Cut, Origins, dropped_pieces
from manifests.ids import clip_id, source_id
from manifests.records import FoundRow, RejectRow
from manifests.storage import open_store


def dropped(
    path: str, start: int, end: int, reason: str, value: float, kind: str = "video", root: str = "small"
) -> RejectRow:
    name = clip_id(root, path, start, end, kind, "source")
    return example(RejectRow, id=name, level="clip", phase="ingest", reason=reason, value=value)


def cut(path: str, duration: int | None, *times: int) -> Cut:
    return Cut(f"id of {path}", "small", path, duration, {0, *times})


def test_a_piece_after_a_clip_is_found_and_tells_where_the_next_begins() -> None:
    first = dropped("a.mp4", 5_000_000, 5_291_667, "min_duration", 0.291667)
    second = dropped("a.mp4", 5_291_667, 6_000_000, "min_duration", 0.708333)
    cuts = [cut("b.mp4", None, 5_000_000), cut("a.mp4", None, 5_000_000)]
    assert dropped_pieces([second, first], cuts) == {
        first.id: ("id of a.mp4", 5_000_000),
        second.id: ("id of a.mp4", 5_291_667),
    }


def test_sums_of_rounded_times_may_be_a_microsecond_off() -> None:
    row = dropped("a.mp4", 0, 33_367, "min_duration", 0.0333662)
    assert dropped_pieces([row], [cut("a.mp4", 9)]) == {row.id: ("id of a.mp4", 0)}


def test_a_whole_source_is_found_by_its_duration_and_an_image_without_one() -> None:
    whole = dropped("a.mp4", 0, 6_666_667, "min_short_side", 540.0)
    image = dropped("c.jpg", 0, 0, "min_short_side", 540.0, "image")
    found = dropped_pieces([whole, image], [cut("a.mp4", 6_666_667), cut("c.jpg", None)])
    assert found == {whole.id: ("id of a.mp4", 0), image.id: ("id of c.jpg", 0)}


def test_what_does_not_follow_stays_unknown() -> None:
    row = dropped("a.mp4", 1_000_000, 2_000_000, "black", 1.0)
    assert dropped_pieces([row], [cut("a.mp4", 6_666_667)]) == {}


def test_origins_of_clips_sources_pieces_and_copies(tmp_path: Path) -> None:
    scenes, rejects = small_scenes()
    # The clips of the written dataset begin and end at 0 in their sources.
    piece = replace(dropped("b.mp4", 0, 250_000, "min_duration", 0.25), phase="ingest", state="filtered")
    later = replace(dropped("b.mp4", 250_000, 500_000, "min_duration", 0.25), phase="ingest", state="filtered")
    copy = example(RejectRow, id="c" * 16, level="clip", phase="layout", reason="near_duplicate")
    store = open_store(tmp_path / "small")
    write_dataset(store, scenes, [*rejects, piece, later], failed=("bad.mp4",))
    writer = PartWriter(store, "ingest", 1, 1)
    writer.add_table(
        "found",
        FoundRow,
        [example(FoundRow, clip_id=copy.id, source_id=source_id("small", "c.jpg"), start_us=1_500_000)],
        folder="clips",
    )
    writer.commit({})
    dataset = Dataset(store)
    with dataset.connect() as db:
        origins = Origins(dataset, db).of([*rejects, piece, later, copy])
    assert origins == {
        source_id("small", "bad.mp4"): "small/bad.mp4",
        scenes[0].clip_id: "small/a <b>&.mp4",
        scenes[2].clip_id: "small/c.jpg",
        piece.id: "small/b.mp4",
        later.id: "small/b.mp4, from 0.2 s",
        copy.id: "small/c.jpg, from 1.5 s",
    }
