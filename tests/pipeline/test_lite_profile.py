"""The profile `lite` on short cuts of real clips, from files to shards, with the real YOLOX-nano."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("onnxruntime", reason="the extra `lite` is not installed")

from tiny_dataset import vivid

from manifests.dataset import Dataset
from models.coco import COCO_NAMES
from pipeline.config import load_config
from stages.media import ClipWriter, MediaSettings

WIDTH, HEIGHT, FRAMES, FPS = 640, 360, 24, 12
SETTINGS = {
    "extends": "lite",
    "ingest_slice": 1,
    "layout": {"video_part_size": 1},
    "stages": {
        "ingest": {"normalise": {"min_short_side": HEIGHT, "min_duration": 1.5}, "image_fraction": 0.0},
        "screen": {"min_stability": 0.3},
    },
}
"""Two seconds of small frames instead of five of large ones; every second frame moves as far as two."""


def test_lite_is_cpu_with_another_tagger_and_detector() -> None:
    lite, cpu = load_config("lite"), load_config("cpu")
    assert lite.profile == "lite"
    assert lite.pools == cpu.pools
    assert lite.weights() == {**cpu.weights(), **lite.weights()} != cpu.weights()
    for name in {name for phase in ("ingest", "annotate", "compose") for name in lite.chain(phase)}:
        assert (lite.stage_settings(name) == cpu.stage_settings(name)) == (name not in ("tag", "detect")), name
    tagger, detector = lite.stage_settings("tag")["tagger"], lite.stage_settings("detect")["detector"]
    assert tagger == detector
    assert tagger["name"] == "yolox"
    # Names and movement are looked for in frames that the stages hand on.
    looked_at = (*tagger["settings"]["following"]["frames"], *tagger["settings"]["discovery"]["saliency"]["steps"])
    assert max(looked_at) < lite.stage_settings("tag")["lookahead"]
    assert lite.stage_settings("tag")["lookahead"] == lite.stage_settings("detect")["lookahead"]


def write_cut(path: Path, frames: Iterable[np.ndarray]) -> None:
    """A small clip of every second of these BGR frames."""
    writer = ClipWriter(WIDTH, HEIGHT, Fraction(FPS), MediaSettings())
    for index, frame in enumerate(frames):
        if index % 2 == 0 and index < 2 * FRAMES:
            small = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            writer.add(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    path.write_bytes(writer.finish())


@pytest.fixture(scope="module")
def dataset(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    weights = shared_data / "weights"
    if not (weights / "yolox_nano.onnx").is_file():
        pytest.skip("the real yolox_nano.onnx is not in ../shared/data/weights")
    folder = tmp_path_factory.mktemp("lite")
    inputs = folder / "in"
    inputs.mkdir()
    pictures = sorted((shared_data / "davis" / "JPEGImages" / "blackswan").glob("*.jpg"))
    write_cut(inputs / "blackswan.mp4", (cv2.imread(str(picture)) for picture in pictures))
    video = cv2.VideoCapture(str(shared_data / "clips" / "01_dog.mp4"))
    write_cut(inputs / "dog.mp4", (video.read()[1] for _ in range(2 * FRAMES)))
    config = folder / "lite.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    result = vivid(
        *("shards", inputs, "--out", folder / "out", "--config", config, "--local"),
        environment={"VIVID_WEIGHTS": str(weights)},
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    return Dataset(folder / "out")


@pytest.mark.slow
def test_tracks_have_the_names_of_what_they_show(dataset: Dataset) -> None:
    _, rows = dataset.query(
        "SELECT s.path, t.tag, t.score, t.area_mean, t.stability FROM tracks t JOIN clips c USING (clip_id) "
        "JOIN sources s USING (source_id) WHERE t.role = 'entity' ORDER BY t.track_id"
    )
    for row in rows:
        print(*row)
    assert {tag for path, tag, *_ in rows if path == "blackswan.mp4"} == {"bird"}
    assert {tag for path, tag, *_ in rows if path == "dog.mp4"} <= {"person", "dog"}
    assert any(path == "dog.mp4" for path, *_ in rows)


@pytest.mark.slow
def test_captions_say_the_names(dataset: Dataset) -> None:
    _, rows = dataset.query(
        "SELECT tag, caption_short, caption_medium, caption_long FROM tracks WHERE role = 'entity' ORDER BY track_id"
    )
    assert rows
    for tag, *captions in rows:
        print(captions[-1])
        assert tag in COCO_NAMES
        for caption in captions:
            assert re.search(rf"\b{tag}\b", str(caption), re.IGNORECASE)


@pytest.mark.slow
def test_there_are_samples_of_both_tasks(dataset: Dataset) -> None:
    _, rows = dataset.query("SELECT task, count(*), count(DISTINCT clip_id) FROM samples GROUP BY 1 ORDER BY 1")
    print(rows)
    assert [row[0] for row in rows] == ["add_modify", "delete"]
    assert rows[0][2] == 2
