"""RAFT (Teed & Deng, 2020): dense flow by a network that compares all pairs of pixels, large or small.

As a registry model it follows points (`Flow`) by reading its field at them, which is what background motion needs: a
chain of dense fields drifts by pixels within two seconds, a homography fitted to its points does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch.nn.functional import pad
from torchvision.models.optical_flow.raft import CorrBlock

from models.dense_points import DensePoints, DensePointsSettings
from models.placement import Placement, check_finite
from models.point_flow import Flags, Points
from models.protocols import Image, ModelInfo
from models.raft_checkpoint import load_raft
from models.weights import Weights

STRIDE = 8
"""The network sees one pixel of features per 8×8 pixels of a frame."""
MIN_SIDE = 128
"""The coarsest of its four levels of comparison needs two pixels of features."""


class RaftSettings(DensePointsSettings, frozen=True, extra="forbid"):
    """Which RAFT, how long it refines, and which of its points are trusted."""

    weights: str = Field(
        default="raft-large", description="entry in the list of weights; its file tells large or small"
    )
    updates: int = Field(
        default=12, ge=1, le=64, description="refinements of the field; fewer are faster and miss large motions"
    )


class RaftFlow:
    """Dense flow, and points followed by it."""

    Settings = RaftSettings
    colour = True
    operational = frozenset({"cache_mb"})

    def __init__(self, settings: RaftSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint is damaged or of another network."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._updates = settings.updates
        self._device = torch.device(placement.device)
        self._dtype: torch.dtype = getattr(torch, placement.dtype)
        self._network = load_raft(weights.file(".pth")).to(self._device)
        self._network.corr_block = _ExactCorrelation(self._network.corr_block)
        self._points = DensePoints(self.flow, settings)

    def __call__(self, first: Image, second: Image, points: Points) -> tuple[Points, Flags]:
        """See `Flow`. A point is trusted where the field of the way back leads back."""
        return self._points(first, second, points)

    def flow(self, first: Image, second: Image) -> npt.NDArray[np.float32]:
        """Displacement (height, width, 2) in pixels, x then y, from `first` to `second`, RGB frames of one size.

        Raises ValueError for frames of two sizes, and when the network gives values that are not numbers.
        """
        if first.shape != second.shape:
            raise ValueError(f"the flow from a frame of {first.shape[:2]} to one of {second.shape[:2]} does not exist")
        height, width = first.shape[:2]
        (left, right), (top, bottom) = _margins(width), _margins(height)
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, self._dtype != torch.float32):
            margins = (left, right, top, bottom)
            pair = [pad(self._tensor(frame), margins, mode="replicate").contiguous() for frame in (first, second)]
            field = self._network(*pair, num_flow_updates=self._updates)[-1]
        inner = field[0, :, top : top + height, left : left + width]
        flow: npt.NDArray[np.float32] = np.ascontiguousarray(inner.permute(1, 2, 0).float().cpu().numpy())
        check_finite(flow, self.info.name, self._dtype)
        return flow

    def _tensor(self, frame: Image) -> torch.Tensor:
        """(1, 3, height, width) in [-1, 1]."""
        pixels = torch.from_numpy(np.array(frame)).to(self._device)
        return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


class _ExactCorrelation(torch.nn.Module):
    """The comparison of all pairs in float32 whatever the rest runs in, as the authors have it.

    Positions in it are fractions of a pixel among hundreds, which half precision cannot tell apart.
    """

    def __init__(self, block: CorrBlock) -> None:
        super().__init__()
        self._block = block

    def build_pyramid(self, first: torch.Tensor, second: torch.Tensor) -> None:
        with torch.autocast(first.device.type, enabled=False):
            self._block.build_pyramid(first.float(), second.float())

    def index_pyramid(self, centroids_coords: torch.Tensor) -> torch.Tensor:
        with torch.autocast(centroids_coords.device.type, enabled=False):
            features: torch.Tensor = self._block.index_pyramid(centroids_coords.float())
        return features


def _margins(length: int) -> tuple[int, int]:
    """What is added before and after a side so that the network takes it."""
    missing = max(MIN_SIDE, -(-length // STRIDE) * STRIDE) - length
    return missing // 2, missing - missing // 2
