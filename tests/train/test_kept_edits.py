from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
from tiny_models.cogvideox import inpaint_pipeline, small_clip

from train.editing import EditSettings
from train.editors import ModelEditor, RestoringEditor
from train.kept_edits import KeptEdits, weights_digest
from train.triples import ADD_MODIFY, Triple

FRAMES, MASKS = small_clip(5)
TRIPLE = Triple("00000012", ADD_MODIFY, FRAMES, MASKS, "a red ball", 12.0)
SETTINGS = EditSettings(height=64, width=96, frames=9, steps=1, guidance=1)


class Counted(ModelEditor):
    """Draws numbers, and counts how often it is asked."""

    calls = 0

    def edit_and_drawn(self, triple: Triple) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        drawn = np.random.default_rng(self.seed).integers(0, 256, triple.frames.shape, np.uint8)
        return np.where(triple.masks[..., None], drawn, triple.frames), drawn


def test_a_kept_edit_is_the_edit_to_the_bit(tmp_path: Path) -> None:
    editor = Counted("ours", inpaint_pipeline(), SETTINGS, seed=3)
    made = KeptEdits(tmp_path / "edits").of(editor).edit_and_drawn(TRIPLE)
    again = KeptEdits(tmp_path / "edits").of(editor)
    assert isinstance(again, RestoringEditor)
    for one, other in zip(made, again.edit_and_drawn(TRIPLE), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(again.edit(TRIPLE), made[0])
    assert editor.calls == 1
    next((tmp_path / "edits").glob("*-drawn.mkv")).unlink()
    again.edit(TRIPLE)
    assert editor.calls == 2, "half an edit is none"


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_kept_edit_is_made_again(tmp_path: Path, share: float) -> None:
    editor = Counted("ours", inpaint_pipeline(), SETTINGS, seed=3)
    kept = KeptEdits(tmp_path).of(editor)
    made = kept.edit(TRIPLE)
    path = next(path for path in tmp_path.glob("*.mkv") if "drawn" not in path.name)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert np.array_equal(kept.edit(TRIPLE), made)
    assert np.array_equal(kept.edit(TRIPLE), made)
    assert editor.calls == 2


def test_whatever_an_edit_depends_on_makes_another(tmp_path: Path) -> None:
    pipeline, kept = inpaint_pipeline(), KeptEdits(tmp_path)
    editors = [
        Counted("ours", pipeline, SETTINGS, seed=3),
        Counted("ours", pipeline, SETTINGS, seed=4),
        Counted("ours", pipeline, SETTINGS.model_copy(update={"steps": 2}), seed=3),
    ]
    for editor in editors:
        kept.of(editor).edit(TRIPLE)
    other_masks = MASKS.copy()
    other_masks[0, 0, 0] = True
    changed = [
        replace(TRIPLE, caption="a blue ball"),
        replace(TRIPLE, masks=other_masks),
        replace(TRIPLE, frames=255 - FRAMES),
    ]
    for triple in changed:
        kept.of(editors[0]).edit(triple)
    assert [editor.calls for editor in editors] == [4, 1, 1]
    now = KeptEdits(tmp_path)
    now.of(editors[0]).edit(TRIPLE)
    now.remove_unused()
    assert len(list(tmp_path.iterdir())) == 2, "the edit and what was drawn"
    now.of(editors[0]).edit(TRIPLE)
    assert editors[0].calls == 4


def test_trained_weights_are_another_model() -> None:
    pipeline = inpaint_pipeline()
    before = weights_digest(pipeline)
    assert weights_digest(pipeline) == before
    with torch.no_grad():
        pipeline.transformer.proj_out.weight.add_(0.01)
    assert weights_digest(pipeline) != before


def test_weights_that_wait_in_main_memory_are_the_same_model() -> None:
    accelerate = pytest.importorskip("accelerate")
    pipeline = inpaint_pipeline()
    before = weights_digest(pipeline)
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
        accelerate.cpu_offload(part, torch.device("cpu"), offload_buffers=True)
    assert any(weight.is_meta for weight in pipeline.transformer.parameters())
    assert weights_digest(pipeline) == before
