from __future__ import annotations

from pathlib import Path

import pytest

from manifests.commits import PartWriter, sweep
from manifests.latents import (
    LATENT_FOLDERS,
    LATENT_PHASES,
    CaptionRow,
    LatentRow,
    caption_key,
    dataset_url,
    entry_key,
    latents_url,
)
from manifests.schema import from_parquet, to_parquet
from manifests.storage import open_store


@pytest.mark.parametrize("dataset", ["out", "/data/out/", "s3://bucket/out", "/a/latents/out"])
def test_a_set_knows_its_dataset(dataset: str) -> None:
    url = latents_url(dataset, "small-2")
    assert url == f"{dataset.rstrip('/')}/latents/small-2"
    assert dataset_url(url) == dataset.rstrip("/")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words", "-x"])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        latents_url("out", name)


def test_keys_tell_everything_apart_and_fit_the_column() -> None:
    clip, window, track = "0123456789abcdef", "fedcba9876543210", "0123456789abcdef-00"
    keys = {
        entry_key(clip, window),
        entry_key(window, clip),
        *(entry_key(clip, window, t, v, k) for t in (track, "x-01") for v in ("hull", "box") for k in (False, True)),
        caption_key(""),
        caption_key("a red car"),
        caption_key("a red car "),
    }
    assert len(keys) == 13
    assert all(-(2**63) <= key < 2**63 for key in keys)
    # What is stored must be found by later versions.
    assert entry_key(clip, window) == -7774885083855760793
    assert caption_key("a red car") == -1363992357354428736


def test_rows_survive_parquet() -> None:
    rows = [
        LatentRow(-5, "c", "w", None, None, None, 0, 3, 1.5, 0.0, "m", 512, 10),
        LatentRow(7, "c", "w", "c-00", "hull", 1, 0, 3, 1.5, 0.0, "n", 1536, 10),
    ]
    assert from_parquet(LatentRow, to_parquet(LatentRow, rows)) == rows
    texts = [CaptionRow(-1, 226, "m", 512, 100)]
    assert from_parquet(CaptionRow, to_parquet(CaptionRow, texts)) == texts


def test_the_sweep_of_a_set_and_of_its_dataset_leave_each_other_alone(tmp_path: Path) -> None:
    dataset, inner = open_store(tmp_path), open_store(latents_url(str(tmp_path), "default"))
    dataset.replace("run.json", b'{"epoch": 1}')
    inner.replace("run.json", b'{"epoch": 1}')
    writer = PartWriter(inner, "captions", 0, 1)
    writer.add_table("captions", CaptionRow, [CaptionRow(1, 2, "m", 512, 8)], folder="index")
    writer.commit({})
    named = inner.list("index")
    orphans = [inner, "clips/part-00000-00000000.tar"], [dataset, "shards/part-00000-00000000.tar"]
    for store, path in orphans:
        store.replace(path, b"rubbish")
    assert sweep(dataset) == ["shards/part-00000-00000000.tar"]
    assert inner.exists("clips/part-00000-00000000.tar")
    assert sweep(inner, LATENT_PHASES, LATENT_FOLDERS) == ["clips/part-00000-00000000.tar"]
    assert inner.list("index") == named
