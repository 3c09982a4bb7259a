from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
from media_files import write_video
from tiny_models.cogvideox import inpaint_pipeline, small_clip

from train.background_fill import fill_from_other_frames, inpaint_frames
from train.editing import EditSettings, _edit_window, edit_video
from train.editors import (
    CopyMasked,
    FrameInpainting,
    Identity,
    ModelEditor,
    RestoringEditor,
    ResultFolder,
    TemporalFill,
)
from train.metrics import background_preservation
from train.triples import ADD_MODIFY, DELETE, Triple
from train.video_files import write_picture

FRAMES, MASKS = small_clip(5)
TRIPLE = Triple("00000012", ADD_MODIFY, FRAMES, MASKS, "a red ball", 12.0)


def test_baselines_do_what_they_say() -> None:
    assert np.array_equal(Identity().edit(TRIPLE), FRAMES)
    hole = CopyMasked().edit(TRIPLE)
    assert (hole[MASKS] == 128).all()
    assert np.array_equal(hole[~MASKS], FRAMES[~MASKS])
    assert hole.dtype == np.uint8
    assert np.array_equal(FrameInpainting().edit(TRIPLE), inpaint_frames(FRAMES, MASKS))
    assert np.array_equal(TemporalFill().edit(TRIPLE), fill_from_other_frames(FRAMES, MASKS))
    assert TemporalFill().tasks == (DELETE,)
    assert FrameInpainting().tasks == (ADD_MODIFY, DELETE)


def test_no_baseline_that_fills_looks_into_the_hole() -> None:
    other = FRAMES.copy()
    other[MASKS] = 255 - other[MASKS]
    hidden = Triple("1", DELETE, other, MASKS, "", 12.0)
    for editor in (CopyMasked(), FrameInpainting(), TemporalFill()):
        assert np.array_equal(editor.edit(TRIPLE)[MASKS], editor.edit(hidden)[MASKS]), editor.name


def test_a_model_edits_as_the_command_does_and_does_not_look_into_the_hole() -> None:
    pipeline = inpaint_pipeline()
    settings = EditSettings(height=64, width=96, frames=9, steps=2, guidance=1)
    editor = ModelEditor("ours", pipeline, settings, seed=3)
    edited = editor.edit(TRIPLE)
    assert np.array_equal(edited, edit_video(pipeline, FRAMES, MASKS, "a red ball", settings, seed=3))
    other = FRAMES.copy()
    other[MASKS] = 255 - other[MASKS]
    hidden = Triple("1", ADD_MODIFY, other, MASKS, "a red ball", 12.0)
    assert np.array_equal(editor.edit(hidden)[MASKS], edited[MASKS])
    assert "restored outside the mask" in editor.says


def test_one_edit_of_a_model_gives_what_it_drew_and_what_it_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EditSettings(height=64, width=96, frames=9, steps=1, guidance=1)
    pipeline, calls = inpaint_pipeline(), []
    whole = ModelEditor("raw", pipeline, settings.model_copy(update={"restore": False}), seed=3).edit(TRIPLE)
    monkeypatch.setattr("train.editing._edit_window", lambda *given: calls.append(given) or _edit_window(*given))
    editor = ModelEditor("ours", pipeline, settings, seed=3)
    edited, drawn = editor.edit_and_drawn(TRIPLE)
    assert len(calls) == 1
    assert np.array_equal(drawn, whole), "in a single window it is what --no-restore gives"
    assert np.array_equal(edited[~MASKS], FRAMES[~MASKS])
    assert np.array_equal(edited[MASKS], drawn[MASKS])
    assert not np.array_equal(drawn[~MASKS], FRAMES[~MASKS])
    assert isinstance(editor, RestoringEditor)
    assert not isinstance(Identity(), RestoringEditor)


@pytest.mark.parametrize("ending", [".mkv", "_edit.mkv"])
def test_results_of_other_tools_are_found_by_name(tmp_path: Path, ending: str) -> None:
    write_video(tmp_path / f"00000012{ending}", list(FRAMES), codec="ffv1", pix_fmt="bgr0")
    write_video(tmp_path / "00000012_crop.mp4", list(FRAMES[:2]))
    assert np.array_equal(ResultFolder("peer", tmp_path).edit(TRIPLE), FRAMES)


def test_results_of_pictures_are_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "00000012.png", FRAMES[0])
    picture = replace(TRIPLE, frames=FRAMES[:1], masks=MASKS[:1])
    assert np.array_equal(ResultFolder("peer", tmp_path).edit(picture), FRAMES[:1])


def test_an_mp4_of_the_untouched_video_has_a_bp_and_a_lossless_file_has_none(tmp_path: Path) -> None:
    write_video(tmp_path / "00000012.mp4", list(FRAMES))
    lossy = ResultFolder("peer", tmp_path).edit(TRIPLE)
    write_video(tmp_path / "00000012.mkv", list(FRAMES), codec="ffv1", pix_fmt="bgr0")
    lossless = ResultFolder("peer", tmp_path).edit(TRIPLE)
    assert background_preservation(FRAMES, lossy, MASKS) > 0.2
    assert background_preservation(FRAMES, lossless, MASKS) == 0


def test_results_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no result for 00000012"):
        ResultFolder("peer", tmp_path).edit(TRIPLE)
    write_video(tmp_path / "00000012.mp4", list(FRAMES[:3]))
    with pytest.raises(ValueError, match="is 3 frames of 96×64, and what was to be edited is 5 frames of 96×64"):
        ResultFolder("peer", tmp_path).edit(TRIPLE)
    with pytest.raises(ValueError, match=r"there is no folder .* with results of peer"):
        ResultFolder("peer", tmp_path / "none")
