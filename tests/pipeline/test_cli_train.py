"""``vivid edit``, ``vivid evaluate`` and ``vivid train`` as they are called, on a tiny CogVideoX of random weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import media_files
from click.testing import Result
from tiny_dataset import job_environment, moving_square, vivid, write_clip, write_config, write_inputs
from tiny_models.clip import save_tiny_clip
from typer.testing import CliRunner

from pipeline.cli import KNOWN_ERRORS, app
from stages.media import encode_image
from train.checkpoint import read_config
from train.inpaint_pipeline import VividInpaintPipeline
from train.tiny_base import TinyBaseSettings, save_tiny_base
from train.video_files import read_video

SQUARE = "8,20,26,38"
QUICK = ("--steps", "2", "--guidance", "1")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*arguments: str | Path) -> str:
    """The one sentence that a command ends with."""
    result = run(*arguments)
    assert isinstance(result.exception, KNOWN_ERRORS), (result.output, result.exception)
    text = str(result.exception)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline."""
    folder = tmp_path_factory.mktemp("model") / "editor"
    base = save_tiny_base(folder.with_name("base"), TinyBaseSettings(text_tokens=32))
    VividInpaintPipeline.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 96×64 with a square that moves."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_inputs(folder / "in", clips=6, images=4)
    made = vivid(
        "shards", folder / "in", "--out", folder / "out", "--config", write_config(folder / "c.yaml"), "--local"
    )
    assert made.returncode == 0, made.stderr
    return folder / "out"


@pytest.fixture
def edit(model: Path, clip: Path, tmp_path: Path) -> Callable[..., Path]:
    """Edit the clip and return the output's path."""

    def edit(*arguments: str | Path, video: Path = clip, name: str = "out.mkv") -> Path:
        output = tmp_path / name
        lossless = ("--lossless",) if name.endswith(".mkv") else ()
        done("edit", video, "-m", model, "-o", output, *QUICK, *lossless, *arguments)
        return output

    return edit


def square_masks(frames: int = 12) -> np.ndarray:
    masks = np.zeros((frames, 64, 96), np.bool_)
    for index, mask in enumerate(masks):
        mask[20:38, 8 + 4 * index : 26 + 4 * index] = True
    return masks


def mask_video(path: Path, masks: np.ndarray) -> Path:
    pictures = [np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255 for mask in masks]
    return media_files.write_video(path, pictures, codec="ffv1", pix_fmt="bgr0")


def mask_image(path: Path, mask: np.ndarray) -> Path:
    path.write_bytes(encode_image(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255))
    return path


# --- edit: what works ---


def test_a_mask_video_says_where_to_the_pixel(edit: Callable[..., Path], clip: Path, tmp_path: Path) -> None:
    masks = square_masks()
    mask = mask_video(tmp_path / "mask.mkv", masks)
    frames = read_video(clip).frames
    output = edit("--mask", mask, "-p", "a red ball")
    edited = read_video(output)
    assert edited.frames.shape == frames.shape, "twelve frames: two windows of the model's nine"
    assert np.array_equal(edited.frames[~masks], frames[~masks])
    changed = (edited.frames != frames).any(axis=3)
    assert all(changed[index][masks[index]].mean() > 0.5 for index in range(12))
    again = edit("--mask", mask, "-p", "a red ball", name="again.mkv")
    assert again.read_bytes() == output.read_bytes()
    other = read_video(edit("--mask", mask, "-p", "a red ball", "--seed", "1", name="other.mkv"))
    assert not np.array_equal(other.frames, edited.frames)


@pytest.mark.parametrize("how", ["box", "mask"])
def test_a_thing_in_the_first_frame_is_followed(
    edit: Callable[..., Path], clip: Path, tmp_path: Path, how: str
) -> None:
    where = ("--box", "5,17,29,41") if how == "box" else ("--mask", mask_image(tmp_path / "m.png", square_masks(1)[0]))
    edited = read_video(edit(*where, "--delete")).frames
    changed = (edited != read_video(clip).frames).any(axis=3)
    for index, mask in enumerate(square_masks()):
        assert changed[index][mask].mean() > 0.5, index
        assert changed[index][:, : max(1, 4 * index - 4)].mean() < 0.02, "it has left there"


def test_a_still_box_stays(edit: Callable[..., Path], clip: Path) -> None:
    edited = read_video(edit("--box", "60,10,90,40", "--still", "-p", "a blue ring")).frames
    changed = (edited != read_video(clip).frames).any(axis=3)
    inside = np.zeros((64, 96), np.bool_)
    inside[10:40, 60:90] = True
    assert not changed[:, ~inside].any()
    assert all(frame[inside].mean() > 0.5 for frame in changed)


def test_a_keyframe_is_made_and_then_spread(edit: Callable[..., Path], clip: Path, tmp_path: Path) -> None:
    mask = mask_video(tmp_path / "mask.mkv", square_masks())
    first = edit("--mask", mask, "-p", "a red ball", "--keyframe-only", name="key.png")
    keyframe, frames = read_video(first).frames[0], read_video(clip).frames
    inside = square_masks()[0]
    assert np.array_equal(keyframe[~inside], frames[0][~inside])
    assert not np.array_equal(keyframe[inside], frames[0][inside])
    edited = read_video(edit("--mask", mask, "-p", "a red ball", "--keyframe", first)).frames
    assert np.array_equal(edited[0], keyframe)
    assert np.array_equal(edited[~square_masks()], frames[~square_masks()])


def test_the_feather_is_chosen_by_the_task(edit: Callable[..., Path], clip: Path, tmp_path: Path) -> None:
    mask = mask_video(tmp_path / "mask.mkv", square_masks())
    rim = square_masks()
    rim[:, 21:37] = False
    frames = read_video(clip).frames.astype(int)

    def change(name: str, *arguments: str) -> float:
        return float(np.abs(read_video(edit("--mask", mask, *arguments, name=name)).frames - frames)[rim].mean())

    hard, soft = change("a.mkv", "--delete"), change("b.mkv", "--delete", "--feather", "4")
    drawn = change("c.mkv", "-p", "a red ball")
    assert soft < 0.4 * hard
    assert drawn < 0.4 * hard


def test_odd_sizes_uneven_stamps_and_sound(edit: Callable[..., Path], tmp_path: Path) -> None:
    frames = media_files.moving_frames(6, width=67, height=51)
    stamps = [0, 40, 80, 200, 210, 400]
    source = media_files.write_video(
        tmp_path / "odd.mkv", frames, codec="ffv1", pix_fmt="bgr0", stamps=stamps, time_base=Fraction(1, 1000)
    )
    edited = read_video(edit("--box", "10,10,30,40", "--still", "--delete", video=source, name="odd.mp4"))
    assert edited.frames.shape == (6, 51, 67, 3)
    assert [float(stamp * edited.time_base) for stamp in edited.stamps] == pytest.approx([s / 1000 for s in stamps])


def test_a_video_of_one_frame_and_an_image(edit: Callable[..., Path], tmp_path: Path) -> None:
    one = media_files.write_video(tmp_path / "one.mp4", moving_square(0)[:1])
    where = ("--box", SQUARE, "-p", "a red ball")
    assert len(read_video(edit(*where, video=one, name="one-out.mp4")).frames) == 1
    (tmp_path / "one.jpg").write_bytes(encode_image(moving_square(0)[0]))
    edited = edit(*where, video=tmp_path / "one.jpg", name="image.png")
    assert read_video(edited).frames.shape == (1, 64, 96, 3)


def test_an_existing_output_is_kept_unless_told(edit: Callable[..., Path], model: Path, clip: Path) -> None:
    where = ("--box", SQUARE, "--still", "--delete")
    output = edit(*where)
    before = output.read_bytes()
    text = refused("edit", clip, "-m", model, "-o", output, "--lossless", *where)
    assert "exists already; name another file or add --overwrite" in text
    assert output.read_bytes() == before
    edit(*where, "--overwrite", "--seed", "5")
    assert output.read_bytes() != before
    assert [path.name for path in output.parent.iterdir()] == [output.name]


# --- edit: what is refused, before any work ---


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say either what to draw (--prompt) or --delete"),
        (("--delete", "-p", "x"), "say either what to draw (--prompt) or --delete"),
        (("--delete",), "say where: either --mask or --box"),
        (("--delete", "--box", SQUARE, "--mask", "m.png"), "say where: either --mask or --box"),
        (("--delete", "--box", "90,0,97,10"), "does not lie inside the video, which is 96×64"),
        (("--delete", "--box", "1,2,3"), "a box is x0,y0,x1,y1 in whole pixels, not '1,2,3'"),
        (("--delete", "--mask", "none.png"), "cannot read none.png: No such file"),
        (("--delete", "--box", SQUARE, "--profile", "nowhere"), "nowhere"),
        (("--delete", "--box", SQUARE, "--lossless"), "must end with .mkv when lossless"),
        (("--delete", "--box", SQUARE, "--keyframe-only"), "must end with .png for a picture"),
        (("--delete", "--box", SQUARE, "--keyframe", "k.png", "--keyframe-only"), "use one after the other"),
        (("--box", SQUARE, "-p", "a long prompt, spelt in single letters"), "tokens, and the model reads at most 32"),
    ],
)
def test_wrong_use_is_one_sentence(
    model: Path, clip: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused("edit", clip, "-m", model, "-o", tmp_path / "out.mp4", *arguments)
    assert not list(tmp_path.iterdir())


def test_files_that_do_not_fit_are_one_sentence(model: Path, clip: Path, tmp_path: Path) -> None:
    def said(*arguments: str | Path) -> str:
        return refused("edit", clip, "-m", model, "-o", tmp_path / "out.mp4", "--delete", *arguments)

    small = mask_image(tmp_path / "small.png", np.ones((64, 90), np.bool_))
    black = mask_image(tmp_path / "black.png", np.zeros((64, 96), np.bool_))
    short = mask_video(tmp_path / "short.mkv", square_masks(7))
    late = square_masks()
    late[0] = False
    late_mask = mask_video(tmp_path / "late.mkv", late)
    assert "small.png is 90×64, and the video is 96×64" in said("--mask", small)
    assert "black.png is black everywhere" in said("--mask", black)
    assert "short.mkv has 7 frames, and the video has 12" in said("--mask", short)
    assert "the keyframe" in said("--box", SQUARE, "--keyframe", small)
    assert "is 90×64, and the video is 96×64" in said("--box", SQUARE, "--keyframe", small)
    assert "has 12 frames, and it must be one picture" in said("--box", SQUARE, "--keyframe", clip)
    assert "--still is for a mask image or a box" in said("--mask", late_mask, "--still")
    (tmp_path / "key.png").write_bytes(encode_image(moving_square(0)[0]))
    key = ("--keyframe", tmp_path / "key.png")
    assert "empty in the first frame" in said("--mask", late_mask, *key)
    only = refused(
        "edit", clip, "-m", model, "-o", tmp_path / "o.png", "--delete", "--mask", late_mask, "--keyframe-only"
    )
    assert "the mask is empty in the frame that is edited" in only
    image = ("edit", tmp_path / "key.png", "-m", model, "-o", tmp_path / "o.png", "--delete", "--box", SQUARE)
    assert "nothing for a keyframe to spread to" in refused(*image, *key)
    (tmp_path / "text.mp4").write_text("no video")
    assert "cannot read" in refused("edit", tmp_path / "text.mp4", *image[2:4], "-o", tmp_path / "t.mp4", *image[6:])


def test_outputs_that_cannot_be_are_one_sentence(model: Path, clip: Path, tmp_path: Path) -> None:
    def said(output: Path, *arguments: str) -> str:
        return refused("edit", clip, "-m", model, "-o", output, "--delete", "--box", SQUARE, *arguments)

    assert "must end with .mp4" in said(tmp_path / "out.avi")
    assert "is the input; name another file" in said(clip, "--overwrite")
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder" in said(tmp_path / "folder.mp4")
    (tmp_path / "file").write_text("x")
    assert "is no folder one may write into" in said(tmp_path / "file" / "out.mp4")


# --- models ---


def test_a_missing_model_is_said_at_once_and_nothing_is_fetched(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").write_text("x")
    rest = ("-o", tmp_path / "out.mp4", "--delete", "--box", SQUARE)
    for name in ("nowhere", "./no/where", "/no/where", str(tmp_path / "runs" / "final"), "a/b/c", "~none/x"):
        assert f"there is no folder {name}" in refused("edit", clip, "-m", name, *rest)
        assert f"there is no folder {name}" in refused("train", tmp_path, "--base", name, "-o", tmp_path / "run")
        assert f"there is no folder {name}" in refused("evaluate", tmp_path, "-m", f"one={name}", "-o", tmp_path / "e")
    assert "is a file, and a model is a folder" in refused("edit", clip, "-m", tmp_path / "file", *rest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def test_a_name_on_the_hub_is_announced(clip: Path, tmp_path: Path) -> None:
    """The tests are offline, so that is where it ends."""
    result = run("edit", clip, "-m", "nobody/nothing", "-o", tmp_path / "o.mp4", "--delete", "--box", SQUARE)
    assert isinstance(result.exception, ValueError)
    assert "taken from the Hugging Face hub" in " ".join(result.stderr.split())


def test_what_cannot_edit_is_said(model: Path, clip: Path, tmp_path: Path) -> None:
    where = ("--delete", "--box", SQUARE, "--still")
    result = done("edit", clip, "-m", model.with_name("base"), "-o", tmp_path / "o.mp4", *where, *QUICK)
    assert "it cannot edit a video" in " ".join(result.stderr.split())


# --- evaluate ---


@pytest.fixture
def clip_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights" / "clip-vit-base-patch16"
    save_tiny_clip(folder)
    entry = {"revision": "tiny", "files": {path.name: {} for path in sorted(folder.iterdir())}}
    (folder.parent / "weights.json").write_text(json.dumps({folder.name: entry}))
    monkeypatch.setenv("VIVID_WEIGHTS", str(folder.parent))
    return folder


def test_a_dataset_is_evaluated_with_all_metrics(shards: Path, model: Path, tmp_path: Path, clip_weights: Path) -> None:
    output = tmp_path / "report"
    result = done("evaluate", shards, "-m", f"ours={model}", "-o", output, *QUICK, "--samples", "2")
    document = json.loads((output / "evaluation.json").read_text())
    means = document["means"]
    assert set(means) == {"identity", "grey hole", "OpenCV inpainting", "background of other frames", "ours"}
    for editor in means:
        assert means[editor]["delete"]["bp"]["mean"] == 0, "all of them leave the background alone"
        assert "ta" not in means[editor]["delete"]
        assert 0 < means[editor]["delete"]["tc"]["mean"] <= 1
        assert 0 < means[editor]["delete"]["tc_7_5"]["mean"] <= 1
    assert means["ours"]["add_modify"]["ta"]["mean"] > 0
    assert means["ours"]["total"]["bp"]["count"] == len({edit["name"] for edit in document["edits"]})
    assert means["ours"]["delete"]["masked_error"]["mean"] > means["identity"]["delete"]["masked_error"]["mean"] == 0
    assert "CLIP: clip-vit-base-patch16, tiny-unlocked" in document["notes"]
    assert "| delete | ours |" in result.stdout
    assert result.stdout.rstrip().endswith("report/index.html")
    raw = tmp_path / "raw"
    done("evaluate", shards, "-m", f"ours={model}", "-o", raw, *QUICK, "--samples", "1", "--no-clip", "--no-restore")
    assert json.loads((raw / "evaluation.json").read_text())["means"]["ours"]["delete"]["bp"]["mean"] > 1


def test_a_folder_of_triples_with_another_tools_results(clip: Path, tmp_path: Path) -> None:
    frames, masks = read_video(clip).frames, square_masks()
    triples, peer = tmp_path / "triples", tmp_path / "peer"
    triples.mkdir()
    peer.mkdir()
    for name in ("00000001", "00000002"):
        (triples / f"{name}_src.mp4").write_bytes(clip.read_bytes())
        media_files.write_video(triples / f"{name}_crop.mp4", list(frames))
        mask_video(triples / f"{name}_mask.mkv", masks)
    (triples / "00000001.txt").write_text("a red ball")
    edited = frames.copy()
    edited[masks] = 9
    media_files.write_video(peer / "00000001.mkv", list(edited), codec="ffv1", pix_fmt="bgr0")
    result = run("evaluate", triples, "--results", f"peer={peer}", "-o", tmp_path / "report", "--no-clip")
    assert result.exit_code == 3, "one result is missing"
    assert "peer on 00000002: " in result.stderr
    document = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert document["means"]["peer"]["add_modify"]["bp"]["mean"] == 0, "only masked pixels differ, losslessly stored"
    assert document["means"]["peer"]["delete"] == {}
    assert "has no result for 00000002" in (tmp_path / "report" / "index.html").read_text()
    assert "without CLIP" in document["notes"][1]


def test_an_evaluation_that_cannot_be_is_one_sentence(shards: Path, tmp_path: Path, clip: Path) -> None:
    out = ("-o", tmp_path / "report")
    assert "holds neither a dataset nor triples" in refused("evaluate", tmp_path / "none", *out, "--no-clip")
    assert "or judge BP alone with --no-clip" in refused("evaluate", shards, *out)
    assert "is not NAME=FOLDER" in refused("evaluate", shards, *out, "--results", "x=", "--no-clip")
    assert "there is no folder" in refused("evaluate", shards, *out, "--results", "x=/none", "--no-clip")
    text = refused("evaluate", shards, *out, "--no-clip", "--results", f"identity={tmp_path}")
    assert "two editors are called 'identity'" in text
    assert "height" in refused("evaluate", shards, *out, "--no-clip", "--window", "height=50")
    assert not (tmp_path / "report").exists()


# --- train ---


def test_without_a_base_a_tiny_one_is_trained_and_that_is_said(shards: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("workers: 0\nvalidate_every: 2\nvalidation_samples: 1\nvalidation_steps: 1\n")
    output = tmp_path / "run"
    result = done("train", shards, "-o", output, "--config", config, "--set", "courses.0.steps=2")
    assert "tiny CogVideoX of random weights" in " ".join(result.stderr.split())
    assert re.search(r"run/final: 2 steps, last loss \d+\.\d{4}", result.stdout)
    assert read_config(output / "final").step == 2
    assert len(list((output / "validation" / "step-00000002").glob("*.mp4"))) == 2
    again = done("train", shards, "-o", output, "--config", config, "--set", "courses.0.steps=2")
    assert "final: 2 steps" in again.stdout, "nothing is left to do"
    clip = tmp_path / "c.mp4"
    write_clip(clip, 3)
    done(
        "edit",
        clip,
        "-m",
        output / "final",
        "-o",
        tmp_path / "e.mp4",
        "-p",
        "a ball",
        "--box",
        SQUARE,
        "--still",
        *QUICK,
    )


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("batch_size=0", "batch_size"),
        ("nothing=1", "nothing"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate"),
        ("courses.3.steps=1", "is not a position in a list of 1"),
        ("courses.0.windows.frames=10", "8k + 1 frames"),
        ("batch_size", "--set takes name.name=value"),
    ],
)
def test_wrong_settings_are_one_sentence(shards: Path, tmp_path: Path, setting: str, sentence: str) -> None:
    assert sentence in refused("train", shards, "-o", tmp_path / "run", "--set", setting)
    assert not (tmp_path / "run").exists()


def test_a_training_that_cannot_be_is_one_sentence(shards: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "run")
    assert "none.yaml" in refused("train", shards, *out, "--config", tmp_path / "none.yaml")
    assert "holds no dataset" in refused("train", tmp_path / "none", *out)
    assert "there are no latents 'other'" in refused("train", shards, *out, "--latents", "other")


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [
        "train",
        str(shards),
        "-o",
        str(output),
        "--set",
        "courses.0.steps=400",
        "--set",
        "checkpoint_every=1000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command], env=job_environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not list((output / "logs").rglob("events.*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    (checkpoint,) = (output / "checkpoints").iterdir()
    step = read_config(checkpoint).step
    assert 0 < step < 400
    assert f"stopped at step {step}, which is saved" in said
    command[5] = f"courses.0.steps={step + 2}"
    again = vivid(*command)
    assert "holds another training" in again.stderr, "the number of steps is part of a training"
    command[5] = "courses.0.steps=400"
    rest = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *command], env=job_environment(), stderr=subprocess.PIPE, text=True
    )
    assert rest.stderr is not None
    line = next(line for line in rest.stderr if "from step" in line)
    os.kill(rest.pid, signal.SIGINT)
    rest.communicate(timeout=120)
    assert line.rstrip().endswith(f"from step {step}")
    assert rest.returncode == 130
