"""What a caller hands the editing pipeline, in any of its forms: read, checked, and padded to a window of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from train.conditioning import check_window, padded_frames

Picture = PIL.Image.Image | npt.NDArray[np.uint8]
Frames = npt.NDArray[np.uint8] | Sequence[Picture]
Masks = npt.NDArray[Any] | Sequence[PIL.Image.Image] | Sequence[npt.NDArray[Any]]


def read_video_frames(video: Frames) -> npt.NDArray[np.uint8]:
    """A video as RGB frames (F, H, W, 3) uint8. Raises ValueError where it is none."""
    frames = video if isinstance(video, np.ndarray) else np.stack([_read_image(frame) for frame in video])
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"a video is (frames, height, width, 3) uint8, not {frames.shape} {frames.dtype}")
    return frames


def _read_image(frame: Picture) -> npt.NDArray[np.uint8]:
    return np.asarray(frame.convert("RGB")) if isinstance(frame, PIL.Image.Image) else frame


def read_masks(mask: Masks) -> npt.NDArray[np.bool_]:
    """Masks as (F, H, W) bool, or (H, W) where one stands for all frames; true where a value is not zero."""
    values = mask if isinstance(mask, np.ndarray) else np.stack([_read_mask(one) for one in mask])
    return values.astype(np.bool_)


def _read_mask(mask: PIL.Image.Image | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(mask.convert("L")) if isinstance(mask, PIL.Image.Image) else mask


def read_keyframe(keyframe: Picture, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A keyframe as a video of one frame (1, H, W, 3). Raises ValueError unless it has the size of `frames`."""
    first = read_video_frames([_read_image(keyframe)])
    if first.shape[1:] != frames.shape[1:]:
        raise ValueError(
            f"the keyframe is {first.shape[1]}×{first.shape[2]}, the video {frames.shape[1]}×{frames.shape[2]}"
        )
    return first


def cut_window(
    frames: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_], count: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The first `count` frames and their masks; ValueError when they do not fit together."""
    if not 1 <= count <= len(frames):
        raise ValueError(f"{count} frames were asked for, and the video has {len(frames)}")
    if masks.ndim == 2:
        masks = np.broadcast_to(masks, (len(frames), *masks.shape))
    if masks.ndim != 3 or masks.shape[1:] != frames.shape[1:3]:
        size = "×".join(map(str, masks.shape[1:]))
        raise ValueError(f"the masks are {size}, and the video is {frames.shape[1]}×{frames.shape[2]}")
    if len(masks) != len(frames):
        raise ValueError(f"there are {len(masks)} masks for {len(frames)} frames")
    if not masks[:count].any():
        raise ValueError("the mask is empty in every frame, so there is nothing to edit")
    check_window(padded_frames(count), *frames.shape[1:3])
    return frames[:count], masks[:count]


def pad_window(
    frames: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Both with the last frame repeated up to 8k + 1 frames."""
    extra = padded_frames(len(frames)) - len(frames)
    return (
        np.concatenate([frames, np.repeat(frames[-1:], extra, axis=0)]),
        np.concatenate([masks, np.repeat(masks[-1:], extra, axis=0)]),
    )
