"""The network of RAM and RAM++, against other computations from the same tensors."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from tiny_models.ram import (
    LABEL_WIDTH,
    STAGE_DEPTHS,
    STAGE_HEADS,
    SWIN_WIDTH,
    TEXTS,
    WINDOW,
    State,
    tiny_ram_state,
)
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from models.ram_network import IMAGE_SIZE, RamNetwork, RamSizes, ram_network

TAGS = 40
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module", params=[False, True], ids=["ram", "ram_plus"])
def state(request: pytest.FixtureRequest) -> State:
    return tiny_ram_state(TAGS, plus=request.param)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(3))


def features(network: RamNetwork, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.visual_encoder.forward_features(images).flatten(1, 2)


def test_the_tag_decoder_computes_what_the_formulas_say(state: State, images: torch.Tensor) -> None:
    network = ram_network(state, TAGS)
    seen = features(network, images)
    with torch.no_grad():
        logits = network.classify(seen).numpy()
    arrays = {name: value.double().numpy() for name, value in state.items()}
    expected = np.stack([reference_logits(arrays, image) for image in seen.double().numpy()])
    assert logits.shape == (2, TAGS)
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    assert expected.std() > 0.3
    assert np.abs(expected[0] - expected[1]).max() > 0.1


def reference_logits(arrays: dict[str, Array], places: Array) -> Array:
    """Logits of one image from the encoder's output (places, channels), tag by tag and head by head."""
    tokens = linear(arrays, "image_proj", np.vstack([places.mean(0), places]))
    labels = arrays["label_embed"]
    if "reweight_scale" in arrays:
        fit = labels @ (tokens[0] / np.linalg.norm(tokens[0])) * np.exp(arrays["reweight_scale"])
        labels = np.stack(
            [softmax(fit[i * TEXTS : (i + 1) * TEXTS]) @ labels[i * TEXTS : (i + 1) * TEXTS] for i in range(TAGS)]
        )
    return np.array([reference_logit(arrays, label, tokens) for label in labels])


def reference_logit(arrays: dict[str, Array], label: Array, tokens: Array) -> float:
    tag = np.maximum(linear(arrays, "wordvec_proj", label), 0)
    for layer in ("tagging_head.encoder.layer.0", "tagging_head.encoder.layer.1"):
        cross = f"{layer}.crossattention"
        query = np.split(linear(arrays, f"{cross}.self.query", tag), 4)
        keys = np.split(linear(arrays, f"{cross}.self.key", tokens), 4, axis=1)
        values = np.split(linear(arrays, f"{cross}.self.value", tokens), 4, axis=1)
        attended = np.concatenate(
            [softmax(k @ q / len(q) ** 0.5) @ v for q, k, v in zip(query, keys, values, strict=True)]
        )
        tag = norm(arrays, f"{cross}.output.LayerNorm", tag + linear(arrays, f"{cross}.output.dense", attended))
        wide = linear(arrays, f"{layer}.intermediate.dense", tag)
        wide = wide * (1 + torch.erf(torch.from_numpy(wide / 2**0.5)).numpy()) / 2
        tag = norm(arrays, f"{layer}.output.LayerNorm", tag + linear(arrays, f"{layer}.output.dense", wide))
    return float(linear(arrays, "fc", tag)[0])


def linear(arrays: dict[str, Array], name: str, values: Array) -> Array:
    return values @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def norm(arrays: dict[str, Array], name: str, values: Array) -> Array:
    centred = values - values.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-12) * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def test_the_encoder_agrees_with_another_implementation_of_swin(images: torch.Tensor) -> None:
    state = tiny_ram_state(TAGS)
    other = TorchvisionSwin(
        patch_size=[4, 4],
        embed_dim=SWIN_WIDTH,
        depths=list(STAGE_DEPTHS),
        num_heads=list(STAGE_HEADS),
        window_size=[WINDOW, WINDOW],
        stochastic_depth_prob=0.0,
    ).eval()
    renamed = {
        torchvision_name(name): value
        for name, value in state.items()
        if name.startswith("visual_encoder.") and not name.endswith(("_mask", "_index"))
    }
    found = other.load_state_dict(renamed, strict=False)
    assert not found.unexpected_keys
    assert all(name.endswith("_index") or name.startswith("head.") for name in found.missing_keys)
    with torch.no_grad():
        expected = other.norm(other.features(images)).flatten(1, 2)
    ours = features(ram_network(state, TAGS), images)
    assert ours.shape == (2, 144, 8 * SWIN_WIDTH)
    assert ours.std(1).mean() > 0.1
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-3)


def torchvision_name(name: str) -> str:
    name = name.removeprefix("visual_encoder.")
    name = name.replace("patch_embed.proj.", "features.0.0.").replace("patch_embed.norm.", "features.0.2.")
    name = re.sub(r"layers\.(\d)\.blocks\.", lambda found: f"features.{2 * int(found[1]) + 1}.", name)
    name = re.sub(r"layers\.(\d)\.downsample\.", lambda found: f"features.{2 * int(found[1]) + 2}.", name)
    return name.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.3.")


def test_sizes_come_from_the_checkpoint(state: State) -> None:
    sizes = ram_network(state, TAGS).sizes
    assert (sizes.tags, sizes.texts, sizes.weighed) == (TAGS, TEXTS if sizes.weighed else 1, "reweight_scale" in state)
    assert (sizes.swin_width, sizes.swin_depths, sizes.swin_heads) == (SWIN_WIDTH, STAGE_DEPTHS, STAGE_HEADS)
    assert (sizes.label_width, sizes.decoder_layers) == (LABEL_WIDTH, 2)


def test_at_the_published_size_it_has_the_published_tensors() -> None:
    sizes = RamSizes(
        tags=4585,
        texts=51,
        weighed=True,
        patch=4,
        swin_width=192,
        swin_depths=(2, 2, 18, 2),
        swin_heads=(6, 12, 24, 48),
        label_width=512,
        decoder_width=768,
        decoder_layers=2,
        decoder_hidden=3072,
    )
    with torch.device("meta"):
        network = RamNetwork(sizes)
        swin = timm.create_model("swin_large_patch4_window12_384", num_classes=0)
    shapes, swin_shapes = (
        {name: value.shape for name, value in module.state_dict().items()} for module in (network.visual_encoder, swin)
    )
    assert shapes == swin_shapes
    # The official file has 402 with the 24 position indices and 11 masks that are computed here.
    assert len(network.state_dict()) == 402 - 24 - 11


def test_the_heads_older_name_is_read(images: torch.Tensor) -> None:
    state = tiny_ram_state(TAGS)
    older = {name.replace("tagging_head", "vision_multi"): value for name, value in state.items()}
    with torch.no_grad():
        torch.testing.assert_close(ram_network(older, TAGS)(images[:1]), ram_network(state, TAGS)(images[:1]))


def test_what_is_missing_is_named(state: State) -> None:
    without = {name: value for name, value in state.items() if not name.startswith("tagging_head.encoder.layer.1.")}
    without |= {"tagging_head.encoder.layer.1.output.dense.bias": torch.zeros(32)}
    with pytest.raises(ValueError, match=r"it lacks tagging_head\.encoder\.layer\.1\.crossattention\S+ and 14 more$"):
        ram_network(without, TAGS)


@pytest.mark.parametrize(
    "name",
    [
        "label_embed",
        "wordvec_proj.weight",
        "visual_encoder.patch_embed.proj.weight",
        "visual_encoder.layers.1.blocks.0.attn.relative_position_bias_table",
        "visual_encoder.layers.0.downsample.norm.weight",
        "tagging_head.encoder.layer.0.intermediate.dense.weight",
    ],
)
def test_a_missing_tensor_is_named(name: str) -> None:
    state = tiny_ram_state(TAGS)
    del state[name]
    with pytest.raises(ValueError, match=re.escape(f"it lacks {name}")):
        ram_network(state, TAGS)


def test_another_networks_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"it lacks label_embed"):
        ram_network({"conv1.weight": torch.zeros(3)}, TAGS)
    with pytest.raises(ValueError, match=r"it has the unknown caption\.bias and 1 more$"):
        ram_network({**tiny_ram_state(TAGS), "caption.weight": torch.zeros(3), "caption.bias": torch.zeros(3)}, TAGS)


def test_a_tensor_of_the_wrong_shape_is_refused(state: State) -> None:
    with pytest.raises(ValueError, match=r"it has in another shape fc\.weight \(2×32 for 1×32\)$"):
        ram_network({**state, "fc.weight": torch.zeros(2, 32)}, TAGS)
    with pytest.raises(ValueError, match=r"tensors of too few dimensions$"):
        ram_network({**state, "wordvec_proj.weight": torch.zeros(())}, TAGS)


def test_a_checkpoint_of_another_image_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"windows are 7 tokens wide, not 12"):
        ram_network(tiny_ram_state(TAGS, window=7), TAGS)


@pytest.mark.parametrize("tags", [TAGS - 1, TAGS + 1, 2 * TAGS])
def test_a_tag_list_of_another_length_is_refused(tags: int) -> None:
    with pytest.raises(ValueError, match=rf"{TAGS} label embeddings, which do not belong to a list of {tags} tags"):
        ram_network(tiny_ram_state(TAGS), tags)


def test_several_texts_a_tag_need_their_weighing() -> None:
    with pytest.raises(ValueError, match=r"do not belong to a list"):
        ram_network({**tiny_ram_state(TAGS), "label_embed": torch.zeros(2 * TAGS, LABEL_WIDTH)}, TAGS)
