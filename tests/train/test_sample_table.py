from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from manifests.dataset import Dataset
from manifests.records import SampleRow
from train.sample_table import TEXT, SampleTable


def test_every_sample_of_a_split_is_found(tiny_shards: Path) -> None:
    rows = {row.sample_id: row for row in Dataset(tiny_shards).rows("samples", SampleRow) if row.split == "train"}
    table = SampleTable(Dataset(tiny_shards))
    found = [table.sample(stratum, row) for stratum, count in table.counts().items() for row in range(count)]
    assert sorted(sample.sample_id for sample in found) == sorted(rows)
    for sample in found:
        row = rows[sample.sample_id]
        for name in ("caption", "variant_parameters", "shard", "clip_offset", "mask_size", "kind", "task", "fps"):
            assert getattr(sample, name) == getattr(row, name)
    for stratum in table.strata:
        ids = table.strata[stratum]["sample_id"].to_pylist()
        assert ids == sorted(ids)


def test_each_distinct_text_is_kept_once_where_it_is_used(tiny_shards: Path) -> None:
    """The loader's processes get a copy each."""
    table = SampleTable(Dataset(tiny_shards), None)
    for strata in table.strata.values():
        for name in TEXT:
            (chunk,) = strata[name].chunks
            assert isinstance(chunk, pa.DictionaryArray)
            texts = chunk.dictionary.to_pylist()
            assert len(texts) == len(set(texts))
            assert set(texts) == set(strata[name].to_pylist()), "none of other kinds and tasks"
    again = pickle.loads(pickle.dumps(table))
    assert again.strata == table.strata


def test_a_split_without_samples_is_one_sentence(tiny_shards: Path) -> None:
    with pytest.raises(ValueError, match="has no samples in the split 'nowhere'"):
        SampleTable(Dataset(tiny_shards), "nowhere")
