"""Both forms of SAM 2.1 checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from tiny_models.sam2 import original_names, tiny_model, tiny_weights
from transformers import Sam2VideoConfig, Sam2VideoModel

from models.placement import Placement
from models.sam2_checkpoint import (
    _config_by_shapes,
    load_image_model,
    load_video_model,
    original_state,
    transformers_name,
    transformers_state,
)
from models.weights import Weights, WeightsError

CPU = Placement("cpu", "float32")
BLOCK = "image_encoder.trunk.blocks.{}.norm1.weight"
PATCHES = "image_encoder.trunk.patch_embed.proj.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("original"), original=True)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return tiny_weights(tmp_path_factory.mktemp("converted"))


def written(folder: Path, document: object) -> Weights:
    """A checkpoint without a configuration beside it."""
    path = folder / "own.pt"
    torch.save(document, path)
    return Weights("own", "r1", {"own.pt": path})


def outline(width: int, blocks: int) -> dict[str, torch.Tensor]:
    """As much of an original checkpoint as tells its size."""
    names = {BLOCK.format(block): torch.zeros(1) for block in range(blocks)}
    return {**names, PATCHES: torch.zeros(width, 3, 7, 7), "no_obj_embed_spatial": torch.zeros(1, 64)}


def test_an_original_checkpoint_is_the_same_model(original: Weights, converted: Weights) -> None:
    for load in (load_image_model, lambda *args: load_video_model(Sam2VideoModel, *args)):
        ours, theirs = load(original, CPU), load(converted, CPU)
        assert not ours.training
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())
        for name, buffer in theirs.named_buffers():
            assert torch.equal(ours.get_buffer(name), buffer), name


def test_names_go_there_and_back() -> None:
    state = tiny_model().state_dict()
    original = original_names(state)
    assert len(original) == len(state) - 1 + 3
    back = transformers_state(original)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    again = original_state(original, state)
    assert all(torch.equal(again[name], tensor) for name, tensor in original.items())
    with pytest.raises(KeyError):
        original_state(["image_encoder.trunk.unheard_of"], state)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("image_encoder.trunk.blocks.7.mlp.layers.1.bias", "vision_encoder.backbone.blocks.7.mlp.proj_out.bias"),
        ("image_encoder.neck.convs.3.conv.weight", "vision_encoder.neck.convs.3.weight"),
        ("sam_mask_decoder.iou_prediction_head.layers.0.weight", "mask_decoder.iou_prediction_head.proj_in.weight"),
        ("sam_mask_decoder.iou_prediction_head.layers.1.weight", "mask_decoder.iou_prediction_head.layers.0.weight"),
        ("sam_mask_decoder.iou_prediction_head.layers.2.weight", "mask_decoder.iou_prediction_head.proj_out.weight"),
        (
            "sam_mask_decoder.transformer.layers.0.self_attn.out_proj.bias",
            "mask_decoder.transformer.layers.0.self_attn.o_proj.bias",
        ),
        ("memory_encoder.out_proj.weight", "memory_encoder.projection.weight"),
        ("memory_encoder.mask_downsampler.encoder.10.bias", "memory_encoder.mask_downsampler.layers.3.layer_norm.bias"),
        ("memory_encoder.mask_downsampler.encoder.1.bias", "memory_encoder.mask_downsampler.layers.0.layer_norm.bias"),
        ("memory_encoder.mask_downsampler.encoder.12.bias", "memory_encoder.mask_downsampler.final_conv.bias"),
        ("memory_attention.norm.weight", "memory_attention.layer_norm.weight"),
    ],
)
def test_names_of_an_original_checkpoint(theirs: str, ours: str) -> None:
    assert transformers_name(theirs) == ours


@pytest.mark.parametrize(
    ("width", "blocks", "stages"),
    [(96, 12, [1, 2, 7, 2]), (96, 16, [1, 2, 11, 2]), (112, 24, [2, 3, 16, 3]), (144, 48, [2, 6, 36, 4])],
)
def test_a_released_size_is_known_by_its_shapes(tmp_path: Path, width: int, blocks: int, stages: list[int]) -> None:
    state = outline(width, blocks)
    config = _config_by_shapes(written(tmp_path, {"model": state}), state)
    backbone = config.vision_config.backbone_config
    assert backbone.blocks_per_stage == stages
    assert sum(stages) == blocks
    assert backbone.embed_dim_per_stage == [width, 2 * width, 4 * width, 8 * width]
    assert config.vision_config.backbone_channel_list == backbone.embed_dim_per_stage[::-1]
    assert config.image_size == 1024


def test_the_smallest_size_has_the_librarys_own_configuration(tmp_path: Path) -> None:
    state = outline(96, 12)
    ours = _config_by_shapes(written(tmp_path, {"model": state}), state).to_dict()
    assert ours == Sam2VideoConfig().to_dict()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"model": outline(100, 12)}, "width 100 with 12 blocks, none of SAM 2.1's tiny, small, base\\+, large"),
        ({"model": {PATCHES: torch.zeros(96, 3, 7, 7)}}, "not SAM 2.1's \\(SAM 2 without .1"),
        ({"state_dict": {}}, "no tensors by name under 'model'"),
        ([1, 2], "no tensors by name under 'model'"),
        ({"model": {"epoch": 3}}, "no tensors by name under 'model'"),
    ],
)
def test_another_kind_of_checkpoint_is_refused(tmp_path: Path, document: object, sentence: str) -> None:
    with pytest.raises(WeightsError, match=f"the checkpoint .*own.pt .*{sentence}"):
        load_image_model(written(tmp_path, document), CPU)


def test_a_broken_file_is_refused(tmp_path: Path, original: Weights, converted: Weights) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(original.file(".pt").read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"the checkpoint \S+cut\.pt cannot be read: .+"):
        load_image_model(Weights("cut", "r1", {"cut.pt": cut}), CPU)
    (tmp_path / "model.safetensors").write_bytes(converted.file(".safetensors").read_bytes()[:100_000])
    (tmp_path / "config.json").write_bytes(converted.file("config.json").read_bytes())
    broken = Weights("cut", "r1", {name: tmp_path / name for name in converted.paths})
    with pytest.raises(WeightsError, match="'cut' cannot be read"):
        load_video_model(Sam2VideoModel, broken, CPU)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    with pytest.raises(WeightsError, match="cannot be read"):
        load_image_model(written(tmp_path, {"model": Trap()}), CPU)
    assert not (tmp_path / "touched").exists()


def test_tensors_that_do_not_fit_are_named(tmp_path: Path, original: Weights) -> None:
    state = torch.load(original.file(".pt"), weights_only=True)["model"]
    state["obj_ptr_proj.layers.0.bias"] = torch.zeros(3)
    state["extra"] = state.pop("maskmem_tpos_enc")
    path = tmp_path / "own.pt"
    torch.save({"model": state}, path)
    own = Weights("own", "r1", {"own.pt": path, "config.json": original.file("config.json")})
    with pytest.raises(WeightsError, match=r"own\.pt does not fit its network") as caught:
        load_video_model(Sam2VideoModel, own, CPU)
    assert "it lacks memory_temporal_positional_encoding;" in str(caught.value)
    assert "it has the unknown extra;" in str(caught.value)
    assert "it has in another shape object_pointer_proj.proj_in.bias (3 for 128)" in str(caught.value)


def test_the_configuration_of_another_model_is_refused(tmp_path: Path, original: Weights) -> None:
    path = tmp_path / "config.json"
    own = Weights("own", "r1", {"own.pt": original.file(".pt"), "config.json": path})
    path.write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(WeightsError, match="of a 'clip' model, not of 'sam2_video'"):
        load_video_model(Sam2VideoModel, own, CPU)
    path.write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        load_video_model(Sam2VideoModel, own, CPU)


def test_half_precision_leaves_the_rotary_tables_exact(original: Weights, converted: Weights) -> None:
    half = Placement("cpu", "bfloat16")
    for weights in (original, converted):
        model = load_video_model(Sam2VideoModel, weights, half)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert model.memory_attention.rotary_emb.inv_freq.dtype == torch.float32
