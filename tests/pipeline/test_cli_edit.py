"""``vivid edit`` as it is called, on a tiny CogVideoX of random weights."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import media_files
from editor_cli import QUICK, SQUARE, done, mask_image, mask_video, refused, run, square_masks
from rich.console import Console
from tiny_dataset import moving_square

from pipeline.editor_commands import load_editor
from stages.media import encode_image
from train.offloading import Offload
from train.run_folder import SETTINGS_FILE
from train.video_files import read_video


@pytest.fixture
def edit(model: Path, clip: Path, tmp_path: Path) -> Callable[..., Path]:
    """Edit the clip and return the output's path."""

    def edit(*arguments: str | Path, video: Path = clip, name: str = "out.mkv") -> Path:
        output = tmp_path / name
        lossless = ("--lossless",) if name.endswith(".mkv") else ()
        done("edit", video, "-m", model, "-o", output, *QUICK, *lossless, *arguments)
        return output

    return edit


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


def test_nothing_of_the_old_rim_shows_unless_a_feather_is_asked_for(
    edit: Callable[..., Path], clip: Path, tmp_path: Path
) -> None:
    mask = mask_video(tmp_path / "mask.mkv", square_masks())
    rim = square_masks()
    rim[:, 21:37] = False
    frames = read_video(clip).frames.astype(int)

    def change(name: str, *arguments: str) -> float:
        return float(np.abs(read_video(edit("--mask", mask, *arguments, name=name)).frames - frames)[rim].mean())

    drawn, deleted = change("a.mkv", "-p", "a red ball"), change("b.mkv", "--delete")
    soft = change("c.mkv", "-p", "a red ball", "--feather", "4")
    assert soft < 0.4 * drawn
    assert deleted > 2 * soft


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
        (("-p", "", "--box", SQUARE), "the prompt is empty: say what to draw, or --delete"),
        (("-p", " \n", "--box", SQUARE), "the prompt is empty: say what to draw, or --delete"),
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
    assert "late.mkv is black in the first frame" in only
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


def test_the_folder_of_a_run_is_told_from_its_result(clip: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "tr"
    run_folder.mkdir()
    (run_folder / SETTINGS_FILE).write_text("{}")

    def said() -> str:
        return refused("edit", clip, "-m", run_folder, "-o", tmp_path / "o.mp4", "--delete", "--box", SQUARE)

    assert said().endswith("is not finished: run the same `vivid train` again")
    for step in ("step-00000010", "step-00000020", ".step-00000030.partial"):
        (run_folder / "checkpoints" / step).mkdir(parents=True)
    assert said().endswith(f"again, or take its newest checkpoint, {run_folder}/checkpoints/step-00000020")
    (run_folder / "final").mkdir()
    assert said() == f"{run_folder} is the folder of a training run; what it has trained is {run_folder}/final"


def test_a_name_on_the_hub_is_announced(clip: Path, tmp_path: Path) -> None:
    """The tests are offline, so that is where it ends."""
    result = run("edit", clip, "-m", "nobody/nothing", "-o", tmp_path / "o.mp4", "--delete", "--box", SQUARE)
    assert isinstance(result.exception, ValueError)
    assert "taken from the Hugging Face hub" in " ".join(result.stderr.split())


def test_what_cannot_edit_is_said(model: Path, clip: Path, tmp_path: Path) -> None:
    where = ("--delete", "--box", SQUARE, "--still")
    result = done("edit", clip, "-m", model.with_name("base"), "-o", tmp_path / "o.mp4", *where, *QUICK)
    assert "it cannot edit a video" in " ".join(result.stderr.split())


def test_offloading_needs_a_gpu(model: Path, clip: Path, tmp_path: Path) -> None:
    rest = ("-o", tmp_path / "o.mp4", "--delete", "--box", SQUARE, "--offload", "model")
    assert refused("edit", clip, "-m", model, *rest) == "--offload model is for a GPU, and none is found here"


@pytest.mark.parametrize(
    ("free", "asked", "placed"),
    [(10**12, "auto", "none"), (10**7, "auto", "model"), (10**6, "auto", "sequential"), (10**12, "model", "model")],
)
def test_a_gpu_with_little_memory_gets_the_parts_in_turn(
    model: Path, monkeypatch: pytest.MonkeyPatch, free: int, asked: str, placed: str
) -> None:
    """On a GPU that is only told of: where the editor is put is noted down."""
    places: list[tuple[str, str]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free, 10**12))
    monkeypatch.setattr("pipeline.editor_commands.place", lambda _, how, device: places.append((how, device)))
    said = io.StringIO()
    load_editor(str(model), None, Console(file=said), Offload(asked))
    assert places == [(placed, "cuda")]
    assert (f"--offload {placed}" in " ".join(said.getvalue().split())) == (asked == "auto" and placed != "none")
