"""``vivid evaluate`` as it is called, on a tiny CogVideoX of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import media_files
from editor_cli import QUICK, done, mask_video, refused, run, square_masks
from tiny_models.clip import save_tiny_clip

from pipeline.editor_commands import named
from train.editors import ModelEditor
from train.triples import Triple
from train.video_files import read_video


@pytest.fixture
def clip_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights" / "clip-vit-base-patch16"
    save_tiny_clip(folder)
    entry = {"revision": "tiny", "files": {path.name: {} for path in sorted(folder.iterdir())}}
    (folder.parent / "weights.json").write_text(json.dumps({folder.name: entry}))
    monkeypatch.setenv("VIVID_WEIGHTS", str(folder.parent))
    return folder


def test_a_dataset_is_evaluated_with_all_metrics(
    tiny_shards: Path, model: Path, tmp_path: Path, clip_weights: Path
) -> None:
    output = tmp_path / "report"
    result = done("evaluate", tiny_shards, "-m", f"ours={model}", "-o", output, *QUICK, "--samples", "2")
    document = json.loads((output / "evaluation.json").read_text())
    means = document["means"]
    assert set(means) == {"identity", "grey hole", "OpenCV inpainting", "background of other frames", "ours"}
    assert "total" not in means["background of other frames"], "it only deletes"
    for editor in means:
        assert means[editor]["delete"]["bp"]["mean"] == 0, "all of them leave the background alone"
        assert "ta" not in means[editor]["delete"]
        assert 0 < means[editor]["delete"]["tc"]["mean"] <= 1
        assert 0 < means[editor]["delete"]["tc_7_5"]["mean"] <= 1
        assert ("bp_drawn" in means[editor]["delete"]) == (editor == "ours")
    assert means["ours"]["delete"]["bp_drawn"]["mean"] > 1, "what the model itself makes of the background"
    assert means["ours"]["add_modify"]["ta"]["mean"] > 0
    assert means["ours"]["total"]["bp"]["count"] == len({edit["name"] for edit in document["edits"]})
    assert means["ours"]["delete"]["masked_error"]["mean"] > means["identity"]["delete"]["masked_error"]["mean"] == 0
    assert "CLIP: clip-vit-base-patch16, tiny-unlocked" in document["notes"]
    assert "| delete | ours |" in result.stdout
    assert result.stdout.rstrip().endswith("report/index.html")
    raw = tmp_path / "raw"
    done(
        "evaluate", tiny_shards, "-m", f"ours={model}", "-o", raw, *QUICK, "--samples", "1", "--no-clip", "--no-restore"
    )
    assert json.loads((raw / "evaluation.json").read_text())["means"]["ours"]["delete"]["bp"]["mean"] > 1


def test_an_editing_seed_changes_the_edits_and_not_what_is_judged(
    tiny_shards: Path, model: Path, tmp_path: Path
) -> None:
    common = ("--steps", "1", "--guidance", "1", "--samples", "1", "--no-clip")
    ours = ("-m", f"ours={model}")
    # The windows of a run without the model are said; else they are the model's.
    size = [f"--window={name}={value}" for name, value in (("height", 64), ("width", 96), ("frames", 9))]
    runs = {"a": (*ours, "--seed", "0"), "b": (*ours, "--seed", "1"), "c": ("--sample-seed", "2")}
    judged: dict[str, dict[str, list[dict[str, object]]]] = {}
    for name, options in runs.items():
        done("evaluate", tiny_shards, *common, *size, "-o", tmp_path / name, *options)
        judged[name] = {}
        for edit in json.loads((tmp_path / name / "evaluation.json").read_text())["edits"]:
            judged[name].setdefault(edit["editor"], []).append({**edit, "seconds": None})
    assert judged["a"]["grey hole"] == judged["b"]["grey hole"], "the same windows of the same samples"
    assert judged["a"]["grey hole"] != judged["c"]["grey hole"]
    assert judged["a"]["ours"] != judged["b"]["ours"], "but not the same noise"


def test_edits_that_are_finished_are_not_made_again(
    tiny_shards: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (
        "evaluate",
        tiny_shards,
        "-m",
        f"ours={model}",
        "--steps",
        "1",
        "--guidance",
        "1",
        "--samples",
        "1",
        "--no-clip",
    )
    whole, report, made = tmp_path / "whole", tmp_path / "report", []
    done(*common, "-o", whole)

    def edit(editor: ModelEditor, triple: Triple) -> tuple[np.ndarray, np.ndarray]:
        made.append(triple.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return edit_and_drawn(editor, triple)

    edit_and_drawn = ModelEditor.edit_and_drawn
    monkeypatch.setattr(ModelEditor, "edit_and_drawn", edit)
    assert run(*common, "-o", report).exit_code != 0
    done(*common, "-o", report)
    assert len(made) == 3, "the first one was kept, the second one made again"
    assert made[1] == made[2] != made[0]
    tables = [(folder / "evaluation.md").read_text() for folder in (whole, report)]
    assert tables[0] == tables[1]
    done(*common, "-o", report, "--seed", "1")
    assert len(made) == 5, "another seed is another edit"
    assert len(list((report / "edits").iterdir())) == 4, "what is not needed any more is removed"


def test_exported_samples_are_edited_elsewhere_and_judged(tiny_shards: Path, tmp_path: Path) -> None:
    chosen = ("--samples", "2", "--sample-seed", "3", "--window", "height=64", "--window", "width=96", "--no-clip")
    small = (*chosen, "--window", "frames=9")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    result = done("evaluate", tiny_shards, *small, "--export", tmp_path / "triples", "-o", tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 1, "nothing is judged"
    peer = tmp_path / "peer"
    peer.mkdir()
    sources = sorted((tmp_path / "triples").glob("*_src.mkv"))
    assert len(sources) >= 2
    for file in sources:
        (peer / file.name.replace("_src", "")).write_bytes(file.read_bytes())
    command = result.stdout.replace("NAME=FOLDER", f"peer={peer}").split()
    done(*command[1:], "--no-clip", "-o", tmp_path / "report")
    means = json.loads((tmp_path / "report" / "evaluation.json").read_text())["means"]
    assert means["peer"]["total"]["bp"] == {**means["identity"]["total"]["bp"], "mean": 0}
    assert means["peer"]["total"]["bp"]["count"] == len(sources)
    assert means["peer"]["delete"]["masked_error"]["mean"] == 0, "they are the very windows, losslessly"
    done("evaluate", tmp_path / "triples", "--no-clip", "-o", tmp_path / "of_folder")
    assert "is not empty" in refused("evaluate", tiny_shards, *small, "--export", tmp_path / "triples")
    assert "and x is none" in refused("evaluate", "x", "--export", tmp_path / "new")


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


def test_an_evaluation_that_cannot_be_is_one_sentence(tiny_shards: Path, tmp_path: Path, clip: Path) -> None:
    out = ("-o", tmp_path / "report")
    assert "holds neither a dataset nor triples" in refused("evaluate", tmp_path / "none", *out, "--no-clip")
    assert "or judge BP alone with --no-clip" in refused("evaluate", tiny_shards, *out)
    assert "is not NAME=FOLDER" in refused("evaluate", tiny_shards, *out, "--results", "x=", "--no-clip")
    assert "there is no folder" in refused("evaluate", tiny_shards, *out, "--results", "x=/none", "--no-clip")
    text = refused("evaluate", tiny_shards, *out, "--no-clip", "--results", f"identity={tmp_path}")
    assert "two editors are called 'identity'" in text
    assert "height" in refused("evaluate", tiny_shards, *out, "--no-clip", "--window", "height=50")
    assert not (tmp_path / "report").exists()


def test_a_folder_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1e-4" / "final"
    folder.mkdir(parents=True)
    assert named(str(folder)) == ("final", str(folder))
    assert named(f"peer={folder}") == ("peer", str(folder))
