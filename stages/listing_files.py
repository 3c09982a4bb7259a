"""Rows of a listing file (.txt, .csv, .tsv, .jsonl, .parquet): a path each, with what the user knows about it.

A bad row is handed back as such with its number and costs no other row; only a file that cannot be read at all, or that
has no `path` column, raises.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.parquet_bytes import parquet_reader
from stages.listing_records import Problem, is_utf8, printable

LISTING_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")

_COLUMNS = ("path", "caption", "licence", "license", "group", "start", "end")
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MAX_US = 2**63 - 1
_UNREADABLE = "is not valid UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `number` is its line (its row in a parquet file), from 1; an interval as in `Source`."""

    number: int
    path: str
    caption: str | None = None
    licence: str | None = None
    group: str | None = None
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be understood."""

    number: int
    problem: Problem


class _BadValue(ValueError):
    """A cell that cannot be used: the clause that says why is the message."""


class _BadInterval(_BadValue):
    pass


def read_rows(name: str, data: bytes) -> list[Row | BadRow]:
    """The rows of the listing file called `name`, by its extension. ValueError: unreadable, or no `path` column."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".parquet":
        return list(_parquet_rows(name, data))
    if data.startswith(_UTF16_MARKS):
        raise ValueError(f"the listing {printable(name)} is UTF-16; save it as UTF-8")
    data = data.removeprefix(_UTF8_MARK)
    if suffix == ".csv":
        return list(_table_rows(name, data, ","))
    if suffix == ".tsv":
        return list(_table_rows(name, data, "\t"))
    if suffix == ".jsonl":
        return _json_rows(name, data)
    return list(_text_rows(data))


def _text_rows(data: bytes) -> Iterator[Row | BadRow]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        path = line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if path.strip() and not path.startswith("#"):
            yield _make_row(number, {"path": path})


def _table_rows(name: str, data: bytes, delimiter: str) -> Iterator[Row | BadRow]:
    records = _table_records(data.decode("utf-8", "surrogateescape").split("\n"), delimiter)
    _, header = next(records, (1, []))
    if isinstance(header, str):
        raise ValueError(f"the first line of the listing {printable(name)} is no header: {header}")
    columns = [column.strip().lower() for column in header]
    _require_path(name, columns)
    for number, cells in records:
        if isinstance(cells, str):
            yield BadRow(number, Problem("", "bad_row", f"cannot be parsed ({cells})"))
        elif len(cells) > len(columns):
            clause = (
                f"has {len(cells)} cells under {len(columns)} columns; put quotes around text with '{delimiter}' in it"
            )
            yield BadRow(number, Problem(delimiter.join(cells), "bad_row", clause))
        elif cells:
            yield _make_row(number, dict(zip(columns, cells, strict=False)))


def _table_records(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, cells) of each record, or (line number, error) of one that cannot be parsed.

    After an error parsing goes on with the very next line: a quote left open would otherwise swallow what follows.
    """
    start = 0
    while start < len(lines):
        # Only "\n" ends a line here; str.splitlines would also cut at the rarer separators that a caption may hold.
        reader = csv.reader((lines[i] + "\n" for i in range(start, len(lines))), delimiter=delimiter, strict=True)
        begin = start
        try:
            for cells in reader:
                yield begin + 1, cells
                begin = start + reader.line_num
            return
        except csv.Error as error:
            yield begin + 1, str(error)
            start = begin + 1


def _json_rows(name: str, data: bytes) -> list[Row | BadRow]:
    rows: list[Row | BadRow] = []
    columns: dict[str, None] = {}
    objects = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"), parse_float=Decimal)
        except UnicodeDecodeError:
            rows.append(BadRow(number, Problem(line.decode("utf-8", "surrogateescape"), "bad_row", _UNREADABLE)))
            continue
        except (ValueError, ArithmeticError, RecursionError):
            rows.append(BadRow(number, Problem(line.decode("utf-8"), "bad_row", "is not valid JSON")))
            continue
        if isinstance(values, dict):
            objects += 1
            columns.update(dict.fromkeys(values))
            rows.append(_make_row(number, values))
        else:
            rows.append(BadRow(number, Problem(line.decode("utf-8"), "bad_row", "is not a JSON object")))
    if objects:
        _require_path(name, list(columns))
    return rows


def _parquet_rows(name: str, data: bytes) -> Iterator[Row | BadRow]:
    try:
        table = pq.ParquetFile(parquet_reader(data))
        _require_path(name, table.schema_arrow.names)
        number = 0
        for batch in table.iter_batches(columns=[column for column in _COLUMNS if column in table.schema_arrow.names]):
            cells = {column: _cells(batch.column(column)) for column in batch.schema.names}
            for position in range(batch.num_rows):
                number += 1
                yield _make_row(number, {column: values[position] for column, values in cells.items()})
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the listing {printable(name)} cannot be read as Parquet: {reason}") from error


def _cells(column: Any) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return cast("list[Any]", column.to_pylist())
    # Through bytes, so that one badly encoded cell does not cost the whole batch.
    wide = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in column.cast(wide).to_pylist()]


def _require_path(name: str, columns: list[str]) -> None:
    found = ", ".join(printable(column) for column in columns if column) or "none"
    if "path" not in columns:
        raise ValueError(f"the listing {printable(name)} has no column 'path'; its columns are: {found}")
    if len(set(columns) & set(_COLUMNS)) < sum(column in _COLUMNS for column in columns):
        raise ValueError(f"the listing {printable(name)} has two columns of one name; its columns are: {found}")


def _make_row(number: int, values: Mapping[str, Any]) -> Row | BadRow:
    path = values.get("path")
    if not isinstance(path, str) or not path:
        shown = "" if path is None else str(path)
        return BadRow(number, Problem(shown, "bad_row", "has no path" if not shown else "has a path that is not text"))
    if not is_utf8(path):
        return BadRow(number, Problem(path, "bad_row", _UNREADABLE))
    try:
        start_us, end_us = _interval(_microseconds("start", values), _microseconds("end", values))
        licence = _text("licence", values) or _text("license", values)
        return Row(number, path, _text("caption", values), licence, _text("group", values), start_us, end_us)
    except _BadInterval as error:
        return BadRow(number, Problem(path, "bad_interval", str(error)))
    except _BadValue as error:
        return BadRow(number, Problem(path, "bad_row", str(error)))


def _text(column: str, values: Mapping[str, Any]) -> str | None:
    value = values.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _BadValue(f"has a value for '{column}' that is not text: {printable(str(value))}")
    if not is_utf8(value):
        raise _BadValue(f"has a value for '{column}' that {_UNREADABLE}")
    return value.strip() or None


def _microseconds(column: str, values: Mapping[str, Any]) -> int | None:
    value = values.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    sentence = f"has a value for '{column}' that is not a number of seconds from 0: {printable(str(value))}"
    refusal = _BadInterval(sentence)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise refusal
    try:
        # By way of the decimal digits: 0.1 s is 100000 µs whichever type the column has.
        seconds = Decimal(str(value).strip())
    except InvalidOperation:
        raise refusal from None
    if not seconds.is_finite() or seconds < 0 or seconds > _MAX_US // 10**6:
        raise refusal
    return round(seconds * 10**6)


def _interval(start_us: int | None, end_us: int | None) -> tuple[int | None, int | None]:
    """One way to say each interval, so that it has one id: "from 0" alone is the whole file; "up to" starts at 0."""
    if end_us is None:
        return start_us or None, None
    start_us = start_us or 0
    if end_us <= start_us:
        raise _BadInterval(
            f"has an interval that ends at {end_us / 1e6:g} s, not after its start at {start_us / 1e6:g} s"
        )
    return start_us, end_us
