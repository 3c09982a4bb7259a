"""What a run has written and is no longer so: a copy broken off, a file taken away, a disk that lost a block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from manifests.parquet_bytes import parquet_table
from manifests.storage import StorageError, Store

ADVICE = "copy the dataset again from where it is whole (`vivid inspect --verify` names all such files)"
GONE = "is gone"


class DatasetDamaged(StorageError):
    """A file of a dataset is gone or is not what was written: `why` is a clause, the text one sentence."""

    def __init__(self, url: str, path: str, why: str) -> None:
        super().__init__(f"{path} in {url} {why}: {ADVICE}")
        self.url, self.path, self.why = url, path, why

    def __reduce__(self) -> tuple[type[DatasetDamaged], tuple[str, str, str]]:
        # The default would call it with the sentence alone, so it could not leave a worker process.
        return DatasetDamaged, (self.url, self.path, self.why)


@contextmanager
def intact(store: Store, path: str) -> Iterator[None]:
    """Name the file when what a run has written cannot be read back.

    Raises DatasetDamaged in place of FileNotFoundError and of what parsers raise at bytes that they did not write.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetDamaged(store.url, path, GONE) from error
    except (ValueError, TypeError, LookupError, OSError, pa.ArrowException) as error:
        clause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DatasetDamaged(store.url, path, f"is damaged ({clause})") from error


def read_document(store: Store, path: str) -> dict[str, Any]:
    """A JSON object that a run wrote. Raises FileNotFoundError, DatasetDamaged when it is none."""
    data = store.read(path)
    with intact(store, path):
        document = json.loads(data)
        if not isinstance(document, dict):
            raise TypeError("it holds no JSON object")
        return document


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file that a run wrote, or only some of its columns. Raises DatasetDamaged."""
    with intact(store, path):
        return parquet_table(store.read(path), columns)
