"""Checkpoints of RAFT: torchvision's own, and those of the authors (princeton-vl/RAFT; same network, other names).

Large or small is told by the tensors. The authors' files were saved from a wrapper, so that their names begin with
``module.``; and the large one holds the norm of every shortcut twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow.raft import RAFT

from models.weights import WeightsError

State = Mapping[str, torch.Tensor]
"""Tensors of a network by name."""

_WRAPPER = "module."
_DOUBLED_NORM = re.compile(r"^[fc]net\.layer\d\.\d\.norm3\.")
_RENAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^([fc]net)\.conv1\.", r"\1.convnormrelu.0."),
        (r"^([fc]net)\.norm1\.", r"\1.convnormrelu.1."),
        (r"^([fc]net)\.conv2\.", r"\1.conv."),
        (r"^([fc]net\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
        (r"^([fc]net\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
        (r"^fnet\.", "feature_encoder."),
        (r"^cnet\.", "context_encoder."),
        (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
        (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
        (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
        (r"^update_block\.gru\.conv([zrq])1?\.", r"update_block.recurrent_block.convgru1.conv\1."),
        (r"^update_block\.gru\.conv([zrq])2\.", r"update_block.recurrent_block.convgru2.conv\1."),
        (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
        (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
    )
)
"""From the authors' names to torchvision's, applied one after the other."""


def load_raft(path: Path) -> RAFT:
    """The network of a checkpoint, in float32 on the CPU, ready to use.

    Raises WeightsError when the file is no checkpoint of RAFT, or not all of one.
    """
    state = _read(path)
    if any(name.removeprefix(_WRAPPER).startswith("fnet.") for name in state):
        state = to_torchvision(state)
    elif not any(name.startswith("feature_encoder.") for name in state):
        raise WeightsError(f"{path} is not a checkpoint of RAFT: it has no feature encoder")
    large = any(name.startswith("mask_predictor.") for name in state)
    network: RAFT = (raft_large if large else raft_small)(weights=None, progress=False)
    _check(path, state, network.state_dict())
    network.load_state_dict(dict(state))
    return network.eval().requires_grad_(False)


def to_torchvision(state: State) -> dict[str, torch.Tensor]:
    """The authors' tensors under torchvision's names."""
    renamed = {}
    for original, tensor in state.items():
        name = original.removeprefix(_WRAPPER)
        # Only the large network has norms with tensors; its third one is the shortcut's, which `downsample.1` holds.
        if _DOUBLED_NORM.match(name):
            continue
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


def _read(path: Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Depending on where it is damaged, torch raises half a dozen kinds of errors of many lines.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(f"the checkpoint {path} cannot be read, it may be damaged: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} is not a checkpoint of RAFT: it holds no tensors by name")
    return state


def _check(path: Path, state: State, wanted: State) -> None:
    """Raises WeightsError naming the first tensor that is missing, unknown or of another shape."""
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    for problem, names in (("lacks", missing), ("has the unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"the checkpoint {path} does not fit RAFT: it {problem} tensor {names[0]}{more}")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise WeightsError(
                f"the checkpoint {path} does not fit RAFT: "
                f"{name} is of {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
            )
