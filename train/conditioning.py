"""What the editor sees besides the noise: the masked video and the mask, at latent size (VIVID-10M, model and KIVE).

Shapes here: pixels are (batch, 3, frames, H, W) in [-1, 1], as the VAE takes them; latents are (batch, frames,
channels, h, w), as the transformer takes them. A mask is 1 where the model draws and 0 where it keeps. An image is a
video of one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor
from torch.nn import functional

CHANNEL_ORDER = ("noise", "masked_video", "mask")
"""Order of the transformer's input channels, written into every checkpoint: noise latents, latents of the masked video
(as many), one mask. Other editors order them otherwise (CogVideoX-Fun: noise, mask, masked video)."""

MASKED_FILL = 0.0
"""What masked pixels become, in the model's range [-1, 1]: mid-grey, which is x ⊙ (1 − m) on the VAE's own input."""

FRAME_GROUP = 8
"""Windows have 8k + 1 frames: the VAE makes 4 frames one latent but decodes latents in pairs, and returns another
number of frames for any other count."""

SIDE_MULTIPLE = 16
"""Sides are multiples of 16: 8 by the VAE, 2 by the patches of the transformer."""


@dataclass(frozen=True)
class LatentBatch:
    """What one training step works on: B samples of one shape.

    `latents` and `masked_latents` are (B, F, C, h, w) and scaled as the transformer takes them, `mask` is
    (B, F, 1, h, w) in {0, 1}, `text` is (B, tokens, features).
    """

    sample_ids: tuple[str, ...]
    latents: Tensor
    masked_latents: Tensor
    mask: Tensor
    text: Tensor

    def __post_init__(self) -> None:
        batch, frames, _, height, width = self.latents.shape
        if self.masked_latents.shape != self.latents.shape:
            raise ValueError(
                f"the masked video's latents are {_shape(self.masked_latents)}, the video's {_shape(self.latents)}"
            )
        if self.mask.shape != (batch, frames, 1, height, width):
            raise ValueError(f"a mask of {_shape(self.mask)} does not fit latents of {_shape(self.latents)}")
        if len(self.sample_ids) != batch or len(self.text) != batch:
            raise ValueError(f"{len(self.sample_ids)} sample ids and {len(self.text)} texts for {batch} videos")

    def to(self, device: torch.device | str) -> LatentBatch:
        """The batch on a device."""
        return replace(
            self,
            latents=self.latents.to(device),
            masked_latents=self.masked_latents.to(device),
            mask=self.mask.to(device),
            text=self.text.to(device),
        )


def check_window(frames: int, height: int, width: int) -> None:
    """Raise ValueError unless the model can take a video of this size."""
    if frames < 1 or frames % FRAME_GROUP != 1:
        raise ValueError(
            f"a window of {frames} frames does not fit the VAE, which takes 8k + 1 frames (1, 9, 17, … 49)"
        )
    if height < SIDE_MULTIPLE or width < SIDE_MULTIPLE or height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise ValueError(
            f"a video of {height}×{width} does not fit the model: sides must be multiples of {SIDE_MULTIPLE}"
        )


def padded_frames(frames: int) -> int:
    """The smallest 8k + 1 that is at least `frames`."""
    return -(-(frames - 1) // FRAME_GROUP) * FRAME_GROUP + 1


def to_model_range(frames: npt.NDArray[np.uint8]) -> Tensor:
    """RGB frames (F, H, W, 3) uint8 as (3, F, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2).float() / 127.5 - 1


def to_mask(masks: npt.NDArray[np.bool_]) -> Tensor:
    """Masks (F, H, W) bool as (1, F, H, W) float32 in {0, 1}."""
    return torch.from_numpy(np.ascontiguousarray(masks)).unsqueeze(0).float()


def to_pixels(video: Tensor) -> npt.NDArray[np.uint8]:
    """(3, F, H, W) in [-1, 1] as RGB frames (F, H, W, 3) uint8; the inverse of `to_model_range`."""
    levels = ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 3, 0).cpu().numpy())


def mask_video(video: Tensor, mask: Tensor) -> Tensor:
    """The masked video x̃ = x ⊙ (1 − m): pixels (B, 3, F, H, W), mask (B, 1, F, H, W)."""
    if mask.shape != (video.shape[0], 1, *video.shape[2:]):
        raise ValueError(f"a mask of {_shape(mask)} does not fit a video of {_shape(video)}")
    return torch.where(mask > 0, video.new_tensor(MASKED_FILL), video)


def set_keyframe(
    masked: Tensor, mask: Tensor, keyframe: Tensor, chosen: Sequence[bool] | None = None
) -> tuple[Tensor, Tensor]:
    """KIVE: show the model the first frame as it shall be, and leave nothing to draw in it.

    Args:
        masked: masked video (B, 3, F, H, W).
        mask: (B, 1, F, H, W).
        keyframe: first frames (B, 3, H, W): the original's in training, the edited one in editing.
        chosen: which samples of the batch; all when None.

    Returns:
        Copies of `masked` with its first frame replaced, and of `mask` with its first frame all zero.
    """
    if keyframe.shape != (masked.shape[0], 3, *masked.shape[3:]):
        raise ValueError(f"a keyframe of {_shape(keyframe)} does not fit a video of {_shape(masked)}")
    masked, mask = masked.clone(), mask.clone()
    rows = range(len(masked)) if chosen is None else [row for row, wanted in enumerate(chosen) if wanted]
    for row in rows:
        masked[row, :, 0] = keyframe[row]
        mask[row, :, 0] = 0
    return masked, mask


def mask_to_latent_size(mask: Tensor, temporal: int = 4, spatial: int = 8) -> Tensor:
    """A mask (B, 1, F, H, W) at latent size, (B, F', 1, H / spatial, W / spatial): a cell is marked if any pixel is.

    The VAE makes the first frame a latent of its own and every `temporal` following ones the next, so frames are pooled
    in these groups, by maximum: a cell that is partly masked must be free to change.
    """
    frames, height, width = mask.shape[2:]
    if frames % temporal != 1 % temporal or height % spatial or width % spatial:
        raise ValueError(f"masks of {frames} × {height}×{width} do not divide into latents of {temporal} × {spatial}²")
    small = functional.max_pool3d(mask, kernel_size=(1, spatial, spatial))
    first, rest = small[:, :, :1], small[:, :, 1:]
    grouped = rest.reshape(*rest.shape[:2], -1, temporal, *rest.shape[3:]).amax(3) if frames > 1 else rest
    return torch.cat([first, grouped], dim=2).transpose(1, 2)


def join_channels(noisy: Tensor, masked_latents: Tensor, mask: Tensor) -> Tensor:
    """The transformer's input in `CHANNEL_ORDER`: (B, F, 2C + 1, h, w)."""
    return torch.cat([noisy, masked_latents.to(noisy.dtype), mask.to(noisy.dtype)], dim=2)


@torch.no_grad()
def encode_mean(vae: AutoencoderKLCogVideoX, video: Tensor) -> Tensor:
    """Unscaled latents (F', C, h, w) of one video (1, 3, F, H, W) on the VAE's device, in its number format."""
    mean: Tensor = vae.encode(video.to(vae.dtype)).latent_dist.mode()
    return mean[0].transpose(0, 1)


def video_scale(vae: AutoencoderKLCogVideoX) -> float:
    """Factor of the video's latents, see `encode_video`."""
    return float(vae.config.scaling_factor)


def masked_scale(vae: AutoencoderKLCogVideoX) -> float:
    """Factor of the masked video's latents, see `encode_masked_video`."""
    scale = float(vae.config.scaling_factor)
    return 1 / scale if vae.config.invert_scale_latents else scale


def encode_video(vae: AutoencoderKLCogVideoX, video: Tensor) -> Tensor:
    """Scaled latents (B, F', C, h, w) float32 of pixels (B, 3, F, H, W).

    The mean of the posterior, not a draw: its spread is far below the diffusion's noise, and latents encoded beforehand
    must be those a trainer would encode. One video at a time, so that memory does not grow with the batch. Pixels lie
    on the VAE's device.
    """
    return _encode(vae, video) * video_scale(vae)


def encode_masked_video(vae: AutoencoderKLCogVideoX, masked: Tensor) -> Tensor:
    """`encode_video` of the condition, in the scale of the base's own image condition.

    Image-to-video bases whose VAE says `invert_scale_latents` were trained on conditions divided by the scaling factor.
    """
    return _encode(vae, masked) * masked_scale(vae)


def _encode(vae: AutoencoderKLCogVideoX, video: Tensor) -> Tensor:
    check_window(*video.shape[2:])
    return torch.stack([encode_mean(vae, one).float() for one in torch.split(video, 1)])


@torch.no_grad()
def decode_latents(vae: AutoencoderKLCogVideoX, latents: Tensor) -> Tensor:
    """Pixels (B, 3, F, H, W) float32, about [-1, 1], of latents (B, F', C, h, w); the inverse of `encode_video`."""
    unscaled = (latents / float(vae.config.scaling_factor)).transpose(1, 2)
    return torch.cat([vae.decode(one.to(vae.dtype)).sample.float() for one in torch.split(unscaled, 1)])


def encode_batch(
    vae: AutoencoderKLCogVideoX,
    sample_ids: Sequence[str],
    video: Tensor,
    mask: Tensor,
    text: Tensor,
    *,
    kive: Sequence[bool] | None = None,
    latents: Tensor | None = None,
    masked_latents: Tensor | None = None,
) -> LatentBatch:
    """A training batch from pixels; latents that were encoded beforehand are taken as they are.

    Args:
        sample_ids: names of the B samples.
        video: (B, 3, F, H, W).
        mask: (B, 1, F, H, W).
        text: assembled text embeddings (B, tokens, features), see `train.text.assemble_text`.
        kive: which samples train on their keyframe (p = 0.5 on videos in the paper); none when None.
        latents: `encode_video` of `video`.
        masked_latents: `encode_masked_video` of the masked video, keyframe included where `kive` says so.
    """
    video, mask = video.to(vae.device), mask.to(vae.device)
    masked, shown_mask = set_keyframe(mask_video(video, mask), mask, video[:, :, 0], kive or [False] * len(video))
    return LatentBatch(
        sample_ids=tuple(sample_ids),
        latents=encode_video(vae, video) if latents is None else latents,
        masked_latents=encode_masked_video(vae, masked) if masked_latents is None else masked_latents,
        mask=mask_to_latent_size(shown_mask, int(vae.config.temporal_compression_ratio), spatial_ratio(vae)),
        text=text,
    )


def spatial_ratio(vae: AutoencoderKLCogVideoX) -> int:
    """Pixels per latent cell along a side."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def _shape(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape)
