"""From a text-to-video or image-to-video base to an inpainting model: more input channels, new ones silent at first."""

from __future__ import annotations

import torch
from diffusers import CogVideoXTransformer3DModel
from torch import nn

from train.positions import keep_learned_positions


def inpaint_channels(transformer: CogVideoXTransformer3DModel) -> int:
    """Input channels of the inpainting model: noise and masked video (16 each), and the mask."""
    return 2 * int(transformer.config.out_channels) + 1


def check_base(transformer: CogVideoXTransformer3DModel) -> None:
    """Raise ValueError when a transformer cannot become an inpainting model; the text is one sentence."""
    config = transformer.config
    if config.patch_size_t is not None:
        raise ValueError("bases of CogVideoX 1.5 (patches over time) are not supported; take a CogVideoX 1.0 base")
    if config.ofs_embed_dim is not None:
        raise ValueError("bases with an ofs embedding (CogVideoX 1.5 image-to-video) are not supported")
    noise = int(config.out_channels)
    if config.in_channels not in (noise, 2 * noise):
        raise ValueError(
            f"a base has {noise} (text-to-video) or {2 * noise} (image-to-video) input channels, not "
            f"{config.in_channels}, whose order is not known here"
        )


def expand_patch_embedding(transformer: CogVideoXTransformer3DModel) -> None:
    """Give a base the channels of `conditioning.CHANNEL_ORDER`, in place; its output stays that of the base.

    A text-to-video base keeps its noise channels. An image-to-video base also keeps its image channels, which become
    those of the masked video. New channels weigh zero. Raises ValueError for a base that is not supported.
    """
    check_base(transformer)
    old = transformer.patch_embed.proj
    channels = inpaint_channels(transformer)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    transformer.patch_embed.proj = new
    transformer.register_to_config(in_channels=channels)
    keep_learned_positions(transformer)
