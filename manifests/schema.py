"""Arrow schemas made from the row classes, and reading and writing of Parquet tables."""

from __future__ import annotations

import io
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.parquet_bytes import parquet_table
from manifests.records import INTERNAL_TABLES, TABLE_VERSION, TABLES

Row = TypeVar("Row")

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bytes: pa.binary(),
    list[float]: pa.list_(pa.float64()),
}


def _column(name: str, hint: Any) -> pa.Field:
    annotated, doc = typing.get_args(hint)
    nullable = isinstance(annotated, types.UnionType)
    plain = next(a for a in typing.get_args(annotated) if a is not type(None)) if nullable else annotated
    return pa.field(name, _ARROW[plain], nullable=nullable, metadata={"doc": doc})


def arrow_schema(row: type) -> pa.Schema:
    """The Arrow schema of a row class: column order, types and nullability as declared, documentation as metadata."""
    hints = typing.get_type_hints(row, include_extras=True)
    columns = [_column(field.name, hints[field.name]) for field in fields(row)]
    return pa.schema(columns, metadata={"vivid.table": row.__name__, "vivid.version": str(TABLE_VERSION)})


def to_table(row: type[Row], rows: Iterable[Row]) -> pa.Table:
    """Rows as an Arrow table. Raises pyarrow.ArrowException or OverflowError when a value does not fit its column."""
    schema = arrow_schema(row)
    material = list(rows)
    columns = [_array(row, field, [getattr(r, field.name) for r in material]) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    for field, column in zip(schema, columns, strict=True):
        if not field.nullable and column.null_count:
            raise pa.ArrowInvalid(f"{row.__name__}.{field.name} may not be null")
    return table


def _array(row: type, field: pa.Field, values: list[Any]) -> pa.Array:
    # Arrow would cut a fraction off without a word.
    if pa.types.is_integer(field.type):
        for value in values:
            if value is not None and not isinstance(value, Integral):
                raise pa.ArrowInvalid(f"{row.__name__}.{field.name} takes whole numbers, not {value!r}")
    return pa.array(values, type=field.type)


def to_parquet(row: type[Row], rows: Iterable[Row]) -> bytes:
    """Rows as Parquet bytes; equal rows give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(to_table(row, rows), sink, compression="zstd", version="2.6", store_schema=True)
    return sink.getvalue()


def from_table(row: type[Row], table: pa.Table) -> list[Row]:
    """Rows of a table written by `to_table` (extra columns are ignored)."""
    names = [field.name for field in fields(row)]  # type: ignore[arg-type]
    return [row(**values) for values in table.select(names).to_pylist()]


def from_parquet(row: type[Row], data: bytes) -> list[Row]:
    """Rows of a Parquet file written by `to_parquet`."""
    return from_table(row, parquet_table(data))


def schema_page() -> str:
    """The schema page in Markdown, generated from the row classes."""
    lines = [
        "# Columns of the manifests",
        "",
        f"Table version {TABLE_VERSION}. Generated from `manifests/records.py` by `make schema`; do not edit.",
    ]
    for tables, note in ((TABLES, ""), (INTERNAL_TABLES, " (internal)")):
        for name, row in tables.items():
            lines += ["", f"## {name}{note}", "", _first_paragraph(row), "", "| column | type | null | meaning |"]
            lines.append("|---|---|---|---|")
            lines += [_page_line(column) for column in arrow_schema(row)]
    return "\n".join(lines) + "\n"


def _first_paragraph(row: type) -> str:
    return (row.__doc__ or "").strip().split("\n\n")[0]


def _page_line(column: pa.Field) -> str:
    doc = (column.metadata or {})[b"doc"].decode().replace("|", "\\|")
    return f"| `{column.name}` | {column.type} | {'yes' if column.nullable else ''} | {doc} |"


def concat(row: type, tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of one row class under each other; an empty table of the right schema for none."""
    schema = arrow_schema(row)
    return pa.concat_tables([schema.empty_table(), *[t.cast(schema) for t in tables]])
