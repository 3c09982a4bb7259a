"""Parquet in memory: the table comes out, and nothing of Python's stays with Arrow's threads."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from manifest_rows import example

from manifests.parquet_bytes import parquet_reader, parquet_table
from manifests.records import ClipRow
from manifests.schema import to_parquet, to_table

ROWS = [example(ClipRow, clip_id=f"{number:032x}") for number in range(50)]

READ_AND_LEAVE = """
import os, sys
import pyarrow.dataset
from manifests.parquet_bytes import parquet_table

data = sys.stdin.buffer.read()
aborted = 0
for _ in range(100):
    child = os.fork()
    if child == 0:
        parquet_table(bytes(bytearray(data)))
        sys.exit(0)
    aborted += os.waitpid(child, 0)[1] != 0
print(aborted)
"""


def test_a_table_is_read_as_it_was_written() -> None:
    assert parquet_table(to_parquet(ClipRow, ROWS)).equals(to_table(ClipRow, ROWS))


def test_only_the_columns_asked_for_are_read() -> None:
    table = parquet_table(to_parquet(ClipRow, ROWS), ["clip_id"])
    assert table.to_pydict() == {"clip_id": [row.clip_id for row in ROWS]}


def test_an_open_file_holds_no_python_object() -> None:
    data = to_parquet(ClipRow, ROWS)
    before = sys.getrefcount(data)
    opened = parquet_reader(data)
    assert sys.getrefcount(data) == before
    assert opened.read() == data


def test_bytes_that_are_no_parquet_are_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        parquet_table(b"not a Parquet file")


@pytest.mark.slow
def test_a_process_that_leaves_right_after_reading_is_not_aborted() -> None:
    """On two busy cores a hundredth to a thirtieth of such exits aborted while Arrow read Python's memory."""
    command = [sys.executable, "-c", READ_AND_LEAVE]
    beside = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for process in beside:
        assert process.stdin is not None
        process.stdin.write(to_parquet(ClipRow, ROWS))
        process.stdin.close()
    assert [process.stdout.read() for process in beside if process.stdout] == [b"0\n"] * 3
