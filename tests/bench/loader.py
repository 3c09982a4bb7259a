"""The indexed loader against reading one video and one mask video per sample through webdataset."""

from __future__ import annotations

import io
import json
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import webdataset

from bench.figures import Figure, Report, Table
from manifests.dataset import Dataset
from manifests.masks import MaskTrack
from stages.augment import apply_variant
from stages.media import ClipWriter, MediaSettings, iter_clip
from stages.windows import Window, WindowSettings
from train.data import Example, SampleReader
from train.mixing import Slot
from train.sample_table import Sample, SampleTable

SAMPLES_PER_TAR = 8


@dataclass(frozen=True)
class Reading:
    """What it took to read some samples once."""

    cpu: float
    wall: float
    read: int
    frames: int


def chosen_samples(dataset: Path, count: int) -> list[Sample]:
    """Video samples spread evenly over all of a dataset's."""
    table = SampleTable(Dataset(dataset), None)
    places = [
        (stratum, row) for stratum in table.strata if stratum[0] == "video" for row in range(table.counts()[stratum])
    ]
    picked = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return [table.sample(*places[place]) for place in picked]


def write_exploded(dataset: Path, examples: Sequence[Example], folder: Path) -> list[str]:
    """Tars of ``<sample>.mp4``, ``<sample>.mask.mp4``, ``<sample>.json``: whole clips, as peers publish theirs."""
    folder.mkdir(parents=True)
    stored = Dataset(dataset)
    paths = []
    for start in range(0, len(examples), SAMPLES_PER_TAR):
        path = folder / f"exploded-{start:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for example in examples[start : start + SAMPLES_PER_TAR]:
                sample = example.sample
                clip = stored.store.read_range(sample.shard, sample.clip_offset, sample.clip_size)
                said = json.dumps({"caption": sample.caption, "task": sample.task}).encode()
                for ending, content in (("mp4", clip), ("mask.mp4", _mask_video(stored, sample)), ("json", said)):
                    member = tarfile.TarInfo(f"{sample.sample_id}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        paths.append(str(path))
    return paths


def _mask_video(stored: Dataset, sample: Sample) -> bytes:
    track = MaskTrack.from_bytes(stored.store.read_range(sample.shard, sample.mask_offset, sample.mask_size))
    parameters = json.loads(sample.variant_parameters)
    writer = ClipWriter(sample.width, sample.height, Fraction(sample.fps or 1).limit_denominator(1001), MediaSettings())
    for index in range(sample.num_frames):
        writer.add(np.repeat(apply_variant(track.mask(index), parameters)[..., None], 3, axis=2).astype(np.uint8) * 255)
    return writer.finish()


def read_indexed(reader: SampleReader, slots: Sequence[tuple[Slot, Sample]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and masks by the indexed loader."""
    for slot, sample in slots:
        example = reader.read(slot, sample)
        assert example.frames is not None
        yield example.frames, example.masks


def read_exploded(paths: list[str], windows: dict[str, Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same windows of the same samples, streamed; only their frames are decoded."""
    for sample in webdataset.WebDataset(paths, shardshuffle=False):
        window = windows[sample["__key__"]]
        distinct = sorted(set(window.indices))
        frames = dict(zip(distinct, map(window.cut, iter_clip(sample["mp4"], indices=distinct)), strict=True))
        light = iter_clip(sample["mask.mp4"], indices=distinct, exact=False)
        masks = dict(zip(distinct, (window.cut_mask(picture[..., 0] > 127) for picture in light), strict=True))
        json.loads(sample["json"])
        yield tuple(np.stack([part[index] for index in window.indices]) for part in (frames, masks))  # type: ignore[misc]


def measure_loader(dataset: Path, folder: Path, samples: int, repetitions: int, windows: WindowSettings) -> Report:
    """Samples per second and bytes read of both layouts, on one process, equal frames out."""
    reader = SampleReader(str(dataset), windows, 0)
    slots = [
        (Slot(f"bench {sample.sample_id}", sample.kind, sample.task, 0, kive=False), sample)
        for sample in chosen_samples(dataset, samples)
    ]
    examples = [reader.read(slot, sample) for slot, sample in slots]
    paths = write_exploded(dataset, examples, folder / "exploded")
    shown = {example.sample.sample_id: example.window for example in examples}
    _assert_equal(examples, list(read_exploded(paths, shown)))
    counted = _counting(reader)
    pairs = [
        (
            _reading(lambda: read_indexed(reader, slots), counted),
            _reading(lambda: read_exploded(paths, shown), lambda: sum(Path(path).stat().st_size for path in paths)),
        )
        for _ in range(repetitions)
    ]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    speed = _median(theirs, "cpu") / _median(ours, "cpu")
    clock = _median(theirs, "wall") / _median(ours, "wall")
    share = ours[0].read / theirs[0].read
    count = len(slots)
    lengths = sorted(sample.num_frames for _, sample in slots)
    note = (
        f"processor time of webdataset over one mp4 and one mask mp4 per sample ÷ that of the indexed loader, one "
        f"process, {count} samples of {windows.frames} frames at {windows.width}×{windows.height} from clips of "
        f"{lengths[0]}–{lengths[-1]} frames, {repetitions} repetitions in turn, medians; on the clock {clock:.2f}"
    )
    bytes_note = (
        f"ranges the loader asks its store for ({windows.frames} frames of {statistics.median(lengths):.0f}, from the "
        "key frame before them, the clip's index and first frame, and the masks); the exploded tars are streamed whole"
    )
    rows = [(count / _median(one, "cpu"), one[0].read / count / 1e3) for one in (ours, theirs)]
    return Report(
        [
            Figure("loader samples/s against the exploded layout", speed, "at least", 1.0, note),
            Figure("loader bytes read against the exploded layout", share, "at most", 1 / 3, bytes_note),
        ],
        [
            Table(
                "Reading a training sample",
                ("layout", "samples per processor second", "kB read per sample"),
                [("indexed shards", *rows[0]), ("one video and mask video per sample", *rows[1])],
            )
        ],
    )


def _counting(reader: SampleReader) -> Callable[[], int]:
    """From now on count the bytes the reader's store is asked for; the result gives and forgets the count."""
    store, asked = reader.dataset.store, [0]
    plain = store.read_range

    def read_range(path: str, offset: int, size: int) -> bytes:
        asked[0] += size
        return plain(path, offset, size)

    store.read_range = read_range  # type: ignore[method-assign]

    def taken() -> int:
        count, asked[0] = asked[0], 0
        return count

    return taken


def _reading(read: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], taken: Callable[[], int]) -> Reading:
    cpu, wall = time.process_time(), time.perf_counter()
    frames = sum(len(pictures) for pictures, _ in read())
    return Reading(time.process_time() - cpu, time.perf_counter() - wall, taken(), frames)


def _assert_equal(examples: Sequence[Example], streamed: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Both give the same frames, and the same masks but for what the mask video's coding costs at edges."""
    assert len(examples) == len(streamed)
    for example, (frames, masks) in zip(examples, streamed, strict=True):
        assert np.array_equal(example.frames, frames)
        assert np.mean(example.masks != masks) < 0.01


def _median(readings: Sequence[Reading], what: str) -> float:
    return statistics.median(getattr(reading, what) for reading in readings)
