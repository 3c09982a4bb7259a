"""Editing with parts that wait in main memory. The hooks are accelerate's own; here they bring parts to the CPU."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch
from accelerate import cpu_offload
from accelerate.hooks import CpuOffload
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from tiny_models.cogvideox import inpaint_pipeline, small_clip, tiny_base
from transformers import T5EncoderModel

from train.inpaint_pipeline import VividInpaintPipeline
from train.offloading import MemoryNeed, Offload, memory_need, place, tile_size

SIZE = (96, 80)
"""Two tiles of the tiny VAE down and across, and a rest: 48×40 pixels each, of which 40×32 count."""
GB = 10**9


def pipeline(**base: object) -> VividInpaintPipeline:
    return inpaint_pipeline(tiny_base(height=SIZE[0], width=SIZE[1], **base))


def draw(editor: VividInpaintPipeline) -> np.ndarray:
    video, mask = small_clip(9, *SIZE)
    seeded = torch.Generator().manual_seed(4)
    drawn = editor(video, mask, "a ball", video[0], num_inference_steps=2, guidance_scale=2.0, generator=seeded).frames
    assert drawn.shape == (1, 9, *SIZE, 3)
    return drawn


# --- what is chosen ---


def released_base() -> VividInpaintPipeline:
    """CogVideoX-5b's sizes, without its weights."""
    with torch.device("meta"):
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(128, 256, 256, 512),
            latent_channels=16,
            layers_per_block=3,
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
        ).to(torch.bfloat16)
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=48, num_layers=42, in_channels=33, use_rotary_positional_embeddings=True
        ).to(torch.bfloat16)
    small = pipeline()
    return VividInpaintPipeline(small.tokenizer, small.text_encoder, vae, transformer, small.scheduler)


def test_what_the_released_base_takes_is_what_is_said_of_it() -> None:
    """The tiny T5 stands in for one of 9.5 GB."""
    editor = released_base()
    need = memory_need(editor, 480, 720)
    assert tile_size(editor.vae) == (240, 360), "diffusers' own tiles"
    assert need.whole == pytest.approx((11.1 + 0.4 + 19.1) * GB, rel=0.02)
    assert need.by_part == pytest.approx((11.1 + 0.4 + 19.1 / 4) * GB, rel=0.02)
    text = sum(parameter.nbytes for parameter in editor.text_encoder.parameters())
    image = memory_need(editor, 240, 360)
    assert image.whole - image.by_part == text, "a picture of one tile's size gains nothing by tiles"


def test_the_fastest_way_that_fits_is_taken() -> None:
    need = MemoryNeed(whole=40 * GB, by_part=16 * GB)
    assert [need.best(free * GB) for free in (80, 40, 39, 16, 15, 0)] == [
        *(Offload.NONE, Offload.NONE),
        *(Offload.MODEL, Offload.MODEL),
        *(Offload.SEQUENTIAL, Offload.SEQUENTIAL),
    ]
    with pytest.raises(ValueError, match="'auto' is no place"):
        place(pipeline(), Offload.AUTO, "cpu")


# --- that it works ---


def test_a_vae_in_tiles_makes_pictures_of_the_same_size_that_differ_slightly() -> None:
    whole, tiled = pipeline(), pipeline()
    height, width = tile_size(tiled.vae)
    assert (height, width) == (48, 40)
    tiled.vae.enable_tiling(height, width)
    seen = [count_tiles(tiled.vae.encoder), count_tiles(tiled.vae.decoder)]
    exact, drawn = draw(whole), draw(tiled)
    assert [len(shapes) for shapes in seen] == [9, 9], "of the masked video and of the result"
    assert max(shape[-2] for shape in seen[0]) == height
    assert 0 < np.abs(drawn - exact).mean() < 0.1
    # The tiny base's own halves, 32×48, would give pictures of another size.
    assert tile_size(inpaint_pipeline().vae) == (48, 40)


def count_tiles(part: torch.nn.Module) -> list[tuple[int, ...]]:
    """Filled with the shape of whatever the part is given."""
    shapes: list[tuple[int, ...]] = []
    part.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    return shapes


def test_parts_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """T5 and the transformer are never there together. On a CPU no part goes away; its hook says which would."""
    present: set[type] = set()
    history: list[set[type]] = []
    bring = CpuOffload.pre_forward

    def brought(hook: CpuOffload, module: torch.nn.Module, *arguments: object, **options: object) -> object:
        if hook.prev_module_hook is not None:
            present.discard(type(hook.prev_module_hook.model))
        present.add(type(module))
        if not history or history[-1] != present:
            history.append(set(present))
        return bring(hook, module, *arguments, **options)

    monkeypatch.setattr(CpuOffload, "pre_forward", brought)
    editor = pipeline()
    place(editor, Offload.MODEL, "cpu")
    drawn = draw(editor)
    text, vae, transformer = T5EncoderModel, AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    assert history == [{text}, {text, vae}, {vae, transformer}, {vae}]
    assert np.array_equal(draw(editor), drawn), "the next window of a video finds everything as it was"


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_layers_that_wait_make_the_same_picture(positions: str) -> None:
    """What `enable_sequential_cpu_offload` does with each part, which itself takes no CPU: weights lie nowhere."""
    base = {"positions": positions, "in_channels": 32 if positions == "learned" else 16}
    expected = draw(pipeline(**base))
    editor = pipeline(**base)
    for part in (editor.text_encoder, editor.vae, editor.transformer):
        cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)
        assert {parameter.device.type for parameter in part.parameters()} == {"meta"}
    assert np.array_equal(draw(editor), expected)


def test_offloading_is_asked_of_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(VividInpaintPipeline, name, lambda _, device, name=name: asked.append((name, device)))
    for offload in (Offload.NONE, Offload.MODEL, Offload.SEQUENTIAL):
        editor = pipeline()
        place(editor, offload, "cpu")
        assert editor.vae.use_tiling == (offload is not Offload.NONE)
    assert asked == [("enable_model_cpu_offload", "cpu"), ("enable_sequential_cpu_offload", "cpu")]
