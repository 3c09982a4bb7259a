from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from media_files import write_video
from tiny_dataset import moving_square

from manifests.dataset import Dataset
from manifests.records import ClipRow, SampleRow
from stages.media import decode_clip, encode_image
from stages.windows import WindowSettings
from train.triples import ADD_MODIFY, DELETE, folder_triples, held_out_triples

WINDOWS = WindowSettings(height=64, width=96, frames=9)
FIXED = "Remove it."


def write_triple(folder: Path, name: str, frames: int = 5, caption: str | None = None) -> None:
    """A triple as VIVID's demo page names it, its third file included."""
    folder.mkdir(exist_ok=True)
    pictures = moving_square(1)[:frames]
    masks = [np.zeros_like(picture) for picture in pictures]
    for index, mask in enumerate(masks):
        mask[20:38, 8 + 4 * index : 26 + 4 * index] = 255
    for part, content in (("src", pictures), ("mask", masks), ("crop", pictures)):
        write_video(folder / f"{name}_{part}.mp4", content)
    if caption is not None:
        (folder / f"{name}.txt").write_text(f"{caption}\n")


def test_a_folder_of_files(tmp_path: Path) -> None:
    write_triple(tmp_path, "00000012", caption="a red car")
    write_triple(tmp_path, "00000007")
    first, second = folder_triples(tmp_path, FIXED)
    assert (first.name, first.task, second.name, second.task) == ("00000007", DELETE, "00000012", ADD_MODIFY)
    assert (first.source_id, second.source_id) == ("00000007", "00000012"), "each triple is a video of its own"
    triple = second.read()
    assert (triple.caption, first.read().caption) == ("a red car", FIXED)
    assert triple.frames.shape == (5, 64, 96, 3)
    assert triple.masks.shape == (5, 64, 96)
    assert triple.masks[2, 22:36, 18:32].all()
    assert not triple.masks[2, :15].any()
    assert triple.fps == 10
    assert triple.truth is None


def test_a_mask_image_is_for_all_frames(tmp_path: Path) -> None:
    write_triple(tmp_path, "1")
    (tmp_path / "1_mask.mp4").unlink()
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[10:20, 10:20] = 255
    (tmp_path / "1_mask.png").write_bytes(encode_image(picture))
    (triple,) = folder_triples(tmp_path, FIXED)
    assert triple.read().masks.sum() == 5 * 100


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds neither a dataset nor triples"):
        folder_triples(tmp_path, FIXED)
    with pytest.raises(ValueError, match="holds neither a dataset nor triples"):
        folder_triples(tmp_path / "none", FIXED)
    write_triple(tmp_path, "1")
    (tmp_path / "1_mask.mp4").unlink()
    with pytest.raises(ValueError, match=r"1_src\.mp4 has no mask beside it \(1_mask\.mp4, "):
        folder_triples(tmp_path, FIXED)


def test_sources_of_any_format_are_taken(tmp_path: Path) -> None:
    write_triple(tmp_path, "1")
    (tmp_path / "1_src.mp4").rename(tmp_path / "1_src.MOV")
    (tmp_path / ".1_src.mp4.partial").write_bytes(b"")
    (triple,) = folder_triples(tmp_path, FIXED)
    assert len(triple.read().frames) == 5
    (tmp_path / "1_src.mkv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"both .*1_src\.MOV and 1_src\.mkv are there"):
        folder_triples(tmp_path, FIXED)


def test_captions_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_triple(tmp_path, "1")
    text = tmp_path / "1.txt"
    text.write_bytes(b"\xef\xbb\xbfa red car\r\n")
    assert folder_triples(tmp_path, FIXED)[0].read().caption == "a red car"
    text.write_bytes("ein grüner Käfer".encode("latin-1"))
    with pytest.raises(ValueError, match=r"1\.txt is not UTF-8 text"):
        folder_triples(tmp_path, FIXED)
    text.write_bytes(b" \n")
    with pytest.raises(ValueError, match=r"1\.txt is empty; without that file it is a deletion"):
        folder_triples(tmp_path, FIXED)


def test_held_out_samples_are_one_per_track_and_of_the_split(tiny_shards: Path) -> None:
    rows = {row.sample_id: row for row in Dataset(tiny_shards).rows("samples", SampleRow)}
    sources = held_out_triples(str(tiny_shards), 3, WINDOWS, 0, split="train")
    chosen = [rows[source.name] for source in sources]
    assert {(row.kind, row.split) for row in chosen} == {("video", "train")}
    for task in (ADD_MODIFY, DELETE):
        tracks = [row.track_id for row in chosen if row.task == task]
        assert len(tracks) == len(set(tracks)) == 3
    assert [row.task for row in chosen] == [source.task for source in sources]
    origins = {clip.clip_id: clip.source_id for clip in Dataset(tiny_shards).rows("clips", ClipRow)}
    assert [origins[row.clip_id] for row in chosen] == [source.source_id for source in sources]
    again = held_out_triples(str(tiny_shards), 3, WINDOWS, 0, split="train")
    assert [source.name for source in again] == [source.name for source in sources]
    assert [source.name for source in held_out_triples(str(tiny_shards), 3, WINDOWS, 1, "train")] != [
        source.name for source in sources
    ]


def test_a_held_out_triple_is_the_clip_and_its_truth(tiny_shards: Path) -> None:
    dataset = Dataset(tiny_shards)
    rows = {row.sample_id: row for row in dataset.rows("samples", SampleRow)}
    for source in held_out_triples(str(tiny_shards), 1, WINDOWS, 0):
        triple, row = source.read(), rows[source.name]
        assert (triple.caption, triple.task, triple.fps, row.split) == (row.caption, row.task, row.fps, "eval")
        assert triple.frames.shape == (9, 64, 96, 3)
        assert triple.masks.any()
        assert np.array_equal(triple.frames, triple.truth)
        clip = decode_clip(dataset.clip_bytes(row))
        assert any(np.array_equal(triple.frames[0], frame) for frame in clip)


def test_a_sample_that_cannot_be_read_is_one_sentence(tiny_shards: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_shards, tmp_path / "out")
    source = held_out_triples(str(tmp_path / "out"), 1, WINDOWS, 0)[0]
    shutil.rmtree(tmp_path / "out" / "shards")
    with pytest.raises(ValueError, match=f"{source.name} cannot be read: "):
        source.read()


def test_a_split_without_videos_is_one_sentence(tiny_shards: Path) -> None:
    with pytest.raises(ValueError, match="no samples in the split 'nowhere'"):
        held_out_triples(str(tiny_shards), 1, WINDOWS, 0, split="nowhere")
