"""The bench that proves learning: its pieces on their own, and the whole of it for a few steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch

BENCH = Path(__file__).parent / "bench"
sys.path.insert(0, str(BENCH))

from learn_base import BaseSizes, save_base
from learn_clips import FIRST_SHAPES, OTHER_SHAPES, PAINT, render_clip
from learn_judge import drawn_colour
from learn_pictures import Row, draw_curves, draw_rows
from learn_vae import VaeTraining, new_vae, round_trip, single_frames, train_vae

from models.colour_names import name_colour, oklab
from train.base_model import load_inpaint_transformer
from train.base_parts import load_text_encoder
from train.triples import DELETE, Triple


@pytest.mark.parametrize("shape", [*FIRST_SHAPES, *OTHER_SHAPES])
def test_clips_show_their_shape_moving_on_a_dull_background(shape: str) -> None:
    clip = render_clip(7, 0, [shape])
    assert np.array_equal(clip.frames, render_clip(7, 0, [shape]).frames)
    assert not np.array_equal(clip.frames, render_clip(8, 0, [shape]).frames)
    spread = clip.frames.max(axis=3).astype(int) - clip.frames.min(axis=3)
    painted = spread > 100
    assert 0.01 < painted.mean() < 0.15
    assert drawn_colour(clip.frames, painted) == clip.colour
    corners = [np.s_[:, top : top + 20, left : left + 20] for top in (0, 76) for left in (0, 76)]
    empty = np.zeros_like(painted)
    empty[next(corner for corner in corners if spread[corner].max() < 60)] = True
    assert drawn_colour(clip.frames, empty) is None
    first, last = (np.argwhere(painted[frame]).mean(axis=0) for frame in (0, -1))
    assert np.hypot(*(last - first)) > 0.25 * clip.frames.shape[1]


def test_paint_is_called_by_its_name() -> None:
    for name, paint in PAINT.items():
        assert name_colour(oklab(np.asarray(paint, np.uint8))).term == name


def test_single_frames_are_encoded_alike_the_quick_way() -> None:
    vae = new_vae(32, seed=0)
    frames = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = vae.encode(frames).latent_dist.mode()
        with single_frames(vae):
            quick = vae.encode(frames).latent_dist.mode()
        again = vae.encode(frames).latent_dist.mode()
    assert torch.allclose(plain, quick, atol=1e-5)
    assert torch.equal(plain, again)
    assert plain.std() > 0


def test_the_vae_learns_and_scales_its_latents() -> None:
    frames = render_clip(0, 0, FIRST_SHAPES).frames[:, 16:80, 16:80]
    videos = (torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1).unsqueeze(0)
    errors: list[float] = []
    settings = VaeTraining(image_steps=16, image_batch=2, steps=2, batch=1, hole_share=0.0)
    vae = train_vae(videos, torch.zeros_like(videos[:, :1]), settings, lambda step, error: errors.append(error))
    assert np.mean(errors[12:16]) < 0.9 * np.mean(errors[:2])
    assert vae.config.scaling_factor != 1.0
    assert round_trip(vae, videos).shape == videos.shape


def test_the_base_knows_the_words_of_its_captions(tmp_path: Path) -> None:
    sizes = BaseSizes(heads=2, head_dim=16, layers=1)
    save_base(tmp_path, new_vae(sizes.side, 0), ["a red object", "A blue object."], sizes)
    assert load_inpaint_transformer(tmp_path).config.in_channels == 33
    encoder = load_text_encoder(str(tmp_path), sizes.text_tokens, torch.float32, "cpu")
    assert encoder.count_tokens("a red object") == 4
    red, blue = encoder.encode(["a red object", "a blue object"])
    assert not torch.allclose(red[1], blue[1], atol=0.1)


def test_curves_and_rows_become_pictures(tmp_path: Path) -> None:
    frames = render_clip(0, 0, FIRST_SHAPES).frames
    masks = np.zeros(frames.shape[:3], np.bool_)
    masks[:, 10:30, 10:30] = True
    triple = Triple("clip", DELETE, frames, masks, "a caption", 12.0, frames)
    draw_rows(tmp_path / "rows.png", [Row(triple, [frames])])
    draw_curves(tmp_path / "curves.png", {"loss": [(1, 1.0), (2, 0.5)]})
    assert all((tmp_path / name).stat().st_size > 500 for name in ("rows.png", "curves.png"))


@pytest.mark.slow
def test_the_whole_bench_runs_and_says_what_was_missed(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCH / "learn.py"),
        "--small",
        "--folder",
        str(tmp_path / "learn"),
    ]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 1, run.stderr
    assert "MISSED" in run.stdout, "ten steps teach nothing"
    document = json.loads((tmp_path / "learn.json").read_text())
    assert [len(table["rows"]) for table in document["tables"]] == [3, 5, 2, 3, 6]
    assert set(document["curves"]) == {"vae", "full", "lora", "control"}
    assert {path.name for path in tmp_path.glob("learn*.png")} == {
        "learn-curves.png",
        "learn-deletion.png",
        "learn-colours.png",
    }
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "VAE step" not in again.stderr, "what is there is used again"
