"""RAFT with random weights. Its sizes are fixed by the class: 20 MB, a third of a second per field."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models.optical_flow import raft_large
from torchvision.models.optical_flow.raft import RAFT


def save_tiny_raft(folder: Path) -> None:
    """Write the large network as torchvision's own file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(random_raft().state_dict(), folder / "raft_large_C_T_SKHT_V2-ff5fadd5.pth")


def random_raft() -> RAFT:
    """A large network whose fields vary by about a pixel, so that some of its points find their way back."""
    torch.manual_seed(0)
    network = raft_large(weights=None).eval()
    with torch.no_grad():
        for parameter in network.update_block.flow_head.conv2.parameters():
            parameter.mul_(0.1)
        for name, values in network.named_buffers():
            # The statistics of a fresh network are all alike.
            if name.endswith(("running_mean", "running_var")):
                values.add_(torch.rand_like(values) * 0.2)
    return network
