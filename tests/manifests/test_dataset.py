"""Reading a dataset: only what is committed, the newest word on everything, and the exact bytes of a sample."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from manifest_rows import example

from manifests.commits import RUN_FILE, PartWriter
from manifests.damage import DatasetDamaged
from manifests.dataset import Dataset, NotADataset
from manifests.masks import MaskTrack
from manifests.records import TABLES, ClipRow, RejectRow, SampleRow, SourceRow, TrackRow
from manifests.schema import arrow_schema
from manifests.storage import StorageError, Store, open_store
from manifests.tars import write_tar

A, B = "a" * 16, "b" * 16


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path: Path) -> Store:
    store = open_store(tmp_path / "it's out" if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")
    store.replace(RUN_FILE, b'{"epoch": 1}')
    return store


def commit(store: Store, phase: str, part: int, tables: Mapping[str, Sequence[object]]) -> None:
    writer = PartWriter(store, phase, part, 1)
    for name, rows in tables.items():
        writer.add_table(name, TABLES[name], rows)
    writer.commit({})


def clip(clip_id: str, part: int, position: int = 0) -> ClipRow:
    return example(ClipRow, clip_id=clip_id, part=part, position=position)


def reject(identity: str, phase: str, part: int, level: str = "clip", **given: object) -> RejectRow:
    return example(RejectRow, id=identity, phase=phase, part=part, level=level, **{"state": "failed"} | given)


def reasons(store: Store) -> dict[str, str]:
    return {row.id: row.reason for row in Dataset(store).rows("rejects", RejectRow)}


def test_a_folder_without_a_run_is_no_dataset(tmp_path: Path):
    with pytest.raises(NotADataset, match=r"holds no dataset \(there is no run.json in it\)"):
        Dataset(tmp_path)
    with pytest.raises(NotADataset):
        Dataset(str(tmp_path / "nowhere"))


def test_an_empty_dataset_has_empty_tables(store: Store):
    dataset = Dataset(store)
    assert [dataset.files(name) for name in TABLES] == [[]] * len(TABLES)
    assert dataset.table("tracks") == arrow_schema(TrackRow).empty_table()
    sums = " + ".join(f"(SELECT count(*) FROM {name})" for name in TABLES)
    assert dataset.query(f"SELECT {sums} AS n") == (["n"], [(0,)])


def test_tables_come_in_a_fixed_order_with_their_schema(store: Store):
    commit(store, "layout", 1, {"clips": [clip("c" * 16, 2, 1), clip(B, 2, 0)]})
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    dataset = Dataset(store)
    assert dataset.table("clips").schema == arrow_schema(ClipRow)
    assert [row.clip_id for row in dataset.rows("clips", ClipRow)] == [A, B, "c" * 16]
    assert [path.split("-")[1] for path in dataset.files("clips")] == ["00000", "00001"]


def test_only_committed_files_are_read(store: Store):
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    PartWriter(store, "layout", 1, 1).add_table("clips", ClipRow, [clip(B, 1)])
    store.replace("manifests/clips/layout-00002-00000000.parquet", b"half a file")
    assert [row.clip_id for row in Dataset(store).rows("clips", ClipRow)] == [A]


def test_a_dataset_is_the_same_when_it_grows_and_not_when_it_is_another(store: Store):
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    identity = Dataset(store).identity
    assert len(identity) == 16
    commit(store, "layout", 1, {"clips": [clip(B, 1)]})
    commit(store, "compose", 0, {})
    store.replace(RUN_FILE, b'{"epoch": 2}')
    assert Dataset(store).identity == identity
    for content, configuration in (((B, 0), None), ((A, 0), "other")):
        other = open_store(f"memory://{uuid.uuid4().hex}/out")
        other.replace(RUN_FILE, json.dumps({"epoch": 1, "semantic_hash": configuration}).encode())
        commit(other, "layout", 0, {"clips": [clip(*content)]})
        assert Dataset(other).identity != identity


def test_what_is_committed_later_needs_a_new_look(store: Store):
    dataset = Dataset(store)
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    assert dataset.table("clips").num_rows == 0
    assert Dataset(store).table("clips").num_rows == 1


def test_the_newest_row_of_a_source_and_a_clip_counts(store: Store):
    old = example(SourceRow, source_id="s", ingest_part=0, state="failed")
    new = dataclasses.replace(old, ingest_part=11, state="kept")
    commit(store, "ingest", 0, {"sources": [old, example(SourceRow, source_id="t")]})
    commit(store, "ingest", 11, {"sources": [new]})
    commit(store, "layout", 0, {"clips": [clip(A, 9), clip(B, 9, 1)]})
    commit(store, "layout", 1, {"clips": [clip(A, 10)]})
    dataset = Dataset(store)
    assert [(row.source_id, row.state) for row in dataset.rows("sources", SourceRow)] == [("s", "kept"), ("t", "")]
    assert [(row.clip_id, row.part) for row in dataset.rows("clips", ClipRow)] == [(B, 9), (A, 10)]


def test_tracks_and_samples_of_an_overruled_part_are_gone(store: Store):
    def rows(clip_id: str, part: int) -> dict[str, list[object]]:
        track = f"{clip_id}-00"
        return {
            "tracks": [example(TrackRow, track_id=track, clip_id=clip_id, part=part)],
            "samples": [example(SampleRow, sample_id=f"{track}-o-s", clip_id=clip_id, part=part)],
        }

    commit(store, "layout", 0, {"clips": [clip(A, 0), clip(B, 0, 1)]})
    commit(store, "compose", 0, {name: rows(A, 0)[name] + rows(B, 0)[name] for name in ("tracks", "samples")})
    commit(store, "layout", 1, {"clips": [clip(A, 1)]})
    dataset = Dataset(store)
    assert [row.clip_id for row in dataset.rows("tracks", TrackRow)] == [B], "its new part is not composed yet"
    commit(store, "compose", 1, rows(A, 1))
    dataset = Dataset(store)
    assert [(row.clip_id, row.part) for row in dataset.rows("tracks", TrackRow)] == [(B, 0), (A, 1)]
    assert [(row.clip_id, row.part) for row in dataset.rows("samples", SampleRow)] == [(B, 0), (A, 1)]


def test_a_failure_made_good_is_no_reject(store: Store):
    commit(store, "annotate", 0, {"rejects": [reject(A, "annotate", 0), reject(B, "annotate", 0, reason="slow")]})
    commit(store, "compose", 1, {"rejects": [reject(A, "compose", 1, state="kept")]})
    assert reasons(store) == {B: "slow"}


def test_the_newest_word_on_a_reject_counts(store: Store):
    """A newer part beats a later phase: the retried clip stopped earlier on its way through the new part."""
    commit(
        store, "compose", 2, {"rejects": [reject(A, "compose", 2, reason="old"), reject(B, "compose", 2, reason="b")]}
    )
    commit(store, "annotate", 2, {"rejects": [reject(B, "annotate", 2, reason="earlier phase")]})
    commit(store, "annotate", 10, {"rejects": [reject(A, "annotate", 10, reason="new")]})
    assert reasons(store) == {A: "new", B: "b"}


def test_what_an_overruled_part_said_of_a_track_is_void(store: Store):
    """The track may be in the dataset now: the retried part need not repeat what it kept."""
    kept, small = f"{A}-90", f"{B}-00"
    rows = [
        reject(kept, "compose", 0, "track", reason="no_donor"),
        reject(small, "compose", 0, "track", reason="small"),
    ]
    commit(store, "layout", 0, {"clips": [clip(A, 0), clip(B, 0, 1)]})
    commit(store, "compose", 0, {"rejects": [*rows, reject(f"{A}-90-o-f", "compose", 0, "sample", reason="x")]})
    assert reasons(store) == {kept: "no_donor", small: "small", f"{A}-90-o-f": "x"}
    commit(store, "layout", 1, {"clips": [clip(A, 1)]})
    assert reasons(store) == {small: "small"}
    commit(store, "compose", 1, {"rejects": [reject(f"{A}-01", "compose", 1, "track", reason="large")]})
    assert reasons(store) == {small: "small", f"{A}-01": "large"}


def test_the_bytes_of_a_sample_are_those_in_the_shard(store: Store):
    masks = MaskTrack.from_masks([np.eye(5, 7, dtype=np.bool_)] * 3)
    scratch = store.scratch()
    members = write_tar(scratch, [(f"{A}.mp4", b"clip bytes"), (f"{A}.track-00.json.gz", masks.to_bytes())])
    writer = PartWriter(store, "compose", 0, 1)
    shard = writer.add_file(scratch, "shard", "shards", "part", ".tar")
    movie, mask = members[f"{A}.mp4"], members[f"{A}.track-00.json.gz"]
    places = {"clip_offset": movie.offset, "clip_size": movie.size, "mask_offset": mask.offset, "mask_size": mask.size}
    writer.add_table("samples", SampleRow, [example(SampleRow, clip_id=A, shard=shard, **places)])
    writer.commit({})
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    dataset = Dataset(store)
    (sample,) = dataset.rows("samples", SampleRow)
    assert dataset.clip_bytes(sample) == b"clip bytes"
    assert dataset.masks(sample) == masks
    with pytest.raises(DatasetDamaged, match="not a mask track"):
        dataset.masks(dataclasses.replace(sample, mask_offset=movie.offset, mask_size=movie.size))


def test_queries(store: Store):
    commit(store, "layout", 0, {"clips": [clip(A, 0), clip(B, 0, 1)]})
    query = Dataset(store).query
    assert query('SELECT clip_id, "group", fps FROM clips ORDER BY position DESC') == (
        ["clip_id", "group", "fps"],
        [(B, "", None), (A, "", None)],
    )
    assert query("SELECT count(*) AS n FROM clips WHERE false") == (["n"], [(0,)])


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nothing", "nothing does not exist"),
        ("SELECT colour FROM clips", '"colour" not found'),
        ("SELECT 1 / 'x'", "Conversion Error"),
        ("", "holds no SQL statement"),
    ],
)
def test_a_wrong_query_is_one_sentence(tmp_path: Path, sql: str, sentence: str):
    open_store(tmp_path).replace(RUN_FILE, b'{"epoch": 1}')
    with pytest.raises(ValueError, match=sentence) as caught:
        Dataset(tmp_path).query(sql)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


def test_an_unknown_table_is_named(store: Store):
    dataset = Dataset(store)
    for call in (dataset.table, dataset.files):
        with pytest.raises(ValueError, match="no table 'found'; tables are sources, clips, tracks, samples, rejects"):
            call("found")


def test_a_query_cannot_change_the_committed_tables(store: Store):
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    dataset = Dataset(store)
    for sql in ("DELETE FROM clips", "UPDATE clips SET part = 5", "INSERT INTO clips SELECT * FROM clips"):
        with pytest.raises(ValueError, match=r"\S"):
            dataset.query(sql)
    dataset.query("DROP VIEW clips")
    assert dataset.table("clips").num_rows == 1


def test_a_lost_file_is_named(store: Store):
    commit(store, "layout", 0, {"clips": [clip(A, 0)]})
    (path,) = Dataset(store).files("clips")
    store.remove(path)
    with pytest.raises((StorageError, FileNotFoundError), match=path):
        Dataset(store).table("clips")


@pytest.mark.parametrize("name", ["run[1]", "run*", "a=1"])
def test_a_folder_is_read_whatever_it_is_called(tmp_path: Path, name: str):
    for number, folder in enumerate([name, "run1"]):
        store = open_store(tmp_path / folder)
        store.replace(RUN_FILE, json.dumps({"epoch": 1}).encode())
        commit(store, "layout", 0, {"clips": [dataclasses.replace(clip(A, 0), width=number)]})
        # The same file name in all folders, so that a pattern would find the others' files.
        file = Dataset(store).files("clips")[0]
        document = json.loads(store.read("commits/layout/00000.json"))
        store.replace("manifests/clips/same.parquet", store.read(file))
        document["files"][0]["path"] = "manifests/clips/same.parquet"
        store.replace("commits/layout/00000.json", json.dumps(document).encode())
    dataset = Dataset(tmp_path / name)
    assert dataset.table("clips").column("width").to_pylist() == [0]
    assert dataset.table("clips").schema == arrow_schema(ClipRow)
    assert dataset.query("SELECT * FROM clips")[0] == arrow_schema(ClipRow).names


def test_both_kinds_of_store_give_the_same_table(tmp_path: Path):
    tables = []
    for url in (str(tmp_path), f"memory://{uuid.uuid4().hex}"):
        store = open_store(url)
        store.replace(RUN_FILE, b'{"epoch": 1}')
        commit(
            store, "ingest", 0, {"sources": [example(SourceRow, source_id=f"{n}", path=f"{n % 3}") for n in range(9)]}
        )
        tables.append(Dataset(store).table("sources"))
    assert isinstance(tables[0], pa.Table)
    assert tables[0] == tables[1]
    assert tables[0].column("path").to_pylist() == sorted(f"{n % 3}" for n in range(9))


def test_connections_are_independent(store: Store):
    dataset = Dataset(store)
    with dataset.connect() as one, dataset.connect() as two:
        one.execute("CREATE TABLE own AS SELECT 1")
        with pytest.raises(duckdb.CatalogException):
            two.execute("SELECT * FROM own")
