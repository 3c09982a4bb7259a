"""Both layouts of RAFT's checkpoints give the same network; anything else is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from tiny_models.raft import random_raft
from torchvision.models.optical_flow import raft_small

from models.raft_checkpoint import load_raft, to_torchvision
from models.weights import WeightsError

ENCODERS = {"feature_encoder": "fnet", "context_encoder": "cnet"}
STEM = {"convnormrelu.0": "conv1", "convnormrelu.1": "norm1", "conv": "conv2"}
BLOCK = {
    "convnormrelu1.0": "conv1",
    "convnormrelu1.1": "norm1",
    "convnormrelu2.0": "conv2",
    "convnormrelu2.1": "norm2",
    "downsample.0": "downsample.0",
    "downsample.1": "downsample.1",
}
UPDATE = {
    "update_block.motion_encoder.convcorr1.0": "encoder.convc1",
    "update_block.motion_encoder.convcorr2.0": "encoder.convc2",
    "update_block.motion_encoder.convflow1.0": "encoder.convf1",
    "update_block.motion_encoder.convflow2.0": "encoder.convf2",
    "update_block.motion_encoder.conv.0": "encoder.conv",
    **{f"update_block.recurrent_block.convgru{n}.conv{gate}": f"gru.conv{gate}{n}" for n in (1, 2) for gate in "zrq"},
    "update_block.flow_head.conv1": "flow_head.conv1",
    "update_block.flow_head.conv2": "flow_head.conv2",
    "mask_predictor.convrelu.0": "mask.0",
    "mask_predictor.conv": "mask.2",
}


def module_names() -> dict[str, str]:
    """torchvision's name of every module of the large network → the authors'."""
    names = {ours: f"update_block.{theirs}" for ours, theirs in UPDATE.items()}
    for ours, theirs in ENCODERS.items():
        names |= {f"{ours}.{a}": f"{theirs}.{b}" for a, b in STEM.items()}
        for block in (f"layer{layer}.{index}" for layer in (1, 2, 3) for index in (0, 1)):
            names |= {f"{ours}.{block}.{a}": f"{theirs}.{block}.{b}" for a, b in BLOCK.items()}
    return names


def as_the_authors_save(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors in the layout of princeton-vl/RAFT, with the norm of every shortcut twice."""
    names, result = module_names(), {}
    for name, tensor in state.items():
        module, _, parameter = name.rpartition(".")
        result[f"module.{names[module]}.{parameter}"] = tensor
        if ".downsample.1." in name:
            doubled = names[module].replace("downsample.1", "norm3")
            result[f"module.{doubled}.{parameter}"] = tensor
    return result


@pytest.fixture(scope="module")
def large() -> dict[str, torch.Tensor]:
    return random_raft().state_dict()


def saved(state: object, folder: Path) -> Path:
    torch.save(state, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


def test_the_authors_layout_becomes_torchvisions(large: dict[str, torch.Tensor]) -> None:
    theirs = as_the_authors_save(large)
    assert "module.cnet.layer2.0.norm3.running_var" in theirs
    assert len(theirs) == len(large) + 10
    ours = to_torchvision(theirs)
    assert set(ours) == set(large)
    assert all(torch.equal(ours[name], tensor) for name, tensor in large.items())


def test_both_layouts_give_equal_flow(large: dict[str, torch.Tensor], tmp_path: Path) -> None:
    first, second = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    flows = []
    for state in (large, as_the_authors_save(large)):
        network = load_raft(saved(state, tmp_path))
        assert not network.training
        with torch.inference_mode():
            flows.append(network(first, second, num_flow_updates=2)[-1])
    assert torch.equal(*flows)
    assert flows[0].std() > 0.01


def test_a_small_network_is_told_by_its_tensors(tmp_path: Path) -> None:
    small = raft_small(weights=None)
    loaded = load_raft(saved(small.state_dict(), tmp_path))
    assert loaded.mask_predictor is None
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in small.state_dict().items())


def test_the_authors_small_checkpoint_fits(shared_data: Path) -> None:
    path = shared_data / "weights" / "raft-small.pth"
    if not path.is_file():
        pytest.skip("the weights of RAFT-small are not beside this checkout (../shared/data/weights)")
    network = load_raft(path)
    assert sum(parameter.numel() for parameter in network.parameters()) == 990_162


def test_a_file_that_cannot_be_read_is_one_sentence(large: dict[str, torch.Tensor], tmp_path: Path) -> None:
    whole = saved(large, tmp_path).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<html>not found</html>", whole[100:]):
        path = tmp_path / "damaged.pth"
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"damaged\.pth cannot be read") as raised:
            load_raft(path)
        assert "\n" not in str(raised.value)


class Surprise:
    """What a checkpoint that runs code would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the checkpoint ran code",)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        load_raft(saved({"feature_encoder.conv.weight": Surprise()}, tmp_path))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: [1, 2], "no tensors by name"),
        (lambda state: {"step": 3}, "no tensors by name"),
        (lambda state: {"backbone.weight": torch.zeros(1)}, "no feature encoder"),
        (
            lambda state: {name: tensor for name, tensor in state.items() if "flow_head" not in name},
            r"it lacks update_block\.flow_head\.conv1\.bias and 3 more$",
        ),
        (lambda state: state | {"head.bias": torch.zeros(1)}, r"it has the unknown head\.bias$"),
        (
            lambda state: state | {"feature_encoder.conv.bias": torch.zeros(3)},
            r"it has in another shape feature_encoder\.conv\.bias \(3 for 256\)$",
        ),
    ],
)
def test_another_checkpoint_is_one_sentence(large, spoil, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=sentence) as raised:
        load_raft(saved(spoil(dict(large)), tmp_path))
    assert "\n" not in str(raised.value)
    assert "checkpoint.pth" in str(raised.value)
