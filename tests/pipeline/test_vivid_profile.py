"""The profile `vivid` on short cuts of real clips, from files to shards, with a tiny checkpoint for every network.

The networks are the real classes, loaded as the real weights are; thresholds are so low that what they find counts.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("transformers", reason="the extra `models` is not installed")
pytest.importorskip("timm", reason="the extra `models` is not installed")

from caption_server import GOOD_TEXT, MODEL, CaptionServer, Seen
from tiny_dataset import CONFIG, data_files, moving_square, vivid, write_clip, write_config
from tiny_models.internvl import TAUGHT
from tiny_models.mirror import save_tiny_mirror

from manifests.dataset import Dataset
from manifests.records import SampleRow, TrackRow
from models.vocabulary import shipped_words
from pipeline.config import load_config
from stages.media import ClipWriter, MediaSettings

WIDTH, HEIGHT, FRAMES, FPS = 240, 136, 8, 12
ROOT = Path(__file__).resolve().parents[2]
CLIPS = ("blackswan", "camel", "dog")
JOBS = {
    "tagger": "tag.tagger",
    "detector": "detect.detector",
    "segmenter": "segment.segmenter",
    "tracker": "propagate.tracker",
    "flow": "measure.flow",
    "captioner": "caption.captioner",
    "scorer": "score.scorer",
}
QUICK_FLOW = {"settings": {"updates": 1}}
COARSE = {"working_side": 128}
SETTINGS: dict[str, Any] = {
    "extends": "vivid",
    "ingest_slice": 4,
    "layout": {"video_part_size": 4},
    "stages": {
        "ingest": {"normalise": {"min_short_side": HEIGHT, "min_duration": 0.5}, "image_fraction": 0.0},
        "tag": {"tagger": {"settings": {"max_tags": 4}}},
        "detect": {"detector": {"settings": {"min_score": 0.01, "max_area": 0.6}}, "max_entities": 2},
        "segment": {"max_overlap": 1.0},
        "measure": {"flow": QUICK_FLOW, "camera": COARSE},
        "screen": {"min_area": 0.0, "max_area": 1.0, "min_visible": 0, "min_stability": 0, "max_area_jump": 100},
        "caption": {"captioner": {"settings": {"prompt": {"side": 56}}}},
        "paste": {
            "flow": QUICK_FLOW,
            "homography": COARSE,
            "check": {**COARSE, "max_disagreement": 1.0, "min_followed": 0.01},
            "paste": {"min_inside": 0.3},
            "min_visible": 0.0,
            "max_covered": 1.0,
            "max_attempts": 3,
        },
        "augment": {"max_area_fraction": 1.0, "min_area_fraction": 0},
    },
}
"""Eight small frames instead of five seconds of large ones, thresholds that random networks pass, and little to do."""


def one_pool() -> dict[str, Any]:
    """All of ANNOTATE in one process: importing the libraries is what takes the time here."""
    annotate = {"name": "annotate", "stages": load_config("vivid").chain("annotate"), "batch": 4, "prefetch": True}
    return {"annotate": [annotate]}


def write_cut(path: Path, frames: Iterable[np.ndarray]) -> None:
    """A small clip of these RGB frames."""
    writer = ClipWriter(WIDTH, HEIGHT, Fraction(FPS), MediaSettings())
    for frame in frames:
        writer.add(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    path.write_bytes(writer.finish())


def frames_of(shared: Path, name: str) -> Iterator[np.ndarray]:
    """Every second frame of a real clip."""
    for picture in sorted((shared / "davis" / "JPEGImages" / name).glob("*.jpg"))[: 2 * FRAMES : 2]:
        yield cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three clips (real ones where they are at hand) and a mirror whose captioner was taught to talk."""
    folder = tmp_path_factory.mktemp("vivid")
    (folder / "in").mkdir()
    shared = ROOT.parent / "shared" / "data"
    for number, name in enumerate(CLIPS):
        real = (shared / "davis" / "JPEGImages" / name).is_dir()
        write_cut(folder / "in" / f"{name}.mp4", frames_of(shared, name) if real else moving_square(number, FRAMES))
    save_tiny_mirror(folder / "weights", talking=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The mirror, and nothing of what the user of this machine has."""
    return {"VIVID_WEIGHTS": str(folder / "weights"), "XDG_CACHE_HOME": str(folder / "cache")}


def write_settings(path: Path, **changes: Any) -> Path:
    """The small configuration as a file, with top-level changes."""
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return path


@pytest.fixture(scope="module")
def finished(work: Path) -> Path:
    config = write_settings(work / "vivid.yaml", pools=one_pool())
    result = vivid(
        *("shards", work / "in", "--out", work / "out", "--config", config, "--local"),
        environment=environment(work),
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    return work / "out"


@pytest.fixture(scope="module")
def dataset(finished: Path) -> Dataset:
    return Dataset(finished)


def entities(dataset: Dataset) -> list[TrackRow]:
    return [track for track in dataset.rows("tracks", TrackRow) if track.role == "entity"]


def of_clips(tracks: Iterable[TrackRow]) -> list[list[TrackRow]]:
    """Tracks of one clip together."""
    by_clip: dict[str, list[TrackRow]] = {}
    for track in tracks:
        by_clip.setdefault(track.clip_id, []).append(track)
    return list(by_clip.values())


# --- the whole profile ---


def test_samples_of_both_tasks_come_out(dataset: Dataset) -> None:
    _, rows = dataset.query("SELECT task, count(*), count(DISTINCT clip_id) FROM samples GROUP BY 1 ORDER BY 1")
    assert [task for task, *_ in rows] == ["add_modify", "delete"]
    assert rows[0][2] == len(CLIPS)
    assert rows[1][2] >= 2
    motions = dataset.query("SELECT DISTINCT motion FROM tracks WHERE role = 'pasted' ORDER BY 1")[1]
    assert motions == [("background",), ("trajectory",)]
    for sample in dataset.rows("samples", SampleRow)[::20]:
        masks = dataset.masks(sample)
        assert len(masks) == sample.num_frames == FRAMES
        assert masks.size == (sample.height, sample.width) == (HEIGHT, WIDTH)


def test_every_track_names_every_model_and_its_revision(finished: Path, dataset: Dataset) -> None:
    run = json.loads((finished / "run.json").read_text())
    used = {
        model["settings"]["weights"]
        for stage in [*run["semantic"]["chains"]["annotate"], *run["semantic"]["chains"]["compose"]]
        for model in stage["settings"].values()
        if isinstance(model, dict) and "weights" in model.get("settings", {})
    }
    revisions = run["semantic"]["weights"]
    assert set(revisions) == used
    assert all(revision.startswith("tiny-") for revision in revisions.values())
    assert len(set(revisions.values())) == len(revisions) == 6
    expected = {job: f"{name}@{revisions[name]}" for job, name in weights_of_jobs().items()}
    for track in entities(dataset):
        stamped = json.loads(track.models)
        assert stamped.pop("captioner").startswith(f"{expected['captioner']}-prompt")
        assert stamped == {job: name for job, name in expected.items() if job != "captioner"}
    for role, jobs in (("background", {"tagger", "detector", "segmenter"}), ("pasted", {"flow"})):
        tracks = [
            track for track in dataset.rows("tracks", TrackRow) if track.role == role and track.motion != "trajectory"
        ]
        assert tracks
        for track in tracks:
            assert json.loads(track.models) == {job: expected[job] for job in jobs}


def weights_of_jobs() -> dict[str, str]:
    models = load_config("vivid").models()
    settings = load_config("vivid").stage_settings
    names = {job: place.partition(".") for job, place in JOBS.items()}
    assert {f"stages.{place}" for place in JOBS.values()} < set(models)
    return {job: settings(stage)[field]["settings"]["weights"] for job, (stage, _, field) in names.items()}


def test_masks_follow_frames_and_boxes(dataset: Dataset) -> None:
    assert len(entities(dataset)) >= 2 * len(of_clips(entities(dataset))) - 1
    samples = {sample.track_id: sample for sample in dataset.rows("samples", SampleRow)}
    for tracks in of_clips(entities(dataset)):
        first = []
        for track in tracks:
            followed = dataset.masks(samples[track.track_id])
            masks = [followed.mask(frame) for frame in range(track.num_frames)]
            assert all((one != other).any() for one, other in pairwise(masks))
            assert 0 < masks[0].mean() < 1
            first.append(masks[0].tobytes())
        # One picture and one network: what tells these masks apart are the detector's boxes.
        assert len(set(first)) == len(tracks)


def test_what_networks_measure_differs_from_track_to_track(dataset: Dataset) -> None:
    tracks = entities(dataset)
    for name in ("score", "stability", "caption_score", "foreground_motion", "background_motion", "area_mean"):
        values = [getattr(track, name) for track in tracks]
        assert None not in values, name
        assert len(set(values)) > len(tracks) / 2, (name, values)
    assert all(0 < track.score <= 1 and 0 < track.caption_score <= 100 for track in tracks)


def test_tags_are_words_of_the_vocabularies(dataset: Dataset) -> None:
    tags = {(track.role, track.tag) for track in dataset.rows("tracks", TrackRow)}
    assert {tag for role, tag in tags if role == "entity"} <= set(shipped_words("entities"))
    assert {tag for role, tag in tags if role == "background"} <= set(shipped_words("background"))
    assert len({tag for role, tag in tags if role == "entity"}) > 1
    summary = json.loads((Path(dataset.store.url) / "summary.json").read_text())
    assert summary["other_tags"]["total"] > 0


def test_captions_are_what_the_network_wrote(dataset: Dataset) -> None:
    for track in entities(dataset):
        written = {"short": track.caption_short, "medium": track.caption_medium, "long": track.caption_long}
        assert written == TAUGHT
    captions = dataset.query("SELECT DISTINCT caption FROM samples WHERE task = 'add_modify' ORDER BY 1")[1]
    assert {caption for (caption,) in captions} == set(TAUGHT.values())


# --- how it is started ---


def test_make_asks_for_the_networks_libraries_and_passes_the_profile_on() -> None:
    command = ["make", "-n", "-C", str(ROOT), "shards", "PROFILE=vivid", "INPUT=clips", "OUT=there", "ARGS=--limit 3"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ".venv/bin/vivid shards clips --out there --profile vivid --limit 3" in said
    both = subprocess.run([*command, "-W", "pyproject.toml"], capture_output=True, text=True, check=True).stdout
    assert ".[models]" in both


@pytest.mark.slow
def test_ray_and_the_profiles_own_pools_give_the_same_dataset(work: Path, dataset: Dataset, tmp_path: Path) -> None:
    def leaves(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        else:
            yield f"{path}={json.dumps(value)}"

    sets = [text for name in ("ingest_slice", "layout", "stages") for text in leaves(SETTINGS[name], name)]
    arguments = [part for text in sets for part in ("--set", text)]
    result = vivid(
        *("shards", work / "in", "--out", tmp_path / "out", "--profile", "vivid", *arguments),
        environment=environment(work),
        timeout=1800,
    )
    assert result.returncode == 0, result.stderr
    other = Dataset(tmp_path / "out")
    for query in (
        "SELECT track_id, role, tag, caption_long, models FROM tracks ORDER BY 1",
        "SELECT sample_id, task, mask_variant, caption FROM samples ORDER BY 1",
        "SELECT id, state, reason FROM rejects ORDER BY 1",
    ):
        assert other.query(query) == dataset.query(query)


@pytest.mark.slow
def test_a_finished_dataset_needs_no_weights(work: Path, finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    bare = {"VIVID_WEIGHTS": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    again = ("shards", work / "in", "--out", out, "--config", work / "vivid.yaml", "--local")
    before = data_files(out)
    result = vivid(*again, environment=bare)
    assert result.returncode == 0, result.stderr
    assert "nothing to do" in result.stdout
    write_cut(work / "in" / "more.mp4", moving_square(5, FRAMES))
    try:
        result = vivid(*again, environment=bare)
    finally:
        (work / "in" / "more.mp4").unlink()
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "the weights clip-vit-base-patch16, grounding-dino-tiny, " in result.stderr
    assert "are not on this machine" in result.stderr
    assert data_files(out) == before


@pytest.mark.slow
def test_a_captioner_that_writes_nonsense_costs_its_tracks(work: Path, tmp_path: Path) -> None:
    """A random network instead of the taught one: every answer is asked for twice and then given up."""
    save_tiny_mirror(tmp_path / "weights")
    stages = {**SETTINGS["stages"], "caption": {"captioner": {"settings": {"max_new_tokens": 24}}}}
    config = write_settings(tmp_path / "c.yaml", stages=stages, pools=one_pool())
    result = vivid(
        *("shards", work / "in", "--out", tmp_path / "out", "--config", config, "--local", "--limit", "1"),
        environment=environment(tmp_path),
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    dataset = Dataset(tmp_path / "out")
    rows = dataset.query("SELECT level, state, reason, message FROM rejects WHERE stage = 'caption'")[1]
    assert len(rows) >= 1
    assert {row[:3] for row in rows} == {("track", "failed", "unparsed")}
    assert all("no usable captions when asked twice" in str(message) for *_, message in rows)
    assert not entities(dataset)


# --- captions from a server ---


def captioned_by(url: str, **given: Any) -> dict[str, Any]:
    """The tiny weight-free configuration with a server's captions."""
    waits = {"attempts": 2, "first_wait_s": 0.01, "longest_wait_s": 0.05, "concurrency": 1, "connect_timeout_s": 2}
    settings = {"url": url, "model": MODEL, "prompt": {"side": 56}, **waits, **given}
    return {"captioner": {"name": "openai_captioner", "settings": settings}}


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    for number in range(4):
        write_clip(tmp_path / "in" / f"clip{number}.mp4", number)
    return tmp_path


def with_server(folder: Path, url: str, **given: Any) -> tuple[str | Path, ...]:
    stages = {**CONFIG["stages"], "caption": captioned_by(url, **given)}
    config = write_config(folder / "c.yaml", {"stages": stages})
    return ("shards", folder / "in", "--out", folder / "out", "--config", config, "--local")


DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr
    return result.stderr


def test_a_server_that_is_not_there_is_one_sentence_before_any_work(squares: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    said = refused(vivid(*with_server(squares, dead), environment=DIRECT))
    assert f"stages.caption.captioner (openai_captioner): the caption endpoint {dead} gave no answer" in said
    with CaptionServer() as server:
        said = refused(vivid(*with_server(squares, server.url, model="another"), environment=DIRECT))
    assert f"has no model 'another'; it has {MODEL}" in said
    assert not (squares / "out").exists()


def test_faults_during_the_run_cost_their_clips_until_the_retry(squares: Path) -> None:
    over = False

    def answer(request: Seen) -> str:
        # The first entity that is answered at all gets nonsense, when asked again too.
        nonlocal over
        nonsense, over = not over, over or "An earlier answer to this was refused" in request.text
        return "I like this picture." if nonsense else GOOD_TEXT

    with CaptionServer(["500", "500", "html", "html", "slow", "slow", "ok"], answer, slow_s=2.0) as server:
        command = with_server(squares, server.url, timeout_s=0.5)
        result = vivid(*command, environment=DIRECT)
        assert result.returncode == 0, result.stderr
        rejects = Dataset(squares / "out").query(
            "SELECT level, state, reason, message FROM rejects WHERE stage = 'caption' ORDER BY id"
        )[1]
        endpoint = [str(message) for level, state, reason, message in rejects if reason == "endpoint"]
        # The server has recovered.
        again = vivid("retry", squares / "out", "--local", environment=DIRECT)
        assert again.returncode == 0, again.stderr
        assert f"{len(endpoint)} failed records are tried again" in again.stderr
    # One clip may have met two of the three faults; the first is what it says.
    assert 2 <= len(endpoint) <= 3
    assert {(level, state) for level, state, reason, _ in rejects if reason == "endpoint"} == {("clip", "failed")}
    assert all(message.endswith(", after 2 attempts") for message in endpoint)
    for words in ("answered HTTP 500", "something that is no chat completion", "did not answer within 0.5 seconds"):
        assert sum(words in message for message in endpoint) <= 1, endpoint
    assert [reason for _, _, reason, _ in rejects if reason != "endpoint"] == ["unparsed"]
    dataset = Dataset(squares / "out")
    assert dataset.query("SELECT count(DISTINCT clip_id) FROM tracks WHERE role = 'entity'")[1][0][0] >= 3
    assert dataset.query("SELECT DISTINCT caption_short FROM tracks WHERE role = 'entity'")[1] == [("a dog",)]
    assert not dataset.query("SELECT * FROM rejects WHERE reason = 'endpoint'")[1]

    # Nothing is left to be captioned: nobody asks for the server, and another address is no other dataset.
    command = with_server(squares, "http://127.0.0.1:9/v1", concurrency=7)
    result = vivid(*command, environment=DIRECT)
    assert result.returncode == 0, result.stderr
    assert "nothing to do" in result.stdout


def test_passing_faults_cost_nothing(squares: Path) -> None:
    with CaptionServer(["500", "html", "429", "cut", "close", "ok"]) as server:
        command = with_server(squares, server.url, attempts=9, concurrency=2)
        result = vivid(*command, "--limit", "1", environment=DIRECT)
        assert result.returncode == 0, result.stderr
        requests = len(server.asked)
    dataset = Dataset(squares / "out")
    kept = dataset.query("SELECT count(*) FROM tracks WHERE role = 'entity'")[1][0][0]
    assert requests == 5 + kept
    assert not dataset.query("SELECT * FROM rejects WHERE stage = 'caption'")[1]


@pytest.mark.slow
def test_the_profile_with_a_servers_captions(work: Path, tmp_path: Path) -> None:
    with CaptionServer() as server:
        stages = {**SETTINGS["stages"], "caption": captioned_by(server.url)}
        config = write_settings(tmp_path / "c.yaml", stages=stages, pools=one_pool())
        result = vivid(
            *("shards", work / "in", "--out", tmp_path / "out", "--config", config, "--local"),
            environment={**environment(work), **DIRECT},
            timeout=900,
        )
        assert result.returncode == 0, result.stderr
        assert all(request.images for request in server.asked)
    dataset = Dataset(tmp_path / "out")
    assert {track.caption_short for track in entities(dataset)} == {"a dog"}
    for track in entities(dataset):
        assert json.loads(track.models)["captioner"].startswith(f"openai_captioner@{MODEL}-prompt")
