"""Where a patch lies in the video: rotary embeddings, and learned ones that also serve windows of fewer frames."""

from __future__ import annotations

from functools import lru_cache

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import CogVideoXPatchEmbed, get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor


def rotary_embedding(transformer: CogVideoXTransformer3DModel, latents: Tensor) -> tuple[Tensor, Tensor] | None:
    """Cosines and sines for latents (B, F, C, h, w), on their device; None for a base without rotary embeddings."""
    config = transformer.config
    if not config.use_rotary_positional_embeddings:
        return None
    patch = int(config.patch_size)
    frames, _, height, width = latents.shape[1:]
    return _rotary(
        int(config.attention_head_dim),
        (height // patch, width // patch),
        (int(config.sample_height) // patch, int(config.sample_width) // patch),
        frames,
        latents.device,
    )


@lru_cache(maxsize=16)
def _rotary(
    head_dim: int, grid: tuple[int, int], base_grid: tuple[int, int], frames: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    crops = get_resize_crop_region_for_grid(grid, base_grid[1], base_grid[0])
    cosines, sines = get_3d_rotary_pos_embed(
        embed_dim=head_dim, crops_coords=crops, grid_size=grid, temporal_size=frames, device=device
    )
    return cosines, sines


class LearnedPositions(CogVideoXPatchEmbed):  # type: ignore[misc]
    """The patch embedder of a base with learned positions, which gives a shorter window the first of them.

    Its parent falls back to sine positions for any other number of frames, so an image and the first frame of a video
    would lie at different places, and so would the text.
    """

    def _get_positional_embeddings(
        self, sample_height: int, sample_width: int, sample_frames: int, device: torch.device | None = None
    ) -> Tensor:
        if "pos_embedding" not in self._buffers:
            sines: Tensor = super()._get_positional_embeddings(sample_height, sample_width, sample_frames, device)
            return sines
        if sample_frames > self.sample_frames:
            raise ValueError(
                f"this base has learned positions for {self.sample_frames} frames, not for {sample_frames}"
            )
        latent_frames = (sample_frames - 1) // self.temporal_compression_ratio + 1
        patches = latent_frames * (sample_height // self.patch_size) * (sample_width // self.patch_size)
        learned: Tensor = self.pos_embedding[:, : self.max_text_seq_length + patches]
        return learned


def keep_learned_positions(transformer: CogVideoXTransformer3DModel) -> None:
    """Let a base with learned positions use them for every number of frames; others stay as they are."""
    config, old = transformer.config, transformer.patch_embed
    if not config.use_learned_positional_embeddings or isinstance(old, LearnedPositions):
        return
    with torch.device("meta"):
        new = LearnedPositions(
            patch_size=config.patch_size,
            in_channels=config.in_channels,
            embed_dim=old.embed_dim,
            text_embed_dim=config.text_embed_dim,
            bias=config.patch_bias,
            sample_width=config.sample_width,
            sample_height=config.sample_height,
            sample_frames=config.sample_frames,
            temporal_compression_ratio=config.temporal_compression_ratio,
            max_text_seq_length=config.max_text_seq_length,
            spatial_interpolation_scale=config.spatial_interpolation_scale,
            temporal_interpolation_scale=config.temporal_interpolation_scale,
            use_positional_embeddings=not config.use_rotary_positional_embeddings,
            use_learned_positional_embeddings=True,
        )
    new.load_state_dict(old.state_dict(), assign=True)
    transformer.patch_embed = new


def check_size(transformer: CogVideoXTransformer3DModel, frames: int, height: int, width: int) -> None:
    """Raise ValueError when this base cannot take a video of so many frames and pixels."""
    config = transformer.config
    if not config.use_learned_positional_embeddings:
        return
    wanted = (int(config.sample_height) * 8, int(config.sample_width) * 8)
    if (height, width) != wanted:
        raise ValueError(f"this base has learned positions for {wanted[0]}×{wanted[1]} only, not for {height}×{width}")
    if frames > config.sample_frames:
        raise ValueError(f"this base has learned positions for {config.sample_frames} frames, not for {frames}")
