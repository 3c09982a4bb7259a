from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
from tiny_models.cogvideox import small_clip

from stages.lossless import write_lossless
from train.triple_files import export_triples
from train.triples import ADD_MODIFY, DELETE, Triple, TripleSource, folder_triples
from train.video_files import read_video

FRAMES, MASKS = small_clip(5)
FRAMES = np.random.default_rng(0).integers(0, 256, FRAMES.shape, np.uint8)
FIXED = "Remove it."
CAPTIONS = {ADD_MODIFY: "a “red” ball", DELETE: "remove it, in another run's words"}


def source(name: str, task: str) -> TripleSource:
    triple = Triple(name, task, FRAMES, MASKS, CAPTIONS[task], 30000 / 1001, FRAMES)
    return TripleSource(name, task, "video", lambda: triple)


def broken(name: str) -> TripleSource:
    def read() -> Triple:
        raise ValueError("it is torn")

    return TripleSource(name, DELETE, "video", read)


def test_what_is_exported_is_read_back_to_the_bit(tmp_path: Path) -> None:
    told: list[float] = []
    sources = [source("0123-00-o-s", ADD_MODIFY), source("0123-90-o-f", DELETE)]
    assert export_triples(sources, tmp_path / "deep" / "triples", told.append) == []
    assert told == [0.5, 1]
    found = folder_triples(tmp_path / "deep" / "triples", FIXED)
    assert [(one.name, one.task) for one in found] == [("0123-00-o-s", ADD_MODIFY), ("0123-90-o-f", DELETE)]
    for one in found:
        triple = one.read()
        assert np.array_equal(triple.frames, FRAMES)
        assert np.array_equal(triple.masks, MASKS)
        assert triple.caption == (CAPTIONS[ADD_MODIFY] if one.task == ADD_MODIFY else FIXED)
        assert triple.fps == pytest.approx(30000 / 1001, abs=1e-3)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["triples"], "nothing is left beside it"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty; name a new folder"):
        export_triples([source("1", DELETE)], tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        export_triples([source("1", DELETE)], tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    export_triples([source("1", DELETE)], tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["1_mask.mkv", "1_src.mkv"]


def test_another_ones_files_that_come_meanwhile_are_not_written_over(tmp_path: Path) -> None:
    def meanwhile(_share: float) -> None:
        (tmp_path / "triples").mkdir()
        (tmp_path / "triples" / "1_src.mkv").write_text("another one's")

    with pytest.raises(ValueError, match=r"cannot write .*triples: Directory not empty"):
        export_triples([source("1", DELETE)], tmp_path / "triples", meanwhile)
    assert (tmp_path / "triples" / "1_src.mkv").read_text() == "another one's"
    assert [path.name for path in tmp_path.iterdir()] == ["triples"]


def test_an_export_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_triples([source("1", DELETE)], tmp_path / "triples", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_left_out_with_a_word(tmp_path: Path) -> None:
    problems = export_triples([broken("a"), source("b", DELETE)], tmp_path / "some")
    assert problems == ["a is left out: it is torn"]
    assert [one.name for one in folder_triples(tmp_path / "some", FIXED)] == ["b"]
    with pytest.raises(ValueError, match="no triple can be exported: a is left out: it is torn"):
        export_triples([broken("a")], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_odd_sizes_are_lossless_and_bytes_repeat(tmp_path: Path) -> None:
    odd = FRAMES[:1, :51, :67]
    for name in ("a.mkv", "b.mkv"):
        write_lossless(tmp_path / name, odd, 7.5)
    assert np.array_equal(read_video(tmp_path / "a.mkv").frames, odd)
    assert read_video(tmp_path / "a.mkv").fps == 7.5
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()
