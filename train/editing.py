"""Editing a whole video of any size: windows of the model's length, chained by their last frame (VIVID-10M).

Each window after the first is given its first frame, the last edited one of the window before, so the edit goes on
without a seam (KIVE). Outside the mask the result is the original to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field, field_validator

from manifests.ids import draw
from models.protocols import Image
from train.conditioning import FRAME_GROUP, SIDE_MULTIPLE, padded_frames
from train.inpaint_pipeline import StepEnd, VividInpaintPipeline
from train.restoration import restore_unmasked

Video = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]


class EditSettings(BaseModel, frozen=True, extra="forbid"):
    """How an edit is made."""

    height: int = Field(ge=16, multiple_of=SIDE_MULTIPLE, description="size the model works at, pixels")
    width: int = Field(ge=16, multiple_of=SIDE_MULTIPLE, description="size the model works at, pixels")
    frames: int = Field(default=49, ge=1, description="longest window, 8k + 1 frames, as trained")
    steps: int = Field(default=50, ge=1, description="denoising steps per window; half as many take half as long")
    guidance: float = Field(default=6.0, ge=1, description="how far to follow the caption; 1 is off, at half the time")
    feather: int = Field(
        default=0,
        ge=0,
        description="pixels inside the mask over which the edit fades in; 0 because under the rim of a mask that fits "
        "lies the old thing, whose outline a feather would leave standing; for masks wider than the thing",
    )
    restore: bool = Field(
        default=True,
        description="put the original back outside the mask; false shows what the model itself makes of the background",
    )

    @field_validator("frames")
    @classmethod
    def _latent_groups(cls, value: int) -> int:
        if padded_frames(value) != value:
            raise ValueError(f"a window has 8k + 1 frames (1, 9, 17, … 49), not {value}")
        return value


@dataclass(frozen=True)
class Fit:
    """How a frame lies in the model's picture: shrunk or enlarged to fit, the rest filled with its own edge."""

    height: int
    width: int
    target: tuple[int, int]
    """Height and width of the model's picture."""

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width the frame has in there."""
        scale = min(self.target[0] / self.height, self.target[1] / self.width)
        height, width = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        return min(self.target[0], height), min(self.target[1], width)

    def put(self, frame: Image) -> Image:
        """A frame (height, width, 3) as the model's picture."""
        height, width = self.inner
        shrinks = height < self.height
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        bottom, right = self.target[0] - height, self.target[1] - width
        return np.asarray(cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)

    def put_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A mask likewise: every touched pixel is masked, the filled edge is not."""
        height, width = self.inner
        small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
        result = np.zeros(self.target, np.bool_)
        result[:height, :width] = small
        return result

    def take(self, picture: Image) -> Image:
        """The frame back out of the model's picture."""
        height, width = self.inner
        inside = np.ascontiguousarray(picture[:height, :width])
        grows = height < self.height
        size = (self.width, self.height)
        return np.asarray(
            cv2.resize(inside, size, interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA), np.uint8
        )


@dataclass(frozen=True)
class Span:
    """One window of a video: frames `start` to `end` (exclusive), of which those from `new` on are drawn."""

    start: int
    end: int
    new: int


def spans(count: int, length: int, *, first_is_given: bool) -> list[Span]:
    """The windows over `count` frames. Each shares its first frame with the one before, where it is drawn.

    As few as can be, none longer than `length`, and as equal as 8k + 1 frames allow (the pipeline makes up what the
    last one lacks): 50 frames are 25 and 26, and not 49 and 2, of which the model would see one frame and eight times
    another. They are not all of `length`: that would draw frames twice, which leaves a seam where the second drawing is
    taken up, or give many edited frames at once, which training (KIVE gives one) never shows.
    """
    already = 1 if first_is_given else 0
    # A window of one frame has no room for a frame of the window before: pictures are then edited one by one.
    if length == 1:
        return [Span(0, 1, already), *(Span(frame, frame + 1, frame) for frame in range(1, count))]
    groups = -(-(count - 1) // FRAME_GROUP)
    windows = max(1, -(-groups * FRAME_GROUP // (length - 1)))
    found = []
    for number in range(windows):
        # The later windows are the longer ones, since the last of them is cut.
        start, end = (groups * edge // windows * FRAME_GROUP for edge in (number, number + 1))
        found.append(Span(start, min(end + 1, count), start + 1 if number else already))
    return found


def edit_video(
    pipeline: VividInpaintPipeline,
    frames: Video,
    masks: Masks,
    prompt: str,
    settings: EditSettings,
    *,
    seed: int = 0,
    keyframe: Image | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_drawn: Callable[[int, Video], None] | None = None,
) -> Video:
    """Draw what the prompt says inside the masks.

    Args:
        pipeline: an editor.
        frames: (frames, height, width, 3) uint8 RGB.
        masks: (frames, height, width) bool.
        prompt: local caption; the dataset's fixed sentence deletes.
        settings: how.
        seed: makes the result repeatable.
        keyframe: the first frame as it shall be, (height, width, 3); the video follows it. What it shows outside the
            first mask is not looked at.
        on_progress: told the share done, 0..1, after every denoising step.
        on_drawn: given a frame number and the frames from there on as the model drew them, before the original is put
            back outside the mask; windows without a mask are not drawn.

    Returns:
        As many frames of the same size: equal to the original outside the masks (unless `restore` is off), and to the
        keyframe inside the first.
        Raises ValueError (one sentence) when nothing is masked, sizes differ, or the prompt is too long.
    """
    _check(frames, masks, keyframe)
    fit = Fit(frames.shape[1], frames.shape[2], (settings.height, settings.width))
    windows = spans(len(frames), settings.frames, first_is_given=keyframe is not None)
    steps = _Steps(sum(bool(masks[window.new : window.end].any()) for window in windows), settings.steps, on_progress)
    edited = frames.copy()
    first: Image | None = None
    if keyframe is not None:
        edited[0] = np.where(masks[0][..., None], keyframe, frames[0])
        first = fit.put(edited[0])
    for number, window in enumerate(windows):
        here, new = slice(window.start, window.end), slice(window.new, window.end)
        if masks[new].any():
            drawn, kept = _edit_window(
                pipeline,
                np.stack([fit.put(frame) for frame in frames[here]]),
                np.stack([fit.put_mask(mask) for mask in masks[here]]),
                prompt,
                settings,
                draw(seed, "edit", f"window {number}"),
                first if window.new > window.start else None,
                steps.one_more,
            )
            own = slice(window.new - window.start, None)
            taken = np.stack([fit.take(picture) for picture in kept[own]])
            # Window by window: a whole copy at the end would be the video's third in memory.
            edited[new] = (
                restore_unmasked(frames[new], taken, masks[new], settings.feather) if settings.restore else taken
            )
            if on_drawn is not None:
                on_drawn(window.new, np.stack([fit.take(picture) for picture in drawn[own]]))
            # The model's own picture, so that chaining does not blur it by resampling twice.
            first = kept[-1]
        else:
            first = fit.put(edited[window.end - 1])
    return edited


def _check(frames: Video, masks: Masks, keyframe: Image | None) -> None:
    if masks.shape != frames.shape[:3]:
        raise ValueError(f"masks of {masks.shape} do not fit a video of {frames.shape[:3]}")
    if not masks.any():
        where = "in every frame" if len(masks) > 1 else "in the frame that is edited"
        raise ValueError(f"the mask is empty {where}, so there is nothing to edit")
    if keyframe is not None and keyframe.shape != frames.shape[1:]:
        raise ValueError(f"a keyframe of {keyframe.shape} does not fit frames of {frames.shape[1:]}")
    if keyframe is not None and not masks[0].any():
        raise ValueError("the mask is empty in the first frame, so a keyframe has no place to be")


class _Steps:
    """Tells the share of all denoising steps that are done."""

    def __init__(self, windows: int, steps: int, tell: Callable[[float], None] | None) -> None:
        self._total, self._done, self._tell = max(1, windows * steps), 0, tell

    def one_more(
        self, _pipeline: VividInpaintPipeline, _step: int, _timestep: int, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """To be called at the end of a step, as diffusers' pipelines do."""
        self._done += 1
        if self._tell is not None:
            self._tell(min(1.0, self._done / self._total))
        return tensors


def _edit_window(
    pipeline: VividInpaintPipeline,
    pictures: Video,
    masks: Masks,
    prompt: str,
    settings: EditSettings,
    seed: int,
    first: Image | None,
    on_step: StepEnd,
) -> tuple[Video, Video]:
    """The model's pictures of a window, (frames, height, width, 3) uint8: as drawn, and with the original put back."""
    video = pipeline(
        pictures,
        masks,
        prompt,
        first,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        return_dict=False,
        callback_on_step_end=on_step,
    )[0][0]
    drawn = np.rint(np.asarray(video, np.float32) * 255).astype(np.uint8)
    kept = restore_unmasked(pictures, drawn, masks, 0) if settings.restore else drawn.copy()
    if first is not None:
        kept[0] = first
    return drawn, kept
