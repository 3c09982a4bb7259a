"""Dull clips and copies across sources: left out with their reasons, and nothing else, in any order of work."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from committed_parts import begin, commit_ingest, commit_listing
from small_work import clip_row, image_row
from tiny_dataset import FPS, HEIGHT, WIDTH, data_files, moving_square, texture, vivid, write_clip, write_config

from manifests.commits import read_commits, read_rows
from manifests.dataset import Dataset
from manifests.records import ClipRow, FoundRow, RejectRow
from manifests.storage import Store, open_store
from pipeline.ingest_phase import commit_layout, commit_retry_layout
from stages.layout import LayoutSettings
from stages.media import ClipWriter, MediaSettings, encode_image


def write_frames(path: Path, frames: Sequence[np.ndarray], crf: int = 18) -> None:
    height, width = frames[0].shape[:2]
    writer = ClipWriter(width, height, Fraction(FPS), MediaSettings(crf=crf))
    for frame in frames:
        writer.add(frame)
    path.write_bytes(writer.finish())


def slides() -> list[np.ndarray]:
    """Two photographs, 1.5 s each, dissolving into each other: no cut is found between them."""
    first, second = (texture(seed, HEIGHT, WIDTH).astype(np.float32) for seed in (50, 51))
    between = [first + (second - first) * step / 7 for step in range(1, 7)]
    return [frame.astype(np.uint8) for frame in [first] * 18 + between + [second] * 18]


def half_again_as_large(frame: np.ndarray) -> np.ndarray:
    """The same picture at 144×96, 25 levels brighter and cropped by 3 %."""
    large = cv2.add(cv2.resize(frame[1:-1, 1:-2], (144, 96), interpolation=cv2.INTER_CUBIC), (25, 25, 25, 0))
    return np.asarray(large, dtype=np.uint8)


def write_originals(folder: Path) -> None:
    for seed in range(4):
        write_clip(folder / f"{seed}_clip.mp4", seed)
    (folder / "4_photo.jpg").write_bytes(encode_image(moving_square(9)[3]))


def write_dull(folder: Path) -> None:
    rng = np.random.default_rng(0)
    still = texture(60, HEIGHT, WIDTH)
    write_frames(folder / "5_black.mp4", [np.full_like(still, 6)] * 12)
    write_frames(folder / "6_blank.mp4", [np.full_like(still, 130) + np.uint8(step % 2) for step in range(12)])
    grainy = [np.clip(still + rng.normal(0, 1.5, still.shape), 0, 255).astype(np.uint8) for _ in range(18)]
    write_frames(folder / "7_frozen.mp4", grainy)
    write_frames(folder / "8_slides.mp4", slides())


def write_copies(folder: Path) -> None:
    write_frames(folder / "copy_of_1.mp4", moving_square(1), crf=35)
    write_frames(folder / "copy_of_2.mp4", [half_again_as_large(frame) for frame in moving_square(2)])
    (folder / "copy_of_4.jpg").write_bytes(encode_image(half_again_as_large(moving_square(9)[3]), 40))
    (folder / "frame_of_3.jpg").write_bytes(encode_image(moving_square(3)[0], 60))


KEPT = {"0_clip.mp4", "1_clip.mp4", "2_clip.mp4", "3_clip.mp4", "4_photo.jpg"}
DULL = {"5_black.mp4": "black", "6_blank.mp4": "blank", "7_frozen.mp4": "frozen", "8_slides.mp4": "slide_show"}
COPIES = {
    "copy_of_1.mp4": "1_clip.mp4",
    "copy_of_2.mp4": "2_clip.mp4",
    "copy_of_4.jpg": "4_photo.jpg",
    "frame_of_3.jpg": "3_clip.mp4",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filters") / "in"
    folder.mkdir()
    write_originals(folder)
    write_dull(folder)
    write_copies(folder)
    return folder


@pytest.fixture(scope="module")
def config(inputs: Path) -> Path:
    return write_config(inputs.parent / "tiny.yaml")


def ingest(given: Path, out: Path, config: Path) -> Dataset:
    result = vivid("shards", given, "--out", out, "--config", config, "--local", "--phases", "ingest")
    assert result.returncode == 0, result.stderr
    return Dataset(out)


@pytest.fixture(scope="module")
def done(inputs: Path, config: Path) -> Dataset:
    return ingest(inputs, inputs.parent / "out", config)


def kept_paths(dataset: Dataset) -> set[str]:
    return {row[0] for row in dataset.query("SELECT path FROM clips JOIN sources USING (source_id)")[1]}


def originals_of_copies(dataset: Dataset) -> dict[str, str]:
    """Path of each copy → path of the clip its message names; the index of ingest has both."""
    paths = {row[0]: row[1] for row in dataset.query("SELECT source_id, path FROM sources")[1]}
    path_of = {
        row.clip_id: paths[row.source_id]
        for commit in read_commits(dataset.store, "ingest").values()
        for row in read_rows(dataset.store, commit, "found", FoundRow)
    }
    rows = dataset.query("SELECT id, message FROM rejects WHERE reason = 'near_duplicate'")[1]
    return {str(path_of[str(name)]): str(path_of[str(message).split()[3]]) for name, message in rows}


def test_dull_clips_and_copies_are_left_out_and_nothing_else(done: Dataset) -> None:
    assert kept_paths(done) == KEPT
    dull = done.query(
        "SELECT reason, value >= threshold, threshold FROM rejects WHERE level = 'clip' AND stage = 'ingest' ORDER BY 1"
    )[1]
    assert dull == [("black", True, 0.9), ("blank", True, 0.9), ("frozen", True, 0.98), ("slide_show", True, 0.7)]
    states = dict(done.query("SELECT path, state FROM sources")[1])
    assert {path for path, state in states.items() if state == "filtered"} == set(DULL)
    assert originals_of_copies(done) == COPIES


def test_copies_have_their_distance_and_the_threshold(done: Dataset) -> None:
    rows = done.query(
        "SELECT level, phase, stage, state, threshold, value <= threshold FROM rejects WHERE reason = 'near_duplicate' "
        "ORDER BY threshold"
    )[1]
    assert rows == [("clip", "layout", "layout", "filtered", limit, True) for limit in (6.0, 6.0, 8.0, 8.0)]


def test_parts_have_no_gaps_where_copies_were(done: Dataset) -> None:
    places = done.query("SELECT part, position, kind FROM clips ORDER BY 1, 2")[1]
    assert places == [(0, 0, "video"), (0, 1, "video"), (1, 0, "video"), (1, 1, "video"), (2, 0, "image")]


def test_the_order_of_the_listing_makes_no_difference(
    done: Dataset, inputs: Path, config: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in inputs.iterdir())
    listing = inputs / "listing.txt"
    listing.write_text("".join(f"{name}\n" for name in names[::-1]))
    try:
        shuffled = ingest(listing, tmp_path / "out", config)
    finally:
        listing.unlink()
    assert data_files(tmp_path / "out") == data_files(inputs.parent / "out")
    assert kept_paths(shuffled) == KEPT


def test_copies_in_an_appended_run_are_found_against_committed_clips(
    inputs: Path, config: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in COPIES:
        shutil.copy(inputs / name, folder / name)
    first = ingest(folder, out, config)
    assert kept_paths(first) == set(COPIES)
    before = data_files(out)
    for name in KEPT | set(DULL):
        shutil.copy(inputs / name, folder / name)
    appended = ingest(folder, out, config)
    # What came first stays; a video that begins with a kept image has more to it, and stays too.
    assert kept_paths(appended) == {*COPIES, "0_clip.mp4", "3_clip.mp4"}
    assert originals_of_copies(appended) == {COPIES[copy]: copy for copy in COPIES if copy != "frame_of_3.jpg"}
    after = data_files(out)
    assert {name: after[name] for name in before} == before


HASH = 0x0F1E2D3C4B5A6978


def rows_of_three_parts() -> dict[int, list[ClipRow]]:
    one, other = f"{HASH:016x}", f"{HASH ^ 0b111:016x}"
    return {
        0: [image_row("a" * 16, keyframe_hash=one), clip_row("b" * 16, keyframe_hash="123456789abcdef0")],
        1: [clip_row("c" * 16, keyframe_hash=one)],
        2: [clip_row("d" * 16, keyframe_hash=other), clip_row("e" * 16, keyframe_hash="0fedcba987654321")],
    }


def layouts_of(store: Store) -> tuple[list[ClipRow], list[RejectRow]]:
    commits = list(read_commits(store, "layout").values())
    clips = [row for commit in commits for row in read_rows(store, commit, "clips", ClipRow)]
    return clips, [row for commit in commits for row in read_rows(store, commit, "rejects", RejectRow)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_first_in_layout_order_is_kept_in_whatever_order_parts_end(order: tuple[int, ...], tmp_path: Path) -> None:
    store = open_store(tmp_path)
    begin(store)
    commit_listing(store, [0, 1, 2])
    for part in order:
        commit_ingest(store, part, rows_of_three_parts()[part])
    assert commit_layout(store, 1, LayoutSettings(), 0) == 3
    clips, rejects = layouts_of(store)
    # Videos come before images: of the three alike, the image was found first and is laid out last.
    assert [row.clip_id[0] for row in clips] == ["b", "c", "e"]
    assert [(row.id[0], row.reason, row.value, row.threshold) for row in rejects] == [
        ("d", "near_duplicate", 3.0, 8.0),
        ("a", "near_duplicate", 0.0, 6.0),
    ]
    assert all(f"clip {'c' * 16} " in row.message for row in rejects)


def test_clips_laid_out_again_are_no_copies(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    begin(store)
    commit_listing(store, [0, 1, 2])
    for part, rows in rows_of_three_parts().items():
        commit_ingest(store, part, rows)
    commit_layout(store, 1, LayoutSettings(), 0)
    assert commit_retry_layout(store, 1, LayoutSettings(), ["c" * 16, "e" * 16]) == 2
    assert [row.clip_id[0] for row in layouts_of(store)[0]] == ["b", "c", "e", "c", "e"]


def test_copies_are_kept_when_told_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    begin(store)
    commit_listing(store, [0, 1, 2])
    for part, rows in rows_of_three_parts().items():
        commit_ingest(store, part, rows)
    settings = LayoutSettings.model_validate({"near_duplicates": {"enabled": False}})
    assert commit_layout(store, 1, settings, 0) == 5
    assert layouts_of(store)[1] == []
