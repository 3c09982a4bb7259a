"""Reading a dataset: the committed tables as Arrow, Parquet files or SQL views, and the bytes behind a sample.

Only files that a commit names are read. Where a source or clip was taken again by `vivid retry`, its newest rows count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from manifests.commits import PHASES, RUN_FILE, Commit, CommittedFile, read_commits, size_fault
from manifests.damage import DatasetDamaged, intact, read_document, read_table
from manifests.masks import MaskTrack
from manifests.records import TABLES, SampleRow
from manifests.schema import arrow_schema, concat, from_table
from manifests.storage import LocalStore, Store, open_store

Row = TypeVar("Row")

NEWEST = {
    "sources": "SELECT * FROM {files} QUALIFY row_number() OVER (PARTITION BY source_id ORDER BY ingest_part DESC) = 1",
    "clips": "SELECT * FROM {files} QUALIFY row_number() OVER (PARTITION BY clip_id ORDER BY part DESC) = 1",
    "tracks": "SELECT t.* FROM {files} t SEMI JOIN clips c ON t.clip_id = c.clip_id AND t.part = c.part",
    "samples": "SELECT s.* FROM {files} s SEMI JOIN clips c ON s.clip_id = c.clip_id AND s.part = c.part",
    # A part number counts before the phase: retried clips go into new parts and may stop in an earlier phase there.
    # What an earlier part said of a clip's tracks and samples is void once the clip lies in a newer one.
    "rejects": (
        "SELECT r.* FROM {files} r LEFT JOIN clips c "
        "ON r.level IN ('track', 'sample') AND c.clip_id = split_part(r.id, '-', 1) "
        "WHERE r.part = coalesce(c.part, r.part) "
        "QUALIFY row_number() OVER (PARTITION BY r.id ORDER BY r.part DESC, "
        "list_position(['listing', 'ingest', 'layout', 'annotate', 'compose'], r.phase) DESC, r.stage, r.reason) = 1 "
        "AND r.state <> 'kept'"
    ),
}
"""SQL of each view over all committed files of its table."""
ORDER = {
    "sources": "root, path, source_id",
    "clips": "part, position",
    "tracks": "part, track_id",
    "samples": "part, sample_id",
    "rejects": "phase, part, id",
}

GLOB = re.compile(r"[*?\[{]")
"""Signs in a path that DuckDB takes for a pattern; files below such a folder are read through Arrow."""


class NotADataset(Exception):
    """The folder holds no run. The text is one sentence."""


def dataset_store(url: str | Path | Store) -> Store:
    """The store of a dataset. Raises NotADataset when there is no run in it."""
    store = open_store(url) if isinstance(url, str | Path) else url
    if not store.exists(RUN_FILE):
        raise NotADataset(f"{store.url} holds no dataset (there is no {RUN_FILE} in it)")
    return store


class Dataset:
    """A dataset's folder, read-only. Raises NotADataset when there is no run in it."""

    def __init__(self, url: str | Path | Store) -> None:
        self.store: Store = dataset_store(url)
        self.commits: dict[str, dict[int, Commit]] = {phase: read_commits(self.store, phase) for phase in PHASES}

    @cached_property
    def run(self) -> dict[str, Any]:
        """Its run.json as it was first read: configuration and versions."""
        return read_document(self.store, RUN_FILE)

    @property
    def identity(self) -> str:
        """16 hex digits over its configuration and its first committed part: they stay when it is moved or grows."""
        first = next((commits[min(commits)] for phase in PHASES if (commits := self.commits[phase])), None)
        content = [file.sha256 for file in first.files] if first is not None else []
        return hashlib.sha256(json.dumps([self.run.get("semantic_hash"), content]).encode()).hexdigest()[:16]

    def files(self, table: str) -> list[str]:
        """Committed Parquet files of a table, relative to the folder, in phase and part order."""
        return [file.path for file in self._committed(table)]

    def _committed(self, table: str) -> list[CommittedFile]:
        _check_name(table)
        commits = (commit for phase in PHASES for commit in self.commits[phase].values())
        return [file for commit in commits if (file := commit.file(table)) is not None]

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with one view per table. Raises DatasetDamaged when a table's file is gone or cut off."""
        connection = duckdb.connect()
        connection.execute("SET threads = 2")
        for name, row in TABLES.items():
            files = self._committed(name)
            if files and isinstance(self.store, LocalStore) and not GLOB.search(self.store.url):
                source = _parquet_sql(self.store, files)
            else:
                source = f"all_{name}"
                connection.register(source, concat(row, [read_table(self.store, file.path) for file in files]))
            connection.execute(f"CREATE VIEW {name} AS {NEWEST[name].format(files=source)}")
        return connection

    def table(self, name: str, where: str = "true", columns: Sequence[str] | None = None) -> pa.Table:
        """A table as it counts, in a fixed order; only the rows that fit a SQL condition. Raises duckdb.Error.

        Of a large table name the `columns` that are needed: the others are then not read.
        """
        _check_name(name)
        schema = arrow_schema(TABLES[name])
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        chosen = ", ".join(f'"{column}"' for column in schema.names)
        sql = f"SELECT {chosen} FROM {name} WHERE {where} ORDER BY {ORDER[name]}"
        with self.connect() as connection:
            found: pa.Table = connection.sql(sql).to_arrow_table()
        return found.cast(schema)

    def rows(self, name: str, row: type[Row]) -> list[Row]:
        """`table` as row objects."""
        return from_table(row, self.table(name))

    def clip_bytes(self, sample: SampleRow) -> bytes:
        """The clip's MP4 or JPEG bytes."""
        return self.read_range(sample.shard, sample.clip_offset, sample.clip_size)

    def masks(self, sample: SampleRow) -> MaskTrack:
        """The track's masks as stored (the variant is computed from them, see `stages.augment.apply_variant`)."""
        with intact(self.store, sample.shard):
            return MaskTrack.from_bytes(self.store.read_range(sample.shard, sample.mask_offset, sample.mask_size))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes of a committed file from `offset`. Raises DatasetDamaged when it is gone or too short."""
        with intact(self.store, path):
            return self.store.read_range(path, offset, size)

    def query(self, sql: str) -> tuple[list[str], list[Sequence[object]]]:
        """Column names and rows of a SQL query over the views. Raises ValueError with DuckDB's sentence."""
        with self.connect() as connection:
            try:
                result = connection.execute(sql)
                if result is None:
                    raise ValueError("the query holds no SQL statement")
                names = [column[0] for column in result.description or []]
                return names, list(result.fetchall())
            except duckdb.Error as error:
                raise ValueError(str(error).splitlines()[0]) from error


def _parquet_sql(store: LocalStore, files: Sequence[CommittedFile]) -> str:
    for file in files:
        # DuckDB's own sentence about a file that is cut off takes several lines and a traceback.
        if why := size_fault(store, file):
            raise DatasetDamaged(store.url, file.path, why)
    paths = ", ".join("'" + f"{store.url}/{file.path}".replace("'", "''") + "'" for file in files)
    # A folder called `key=value` above the dataset is not a column of it.
    return f"read_parquet([{paths}], hive_partitioning = false)"


def _check_name(table: str) -> None:
    if table not in TABLES:
        raise ValueError(f"there is no table '{table}'; tables are {', '.join(TABLES)}")
