from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sample_rows import sample_row

from manifests.commits import RUN_FILE
from manifests.dataset import Dataset
from manifests.masks import MaskTrack
from manifests.records import SampleRow
from manifests.storage import StorageError
from stages.augment import AugmentSettings, apply_variant, draw_variants
from stages.media import ClipWriter, MediaSettings, decode_clip
from stages.range_file import SMALL
from stages.windows import WindowSettings
from train.data import DataError, EditSamples, Example, SampleReader
from train.mixing import Mixing, MixingSettings, RankBatches, Slot
from train.sample_table import Sample, SampleTable

WINDOWS = WindowSettings(height=64, width=96, frames=9)


def samples_of(folder: Path, batch_size: int = 4, windows: WindowSettings = WINDOWS, seed: int = 0) -> EditSamples:
    table = SampleTable(Dataset(folder))
    settings = MixingSettings(images=1, videos=1)
    reader = SampleReader(str(folder), windows, seed)
    return EditSamples(reader, Mixing(settings, table.counts(), batch_size, seed), table)


def first_examples(samples: EditSamples, batches: int) -> list[Example]:
    return [samples[slot] for batch in RankBatches(samples.mixing, 0, batches) for slot in batch]


def test_examples_are_what_the_manifest_says(tiny_shards: Path) -> None:
    """At the clip's own size a window is plain decoding and the stored variant."""
    samples, dataset = samples_of(tiny_shards), Dataset(tiny_shards)
    rows = {row.sample_id: row for row in dataset.rows("samples", SampleRow)}
    kinds = set()
    for example in first_examples(samples, 6):
        row = rows[example.sample.sample_id]
        assert (example.caption, row.split) == (row.caption, "train")
        indices = list(example.window.indices)
        assert len(indices) == (9 if row.kind == "video" else 1)
        frames = decode_clip(dataset.clip_bytes(row))
        assert np.array_equal(example.frames, np.stack([frames[index] for index in indices]))
        track, parameters = dataset.masks(row), json.loads(row.variant_parameters)
        masks = [apply_variant(track.mask(index), parameters) for index in indices]
        assert np.array_equal(example.masks, np.stack(masks))
        assert example.masks.any()
        kinds.add((row.kind, row.task))
    assert kinds == {(kind, task) for kind in ("image", "video") for task in ("add_modify", "delete")}


def test_all_mask_variants_and_captions_come_up(tiny_shards: Path) -> None:
    samples = samples_of(tiny_shards)
    mixing, table = samples.mixing, samples.table
    seen = [table.sample((slot.kind, slot.task), mixing.row(slot)) for n in range(120) for slot in mixing.batch(n)]
    assert {sample.mask_variant for sample in seen} == {
        "original",
        "expand",
        "hull",
        "box",
        "hull_expand",
        "box_expand",
    }
    counts = [sum(s.caption_kind == kind for s in seen) for kind in ("short", "medium", "long")]
    assert min(counts) > 0.8 * max(counts)
    assert {s.caption_kind for s in seen if s.task == "delete"} == {"fixed"}


def test_a_resumed_loader_gives_the_same_examples(tiny_shards: Path) -> None:
    whole = first_examples(samples_of(tiny_shards), 4)
    samples = samples_of(tiny_shards)
    rest = [samples[slot] for batch in RankBatches(samples.mixing, 2, 4) for slot in batch]
    for one, other in zip(whole[8:], rest, strict=True):
        assert one.sample == other.sample
        assert one.window == other.window
        assert np.array_equal(one.frames, other.frames)


def test_torch_workers_give_the_same_as_none(tiny_shards: Path) -> None:
    data = pytest.importorskip("torch.utils.data")
    samples = samples_of(tiny_shards)
    expected = [e.sample.sample_id for e in first_examples(samples, 4)]
    for workers in (0, 2):
        loader = data.DataLoader(
            samples, batch_sampler=RankBatches(samples.mixing, 0, 4), num_workers=workers, collate_fn=list
        )
        assert [example.sample.sample_id for batch in loader for example in batch] == expected


def test_samples_can_be_sent_to_another_process(tiny_shards: Path) -> None:
    samples = samples_of(tiny_shards)
    slot = samples.mixing.batch(0)[0]
    again = pickle.loads(pickle.dumps(samples))
    assert np.array_equal(again[slot].frames, samples[slot].frames)


def test_larger_windows_enlarge_and_crop(tiny_shards: Path) -> None:
    windows = WindowSettings(height=128, width=128, frames=9)
    for example in first_examples(samples_of(tiny_shards, windows=windows), 2):
        assert example.frames.shape[1:] == (128, 128, 3)
        assert example.masks.shape[1:] == (128, 128)
        assert example.masks.any()


def test_a_broken_shard_costs_its_samples_only(
    tiny_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(tiny_shards, copy)
    shards = sorted((copy / "shards").glob("*.tar"))
    data = shards[0].read_bytes()
    shards[0].write_bytes(data[: len(data) // 3] + b"\0" * (len(data) - len(data) // 3))
    examples = first_examples(samples_of(copy), 10)
    assert len(examples) == 40
    assert any("is left out of batch" in record.message for record in caplog.records)
    broken = f"shards/{shards[0].name}"
    assert sum(example.sample.shard == broken for example in examples) < 20


LONG = 160


def write_long_clip(folder: Path) -> tuple[SampleReader, Sample]:
    """A clip of 160 frames full of detail and its mask in the middle of a shard, and a reader that looks there."""
    rng = np.random.default_rng(0)
    writer = ClipWriter(128, 96, Fraction(25), MediaSettings())
    for _ in range(LONG):
        writer.add(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
    clip = writer.finish()
    assert len(clip) > 2 * SMALL
    block = np.zeros((96, 128), bool)
    block[20:60, 30:80] = True
    mask = MaskTrack.from_masks([block] * LONG).to_bytes()
    (folder / RUN_FILE).write_text(json.dumps({"epoch": 1, "roots": {}}))
    (folder / "shards").mkdir()
    (folder / "shards" / "part.tar").write_bytes(b"before" + clip + mask + b"after")
    row = sample_row(
        width=128,
        height=96,
        fps=25.0,
        num_frames=LONG,
        variant_parameters=json.dumps(draw_variants(0, "a" * 16, AugmentSettings())["original"]),
        shard="shards/part.tar",
        clip_offset=6,
        clip_size=len(clip),
        mask_offset=6 + len(clip),
        mask_size=len(mask),
    )
    sample = Sample(**{field.name: getattr(row, field.name) for field in fields(Sample)})
    return SampleReader(str(folder), WindowSettings(height=96, width=128, frames=9), 0), sample


def test_of_a_long_clip_only_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, sample = write_long_clip(tmp_path)
    store = reader.dataset.store
    plain, asked = store.read_range, []

    def read_range(path: str, offset: int, size: int) -> bytes:
        asked.append(size)
        return plain(path, offset, size)

    monkeypatch.setattr(store, "read_range", read_range)
    whole = decode_clip(plain(sample.shard, sample.clip_offset, sample.clip_size))
    starts = set()
    for number in range(12):
        asked.clear()
        example = reader.read(Slot(f"slot {number}", "video", "add_modify", 0, kive=False), sample)
        assert np.array_equal(example.frames, [whole[index] for index in example.window.indices])
        assert len(asked) <= 4
        assert sum(asked) < (sample.clip_size + sample.mask_size) / 2
        starts.add(example.window.indices[0])
    assert len(starts) > 6


def test_a_store_that_fails_in_the_middle_of_a_clip_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, sample = write_long_clip(tmp_path)
    store = reader.dataset.store
    slot = Slot("slot", "video", "add_modify", 0, kive=False)
    expected = reader.read(slot, sample).frames
    plain = store.read_range
    for good in (1, 2):
        left = [good]

        def read_range(path: str, offset: int, size: int, left: list[int] = left) -> bytes:
            left[0] -= 1
            if left[0] < 0:
                raise StorageError(f"cannot read {path}: Input/output error")
            return plain(path, offset, size)

        monkeypatch.setattr(store, "read_range", read_range)
        with pytest.raises(StorageError, match="cannot read shards/part"):
            reader.read(slot, sample)
    monkeypatch.setattr(store, "read_range", plain)
    assert np.array_equal(reader.read(slot, sample).frames, expected)


def test_a_lost_store_is_an_error(tiny_shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(tiny_shards, copy)
    samples = samples_of(copy)
    shutil.rmtree(copy / "shards")
    with pytest.raises(DataError, match="8 samples in a row could not be read"):
        samples[samples.mixing.batch(0)[0]]


def test_a_split_without_samples_is_one_sentence(tiny_shards: Path) -> None:
    with pytest.raises(ValueError, match="no samples in the split 'nowhere'"):
        SampleTable(Dataset(tiny_shards), "nowhere")
