"""The samples of a dataset as the loader needs them: columns in memory, rows found by kind, task and number."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from manifests.dataset import Dataset
from train.mixing import KINDS, TASKS, Stratum

TEXT = (
    "clip_id",
    "track_id",
    "kind",
    "split",
    "task",
    "mask_variant",
    "variant_parameters",
    "caption_kind",
    "caption",
    "shard",
)
"""Columns with few distinct values: kept once each per kind and task."""
COLUMNS = (
    *("sample_id", "width", "height", "fps", "num_frames"),
    *("clip_offset", "clip_size", "mask_offset", "mask_size"),
    *TEXT,
)


@dataclass(frozen=True)
class Sample:
    """One row of `samples`, as far as a loader reads it."""

    sample_id: str
    width: int
    height: int
    fps: float | None
    num_frames: int
    clip_offset: int
    clip_size: int
    mask_offset: int
    mask_size: int
    clip_id: str
    track_id: str
    kind: str
    split: str
    task: str
    mask_variant: str
    variant_parameters: str
    caption_kind: str
    caption: str
    shard: str


class SampleTable:
    """The samples of one split (or of all), sorted by id within each kind and task.

    Raises ValueError when the dataset has none there.
    """

    def __init__(self, dataset: Dataset, split: str | None = "train") -> None:
        table = dataset.table("samples", columns=COLUMNS)
        if split is not None:
            table = table.filter(pc.equal(table["split"], split))
        if not table.num_rows:
            which = f"in the split '{split}'" if split else "at all"
            raise ValueError(f"the dataset {dataset.store.url} has no samples {which}")
        self.strata: dict[Stratum, pa.Table] = {}
        for kind in KINDS:
            for task in TASKS:
                chosen = table.filter(pc.and_(pc.equal(table["kind"], kind), pc.equal(table["task"], task)))
                if chosen.num_rows:
                    self.strata[kind, task] = _compact(chosen)

    def counts(self) -> dict[Stratum, int]:
        """Number of samples per kind and task."""
        return {stratum: table.num_rows for stratum, table in self.strata.items()}

    def sample(self, stratum: Stratum, row: int) -> Sample:
        """The `row`-th sample of a kind and task."""
        table = self.strata[stratum]
        return Sample(**{name: table[name][row].as_py() for name in COLUMNS})


def _compact(table: pa.Table) -> pa.Table:
    """The rows sorted by id, each distinct text of the columns in `TEXT` kept once.

    Encoded before anything is joined: 32-bit offsets end at 2 GiB of text.
    """
    columns = {name: table[name].dictionary_encode() if name in TEXT else table[name] for name in COLUMNS}
    columns["sample_id"] = columns["sample_id"].cast(pa.large_string())
    return pa.table(columns).unify_dictionaries().sort_by("sample_id").combine_chunks()
