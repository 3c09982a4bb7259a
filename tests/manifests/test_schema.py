"""The Arrow side of the row classes: types, nulls, round trips, equal bytes, other readers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_rows import column_types, example

from manifests.records import (
    INTERNAL_TABLES,
    TABLES,
    ClipRow,
    DonorRow,
    ListedRow,
    RejectRow,
    SampleRow,
    SourceRow,
    TrackRow,
)
from manifests.schema import arrow_schema, concat, from_parquet, from_table, schema_page, to_parquet, to_table

ROOT = Path(__file__).resolve().parents[2]
ROW_CLASSES = [*TABLES.values(), *INTERNAL_TABLES.values()]
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=6),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=6),
    list[float]: st.lists(st.floats(allow_nan=False), max_size=4),
}
each_row_class = pytest.mark.parametrize("row", ROW_CLASSES, ids=lambda row: row.__name__)


def rows_of(row: type) -> st.SearchStrategy[Any]:
    columns = {
        name: st.none() | VALUES[kind] if nullable else VALUES[kind]
        for name, (kind, nullable) in column_types(row).items()
    }
    return st.builds(row, **columns)


@each_row_class
@settings(max_examples=10)
@given(data=st.data())
def test_rows_come_back_as_they_were(row: type, data):
    rows = data.draw(st.lists(rows_of(row), max_size=3))
    written = to_parquet(row, rows)
    assert from_parquet(row, written) == rows
    assert from_table(row, to_table(row, rows)) == rows
    assert to_parquet(row, rows) == written


@each_row_class
def test_nulls_are_taken_only_where_they_are_declared(row: type):
    good = example(row)
    for name, (_, nullable) in column_types(row).items():
        changed = dataclasses.replace(good, **{name: None})
        if nullable:
            assert getattr(from_parquet(row, to_parquet(row, [good, changed]))[1], name) is None
        else:
            with pytest.raises(pa.ArrowInvalid, match=f"{row.__name__}.{name} may not be null"):
                to_table(row, [good, changed])


@each_row_class
def test_every_column_has_a_type_and_a_meaning(row: type):
    schema = arrow_schema(row)
    assert schema.names == [field.name for field in dataclasses.fields(row)]
    assert all(column.metadata[b"doc"].strip() for column in schema)
    assert schema.metadata[b"vivid.table"] == row.__name__.encode()
    assert not {pa.null()} & set(schema.types)


def test_columns_have_the_declared_types():
    clip = arrow_schema(ClipRow)
    assert (clip.field("part").type, clip.field("part").nullable) == (pa.int64(), False)
    assert (clip.field("fps").type, clip.field("fps").nullable) == (pa.float64(), True)
    assert (clip.field("caption").type, clip.field("caption").nullable) == (pa.string(), True)
    assert arrow_schema(TrackRow).field("box").type == pa.list_(pa.float64())
    score = arrow_schema(TrackRow).field("caption_score")
    assert (score.type, score.nullable) == (pa.float64(), True)
    assert arrow_schema(DonorRow).field("masks").type == pa.binary()
    assert not arrow_schema(SampleRow).field("caption").nullable
    assert arrow_schema(ListedRow).field("mtime_ns").nullable


@pytest.mark.parametrize("value", ["three", 2.5, 2**63, b"3", []])
def test_a_value_that_does_not_fit_its_column_is_refused(value: object):
    with pytest.raises((pa.ArrowException, OverflowError)):
        to_parquet(ClipRow, [example(ClipRow, part=value)])


@pytest.mark.parametrize("value", [3, 2.5, b"\xff", []])
def test_text_columns_take_text_only(value: object):
    with pytest.raises(pa.ArrowException):
        to_parquet(ClipRow, [example(ClipRow, clip_id=value)])


def test_parquet_bytes_do_not_depend_on_the_process():
    rows = [example(TrackRow, track_id=f"{n:016x}-00", box=[0.5, 1.0, 2.0, float(n)], score=n / 7) for n in range(300)]
    code = (
        "import sys; from manifest_rows import example; from manifests.records import TrackRow\n"
        "from manifests.schema import to_parquet\n"
        "rows = [example(TrackRow, track_id=f'{n:016x}-00', box=[0.5, 1.0, 2.0, float(n)], score=n / 7)"
        " for n in range(300)]\n"
        "sys.stdout.buffer.write(to_parquet(TrackRow, rows))"
    )
    search = [str(ROOT), str(Path(__file__).parent)]
    prefix = f"import sys; sys.path[:0] = {search!r}\n"
    made = subprocess.run([sys.executable, "-c", prefix + code], capture_output=True, check=True).stdout
    assert made == to_parquet(TrackRow, rows)


def test_row_order_is_kept():
    rows = [example(ClipRow, clip_id=name, position=n) for n, name in enumerate(["c", "a", "b"])]
    assert [row.clip_id for row in from_parquet(ClipRow, to_parquet(ClipRow, rows))] == ["c", "a", "b"]


@each_row_class
def test_pyarrow_and_duckdb_read_the_same_rows(row: type, tmp_path: Path):
    file = tmp_path / "rows.parquet"
    rows = [example(row)]
    file.write_bytes(to_parquet(row, rows))
    table = pq.read_table(file)
    assert table.schema == arrow_schema(row)
    assert table.schema.metadata == arrow_schema(row).metadata
    assert [column.metadata[b"doc"] for column in table.schema] == [c.metadata[b"doc"] for c in arrow_schema(row)]
    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet($1)", [str(file)])
        names = [column[0] for column in found.description]
        values = found.fetchall()
    assert names == table.column_names
    assert [row(**dict(zip(names, line, strict=True))) for line in values] == rows


def test_extra_columns_are_ignored_and_missing_ones_are_not():
    table = to_table(RejectRow, [example(RejectRow, id="x")])
    wider = table.append_column("later", pa.array([1]))
    assert from_table(RejectRow, wider) == [example(RejectRow, id="x")]
    with pytest.raises(KeyError, match="reason"):
        from_table(RejectRow, table.drop_columns(["reason"]))


def test_tables_are_put_under_each_other():
    first, second = (to_table(SourceRow, [example(SourceRow, path=path)]) for path in ("a", "b"))
    assert concat(SourceRow, [first, second]).column("path").to_pylist() == ["a", "b"]
    empty = concat(SourceRow, [])
    assert (empty.num_rows, empty.schema) == (0, arrow_schema(SourceRow))


def test_the_schema_page_names_every_column_once():
    page = schema_page()
    for name, row in {**TABLES, **INTERNAL_TABLES}.items():
        section = page.split(f"\n## {name}")[1].split("\n## ")[0]
        for column in dataclasses.fields(row):
            assert section.count(f"\n| `{column.name}` |") == 1
    assert "entity \\| background \\| pasted" in page
    cells = [line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")]
    assert set(cells) == {5}
