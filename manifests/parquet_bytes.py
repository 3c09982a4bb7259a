"""Opening a Parquet file that lies in memory.

Arrow's pool threads give back the file's memory when they are done with it, which may be after the main thread has
its table. Is that memory a Python object, they ask for the interpreter's lock, and in a process that is just exiting
this aborts it ("terminate called without an active exception"; one exit in a hundred on a loaded machine). So Arrow
gets memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def parquet_reader(data: bytes) -> pa.BufferReader:
    """The bytes as a file that Arrow owns; it holds no reference to `data`."""
    sink = pa.BufferOutputStream()
    sink.write(data)
    return pa.BufferReader(sink.getvalue())


def parquet_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a Parquet file, or only some of its columns. Raises pyarrow.ArrowException when it is none."""
    return pq.read_table(parquet_reader(data), columns=columns)
