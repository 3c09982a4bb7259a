"""Editing on a GPU that cannot hold the whole editor: parts that wait in main memory, and a VAE that works in tiles.

At 480×720 and 16 bits CogVideoX-5b's parts take 9.5 (T5) + 11.1 (transformer) + 0.4 GB (VAE), and decoding takes 19 GB
more. In tiles of 240×360 it takes a quarter of that, so with one part at a time 16.4 GB do in place of 40.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKLCogVideoX

    from train.inpaint_pipeline import VividInpaintPipeline

FRAMES_AT_ONCE = 9
"""Frames the VAE works on at once: a group of eight, and the window's first."""
LAYERS_AT_ONCE = 24
"""Full-size layers whose results count at once. It is diffusers' own assessment (`tiled_decode`), which gives 19.1 GB
for 480×720 in 16 bits; diffusers' documentation has measured 19 GB there."""
TILE_STEP = (6, 5)
"""Latent cells, down and across, that a tile's sides must be multiples of. The VAE lets tiles overlap by a sixth and a
fifth, and where that is no whole cell its result has another size than the picture."""


class Offload(StrEnum):
    """Where the parts of an editor are while they have nothing to do."""

    AUTO = "auto"
    NONE = "none"
    MODEL = "model"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of GPU memory that an edit takes at most: with all parts there, and with one part at a time and tiles."""

    whole: int
    by_part: int

    def best(self, free: int) -> Offload:
        """The fastest way that fits into `free` bytes; layer by layer, which takes least, where none does."""
        if free >= self.whole:
            return Offload.NONE
        return Offload.MODEL if free >= self.by_part else Offload.SEQUENTIAL


def memory_need(pipeline: VividInpaintPipeline, height: int, width: int) -> MemoryNeed:
    """What editing pictures of this size takes.

    Beside the weights only the VAE's work counts: the transformer's (activations of 2 × 17 776 tokens at 480×720×49,
    about 3 GB) comes at another time and is less, also than that of a VAE in tiles.
    """
    parts = {name: _weight_bytes(module) for name, module in _modules(pipeline).items()}
    tile_height, tile_width = tile_size(pipeline.vae)
    largest = max(size for name, size in parts.items() if name != "vae")
    return MemoryNeed(
        whole=sum(parts.values()) + _work_bytes(pipeline.vae, height, width),
        # The VAE stays while the transformer works: it comes first, and what follows sends only the part before away.
        by_part=largest + parts["vae"] + _work_bytes(pipeline.vae, min(height, tile_height), min(width, tile_width)),
    )


def place(pipeline: VividInpaintPipeline, offload: Offload, device: str | torch.device) -> None:
    """Put an editor onto a device, whole or so that its parts come when they are needed.

    With `MODEL` or `SEQUENTIAL` the VAE works in overlapping tiles, whose pixels differ slightly from those of a whole
    picture. (Its slicing is of no use: the pipeline decodes one video at a time anyway.) Raises ValueError for `AUTO`,
    which is to be decided before, by `MemoryNeed.best`.
    """
    if offload is Offload.AUTO:
        raise ValueError("'auto' is no place; choose by the memory that is free")
    if offload is Offload.NONE:
        pipeline.to(device)
        return
    height, width = tile_size(pipeline.vae)
    pipeline.vae.enable_tiling(tile_sample_min_height=height, tile_sample_min_width=width)
    if offload is Offload.MODEL:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def tile_size(vae: AutoencoderKLCogVideoX) -> tuple[int, int]:
    """Height and width of tiles in pixels: about half of what the VAE is made for, 240×360 for the released ones."""
    cell = int(2 ** (len(vae.config.block_out_channels) - 1))
    halves = (int(vae.config.sample_height) // 2, int(vae.config.sample_width) // 2)
    height, width = (max(1, side // (step * cell)) * step * cell for side, step in zip(halves, TILE_STEP, strict=True))
    return height, width


def _modules(pipeline: VividInpaintPipeline) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipeline.components.items() if hasattr(part, "parameters")}


def _weight_bytes(module: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def _work_bytes(vae: AutoencoderKLCogVideoX, height: int, width: int) -> int:
    features, bytes_each = int(vae.config.block_out_channels[0]), int(vae.dtype.itemsize)
    return FRAMES_AT_ONCE * LAYERS_AT_ONCE * features * height * width * bytes_each
