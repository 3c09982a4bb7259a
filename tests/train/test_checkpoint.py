"""Saving and loading what was learnt: nothing is lost, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil

import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models.cogvideox import inpaint_transformer, tiny_base
from tiny_models.cogvideox_results import FULL, LORA, learnt, predict, shake

from train.base_model import components_source, find_components, load_inpaint_transformer
from train.checkpoint import (
    CONFIG_FILE,
    LORA_FILE,
    PATCH_EMBED_FILE,
    CheckpointError,
    atomic_folder,
    describe,
    fingerprint,
    is_checkpoint,
    load_weights,
    read_config,
    save_checkpoint,
)
from train.lora import AdaptationSettings, prepare_for_training
from train.positions import LearnedPositions


@pytest.fixture
def lora(tmp_path):
    transformer, config = learnt(LORA)
    save_checkpoint(tmp_path / "lora", transformer, config.model_copy(update={"step": 30}))
    return tmp_path / "lora", transformer


def edit_config(folder, **fields):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("settings", [LORA, AdaptationSettings(rank=4, alpha=1), FULL])
def test_what_is_loaded_predicts_the_same(tmp_path, settings):
    transformer, config = learnt(settings)
    save_checkpoint(tmp_path / "result", transformer, config)
    loaded = load_inpaint_transformer(tmp_path / "result")
    expected = predict(transformer)
    assert (predict(loaded) - expected).abs().max() == 0.0
    assert (predict(inpaint_transformer()) - expected).abs().max() > 0.05


def test_alpha_is_in_the_file_and_matters(lora):
    folder, transformer = lora
    with safe_open(folder / LORA_FILE, "pt") as file:
        metadata = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (metadata["transformer.r"], metadata["transformer.lora_alpha"]) == (4, 12)
    assert metadata["transformer.target_modules"] == ["to_k", "to_out.0", "to_q", "to_v"], "the same in every process"
    loaded = load_inpaint_transformer(folder)
    loaded.set_adapters(["default"], [4 / 12])
    assert (predict(loaded) - predict(transformer)).abs().max() > 0.01, "the scale of alpha = rank is another one"


def test_folder_holds_what_it_says(lora):
    folder, transformer = lora
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG_FILE, PATCH_EMBED_FILE, LORA_FILE]
    config = read_config(folder)
    assert is_checkpoint(folder)
    assert (config.mode, config.step, config.lora_rank, config.lora_alpha) == ("lora", 30, 4, 12)
    assert (config.height, config.width, config.num_frames) == (64, 96, 9)
    assert config.channel_order == ("noise", "masked_video", "mask")
    with safe_open(folder / PATCH_EMBED_FILE, "pt") as file:
        assert file.metadata()["channel_order"] == "noise,masked_video,mask"
        assert torch.equal(file.get_tensor("patch_embed.proj.weight"), transformer.patch_embed.proj.weight)


@pytest.mark.parametrize("settings", [LORA, FULL])
def test_weights_go_back_into_a_model_that_trains(tmp_path, settings):
    transformer, config = learnt(settings)
    save_checkpoint(tmp_path / "result", transformer, config)
    resumed = inpaint_transformer()
    prepare_for_training(resumed, settings)
    assert load_weights(resumed, tmp_path / "result") == config
    saved = dict(transformer.named_parameters())
    for name, parameter in resumed.named_parameters():
        assert torch.equal(parameter, saved[name]), name
        assert parameter.requires_grad == saved[name].requires_grad, name


def test_averaged_weights_are_saved_in_place_of_the_models(tmp_path):
    transformer, config = learnt(LORA)
    averaged = {name: value * 0.5 for name, value in transformer.state_dict().items()}
    save_checkpoint(tmp_path / "result", transformer, config, state_dict=averaged)
    # The projection that tells bases apart is not learnt and not saved, so it stays the base's.
    loaded = load_inpaint_transformer(tmp_path / "result").state_dict()
    learning = [name for name, parameter in transformer.named_parameters() if parameter.requires_grad]
    assert len(learning) == 18
    for name in learning:
        assert torch.equal(loaded[name], averaged[name]), name


def test_result_of_a_bfloat16_base_keeps_float32_and_loads_as_asked(tmp_path):
    transformer = load_inpaint_transformer(tiny_base(), dtype=torch.bfloat16)
    config = describe(transformer, LORA, base=str(tiny_base()), height=64, width=96, num_frames=9)
    prepare_for_training(transformer, LORA)
    shake(transformer)
    save_checkpoint(tmp_path / "result", transformer, config)
    half = load_inpaint_transformer(tmp_path / "result", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    whole = load_inpaint_transformer(tmp_path / "result")
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    assert torch.equal(whole.patch_embed.proj.weight, transformer.patch_embed.proj.weight)


def test_full_checkpoint_is_a_base(tmp_path):
    transformer, config = learnt(FULL)
    save_checkpoint(tmp_path / "full", transformer, config)
    second, second_config = learnt(LORA, base=tmp_path / "full")
    save_checkpoint(tmp_path / "second", second, second_config)
    assert torch.equal(predict(load_inpaint_transformer(tmp_path / "second")), predict(second))
    assert components_source(tmp_path / "second") == str(tiny_base())


def test_learned_positions_survive_full_training(tmp_path):
    transformer, config = learnt(FULL, positions="learned", in_channels=32)
    save_checkpoint(tmp_path / "full", transformer, config)
    loaded = load_inpaint_transformer(tmp_path / "full")
    assert isinstance(loaded.patch_embed, LearnedPositions)
    assert torch.equal(predict(loaded), predict(transformer))


def test_base_may_have_moved(lora, tmp_path):
    folder, transformer = lora
    edit_config(folder, base="./gone")
    with pytest.raises(
        CheckpointError, match=r"there is no folder \./gone; say where it lies with base=, or in .*/inpaint.json"
    ):
        load_inpaint_transformer(folder)
    moved = shutil.copytree(tiny_base(), tmp_path / "moved")
    assert torch.equal(predict(load_inpaint_transformer(folder, base=moved)), predict(transformer))
    assert components_source(folder, moved) == str(moved)


def test_revision_of_a_hub_base_is_kept_until_another_base_is_named(lora, tmp_path):
    folder, _ = lora
    edit_config(folder, base="someone/some-base", base_revision="abc")
    assert find_components(folder) == ("someone/some-base", "abc")
    assert find_components(folder, revision="def") == ("someone/some-base", "def")
    assert find_components(folder, base=tmp_path) == (str(tmp_path), None)


def test_checkpoint_that_is_its_own_base_is_refused(tmp_path):
    transformer, config = learnt(FULL)
    config = config.model_copy(update={"base": str(tmp_path / "loop")})
    save_checkpoint(tmp_path / "loop", transformer, config)
    with pytest.raises(CheckpointError, match="names itself"):
        components_source(tmp_path / "loop")


def test_another_base_is_refused(lora):
    folder, _ = lora
    with pytest.raises(CheckpointError, match="trained on another base"):
        load_inpaint_transformer(folder, base=tiny_base(seed=1))


def test_fingerprint_does_not_depend_on_the_format():
    base, other = inpaint_transformer(), inpaint_transformer(seed=1)
    assert fingerprint(base) == fingerprint(inpaint_transformer().to(torch.bfloat16))
    assert fingerprint(base) != fingerprint(other)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"channel_order": ["noise", "mask", "masked_video"]},
            "in the order noise, mask, masked_video, and here it is",
        ),
        ({"masked_fill": -1.0}, "masked pixels at -1.0, not 0.0"),
        ({"format_version": 9}, "format 9, and this release reads 1"),
        ({"mode": "half"}, "mode"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_checkpoints_of_another_kind_are_refused(lora, fields, said):
    folder, _ = lora
    edit_config(folder, **fields)
    with pytest.raises(CheckpointError, match=said) as refusal:
        load_inpaint_transformer(folder)
    assert "\n" not in str(refusal.value)


def test_patch_embedder_of_another_order_is_refused(lora):
    folder, _ = lora
    weights = load_file(folder / PATCH_EMBED_FILE)
    save_file(weights, folder / PATCH_EMBED_FILE, {"channel_order": "noise,mask,masked_video"})
    with pytest.raises(CheckpointError, match="in the order noise, mask, masked_video"):
        load_inpaint_transformer(folder)


@pytest.mark.parametrize("name", [LORA_FILE, PATCH_EMBED_FILE, CONFIG_FILE])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damaged_files_give_one_sentence(lora, name, damage):
    folder, _ = lora
    path = folder / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        path.unlink()
    with pytest.raises(ValueError, match=folder.name) as refusal:
        load_inpaint_transformer(folder)
    assert "\n" not in str(refusal.value)


def test_damaged_full_checkpoint_gives_one_sentence(tmp_path):
    transformer, config = learnt(FULL)
    save_checkpoint(tmp_path / "full", transformer, config)
    weights = next((tmp_path / "full" / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="full cannot be loaded") as refusal:
        load_inpaint_transformer(tmp_path / "full")
    assert "\n" not in str(refusal.value)


def test_folder_without_a_model_gives_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="is no CogVideoX base") as refusal:
        load_inpaint_transformer(tmp_path)
    assert "\n" not in str(refusal.value)


def test_update_of_another_rank_is_refused(lora):
    folder, _ = lora
    transformer = inpaint_transformer()
    prepare_for_training(transformer, AdaptationSettings(rank=8, alpha=12))
    with pytest.raises(CheckpointError, match="rank 4 and alpha 12, not 8 and 12"):
        load_weights(transformer, folder)


def test_whole_transformer_of_another_size_is_refused(tmp_path):
    transformer, config = learnt(FULL)
    save_checkpoint(tmp_path / "full", transformer, config)
    with pytest.raises(CheckpointError, match="not of this transformer's layers") as refusal:
        load_weights(inpaint_transformer(layers=1), tmp_path / "full")
    assert "\n" not in str(refusal.value)


def test_pipelines_of_diffusers_load_the_update_onto_an_expanded_base(lora):
    folder, transformer = lora
    other = inpaint_transformer()
    other.load_state_dict(load_file(folder / PATCH_EMBED_FILE), strict=False)
    pipeline = CogVideoXPipeline.from_pretrained(tiny_base(), transformer=other)
    pipeline.load_lora_weights(folder)
    assert (predict(pipeline.transformer) - predict(transformer)).abs().max() == 0.0


def test_update_of_other_layers_is_refused(lora):
    folder, _ = lora
    transformer = inpaint_transformer()
    prepare_for_training(transformer, AdaptationSettings(rank=4, alpha=12, target_modules=("to_q",)))
    with pytest.raises(CheckpointError, match="other layers"):
        load_weights(transformer, folder)


def test_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "result"
    with atomic_folder(target) as partial:
        (partial / "file").write_text("first")
        assert not target.exists()
    with pytest.raises(IsADirectoryError), atomic_folder(target) as partial:
        partial.write_text("a folder is no file, so this write fails")
    assert (target / "file").read_text() == "first"
    with atomic_folder(target) as partial:
        (partial / "other").write_text("third")
    assert [path.name for path in target.iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("settings", [LORA, FULL])
@pytest.mark.parametrize(("mask", "mode"), [(0o027, 0o640), (0o002, 0o664)])
def test_files_may_be_read_by_whom_the_umask_says(tmp_path, settings, mask, mode):
    transformer, config = learnt(settings)
    before = os.umask(mask)
    try:
        save_checkpoint(tmp_path / "result", transformer, config)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "result").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: oct(mode) for path in files}


@pytest.mark.parametrize("settings", [LORA, FULL])
def test_only_the_configuration_says_where_the_base_lay(tmp_path, settings):
    transformer, config = learnt(settings)
    save_checkpoint(tmp_path / "result", transformer, config)
    folder = str(tiny_base().parent).encode()
    files = [path for path in (tmp_path / "result").rglob("*") if path.is_file()]
    assert [path.name for path in files if folder in path.read_bytes()] == [CONFIG_FILE]


def test_what_a_killed_save_left_is_removed(tmp_path):
    (tmp_path / ".result.partial").mkdir()
    (tmp_path / ".result.partial" / "half").write_text("half")
    with atomic_folder(tmp_path / "result") as partial:
        (partial / "file").write_text("whole")
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
