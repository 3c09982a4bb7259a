"""Checkpoints of RAFT: torchvision's own, and those of the authors (princeton-vl/RAFT; same network, other names).

Large or small is told by the tensors. The authors' files were saved from a wrapper, so that their names begin with
``module.``; and the large one holds the norm of every shortcut twice.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow.raft import RAFT

from models.checkpoint_files import State, check_fit, read_tensors
from models.weights import WeightsError

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
    state: State = read_tensors(path)
    if any(name.removeprefix(_WRAPPER).startswith("fnet.") for name in state):
        state = to_torchvision(state)
    elif not any(name.startswith("feature_encoder.") for name in state):
        raise WeightsError(f"the checkpoint {path} is not RAFT's: it has no feature encoder")
    large = any(name.startswith("mask_predictor.") for name in state)
    network: RAFT = (raft_large if large else raft_small)(weights=None, progress=False)
    check_fit(state, network.state_dict(), f"the checkpoint {path}")
    network.load_state_dict(dict(state))
    return network.eval().requires_grad_(False)


def to_torchvision(state: State) -> dict[str, Tensor]:
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
