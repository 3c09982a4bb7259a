"""InternVL on a tiny random checkpoint: loading, batching, and the way of an answer that is no caption."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file
from small_work import block, clip_row, context_in, track_of, work_of
from tiny_models.internvl import TILE, save_tiny_internvl

from models.caption_prompt import CaptionRequest, PromptSettings
from models.internvl import InternVLCaptioner, InternVLSettings
from models.placement import Placement
from models.protocols import EntityView
from models.registry import ModelResources
from models.weights import WeightsError, WeightsList
from stages.caption import Caption, CaptionSettings

NAME = "internvl3-2b-hf"
CPU = Placement("cpu", "float32")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder of weights as VIVID_WEIGHTS names one."""
    base = tmp_path_factory.mktemp("weights")
    save_tiny_internvl(base / NAME)
    return base


@pytest.fixture
def own_checkpoint(checkpoint, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(checkpoint / NAME, tmp_path / NAME)
    return tmp_path


def captioner(base, placement=CPU, **settings):
    given = InternVLSettings.model_validate({"max_new_tokens": 24, "prompt": {"side": TILE}, **settings})
    return InternVLCaptioner(given, WeightsList(base).find(given.weights), placement)


def request(seed, pictures=1, words="Describe it."):
    rng = np.random.default_rng(seed)
    view = EntityView(f"0123456789abcdef-{seed:02d}", 3, "dog", (), (), np.zeros((1, 2), np.float32), 0.0)
    shown = rng.integers(0, 256, (pictures, TILE, TILE, 3), dtype=np.uint8)
    return CaptionRequest(view, tuple(shown), words)


@pytest.fixture(scope="module")
def requests():
    """Of several lengths, in words and in pictures."""
    return [request(seed, 1 + seed % 3, "Describe it. " * (1 + seed % 2)) for seed in range(5)]


def test_a_batch_writes_the_tokens_of_single_calls(checkpoint, requests):
    model = captioner(checkpoint)
    together = model.tokens(requests)
    assert together == [model.tokens([one])[0] for one in requests]
    assert len({tuple(tokens) for tokens in together}) == len(requests)
    assert all(tokens for tokens in together)
    assert captioner(checkpoint, batch=2).tokens(requests) == together
    assert model.tokens(requests[::-1]) == together[::-1]


def test_every_picture_and_every_word_counts(checkpoint):
    model = captioner(checkpoint)
    base = request(0, 3)
    other = request(9, 3)
    changed = [
        CaptionRequest(
            base.view, (*base.pictures[:place], other.pictures[place], *base.pictures[place + 1 :]), base.text
        )
        for place in range(3)
    ]
    variants = [base, *changed, CaptionRequest(base.view, base.pictures, "Describe it?")]
    written = {tuple(tokens) for tokens in model.tokens(variants)}
    assert len(written) == len(variants)


def test_equal_runs_write_equal_tokens(checkpoint, requests):
    torch.manual_seed(1)
    first = captioner(checkpoint).tokens(requests)
    torch.manual_seed(2)
    assert captioner(checkpoint).tokens(requests) == first


def test_the_checkpoints_own_sampling_is_not_used(own_checkpoint, checkpoint, requests):
    path = own_checkpoint / NAME / "generation_config.json"
    own = json.loads(path.read_text())
    path.write_text(json.dumps(own | {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0}))
    assert captioner(own_checkpoint).tokens(requests) == captioner(checkpoint).tokens(requests)


def test_it_ends_at_the_end_token_and_no_later_than_the_limit(checkpoint, own_checkpoint):
    one = request(0)
    (tokens,) = captioner(checkpoint, max_new_tokens=32).tokens([one])
    (short,) = captioner(checkpoint, max_new_tokens=16).tokens([one])
    assert short == tokens[:16]
    # The fourth token it writes becomes the end.
    path = own_checkpoint / NAME / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [tokens[3], 258]}))
    model = captioner(own_checkpoint)
    assert model.tokens([one]) == [tokens[: tokens.index(tokens[3])]]
    ended, longer = model.tokens([one, request(5)])
    assert ended == tokens[: tokens.index(tokens[3])]
    assert len(longer) != len(ended)


def test_tiles_are_cut_only_when_asked(checkpoint):
    wide = np.random.default_rng(1).integers(0, 256, (TILE, 2 * TILE, 3), dtype=np.uint8)
    one = CaptionRequest(request(0).view, (wide,), "Describe it.")
    whole, tiled = (captioner(checkpoint, crop_to_patches=cut).tokens([one]) for cut in (False, True))
    assert whole != tiled


def test_half_precision_runs(checkpoint, requests):
    written = captioner(checkpoint, Placement("cpu", "bfloat16")).tokens(requests)
    assert len({tuple(tokens) for tokens in written}) > 1


def test_what_a_random_model_writes_is_refused_and_the_entity_fails_alone(checkpoint, tmp_path):
    rng = np.random.default_rng(4)
    frames = [rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(12)]
    tracks = [track_of([block(4 * number, 8)] * 12, number, tag="dog") for number in range(2)]
    record = work_of(clip_row(), frames, [*tracks, track_of([block(0, 40)] * 12, 80, "background", "grass")])
    settings = {"name": "internvl", "settings": {"max_new_tokens": 24, "prompt": {"side": TILE}}}
    stage = Caption(CaptionSettings.model_validate({"captioner": settings}))
    stage.setup(context_in(tmp_path, models=ModelResources(checkpoint)))
    asked = []
    answer = stage.captioner.answer
    stage.captioner.answer = lambda wanted: asked.append(list(wanted)) or answer(wanted)
    stage.run([record])
    assert [track.tag for track in record.tracks] == ["grass"]
    assert [(reject.stage, reject.state, reject.reason) for reject in record.rejects] == [
        ("caption", "failed", "unparsed")
    ] * 2
    assert all("not one JSON object" in reject.message for reject in record.rejects)
    assert "\n" not in record.rejects[0].message
    # Both once, then both once more with the fault named.
    assert [len(round_) for round_ in asked] == [2, 2]
    assert all("was refused" in again.text for again in asked[1])
    assert len(asked[0][0].pictures) == 4


def test_the_row_names_weights_and_prompt(checkpoint):
    info = captioner(checkpoint).info
    assert info.name == NAME
    assert info.revision.endswith("-prompt1")
    assert info.revision.startswith(WeightsList(checkpoint).revision(NAME))


def edited(folder, name, **changes):
    path = folder / NAME / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_original_checkpoint_is_refused_before_its_code_is_looked_at(own_checkpoint):
    edited(own_checkpoint, "config.json", auto_map={"AutoModel": "modeling_internvl_chat.InternVLChatModel"})
    with pytest.raises(WeightsError, match="-hf"):
        captioner(own_checkpoint)
    edited(own_checkpoint, "config.json", auto_map={}, model_type="internvl_chat")
    with pytest.raises(WeightsError, match=r"'internvl_chat'.*-hf"):
        captioner(own_checkpoint)


def cut_weights(folder):
    path = folder / NAME / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def garbled_weights(folder):
    (folder / NAME / "model.safetensors").write_bytes(b"\x80\x04 not safetensors" * 20)


def lost_tensor(folder):
    path = folder / NAME / "model.safetensors"
    tensors = load_file(path)
    del tensors[max(name for name in tensors if "language_model" in name)]
    save_file(tensors, path, {"format": "pt"})


def wrong_shape(folder):
    path = folder / NAME / "model.safetensors"
    tensors = load_file(path)
    name = max(name for name in tensors if "language_model" in name and tensors[name].dim() == 2)
    save_file(tensors | {name: torch.zeros(3, 3)}, path, {"format": "pt"})


def no_json(folder):
    (folder / NAME / "config.json").write_text("{")


def other_list(folder):
    (folder / NAME / "config.json").write_text("[]")


def garbled_tokenizer(folder):
    (folder / NAME / "tokenizer.json").write_text('{"a": 1}')


def other_tokens_per_tile(folder):
    edited(folder, "processor_config.json", image_seq_length=7)


@pytest.mark.parametrize(
    "damage",
    [
        cut_weights,
        garbled_weights,
        lost_tensor,
        wrong_shape,
        no_json,
        other_list,
        garbled_tokenizer,
        other_tokens_per_tile,
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(own_checkpoint, damage):
    damage(own_checkpoint)
    with pytest.raises(WeightsError, match=NAME) as caught:
        captioner(own_checkpoint)
    assert "\n" not in str(caught.value)


def test_settings_reach_the_prompt():
    settings = InternVLSettings.model_validate({"prompt": {"hint": False}})
    assert settings.prompt == PromptSettings(hint=False)
    with pytest.raises(ValueError, match="extra"):
        InternVLSettings.model_validate({"prompt": {"hints": False}})
