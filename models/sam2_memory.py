"""SAM 2.1's video model over frames that come one at a time, with a memory that does not grow with the clip.

The sessions of transformers keep every frame and every frame's outputs. Of those, the next frame reads only the
spatial memories of the last few frames and the object pointers of a few more; all else is dropped after each frame,
and the masks stay the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from models.placement import Placement
from models.sam2_checkpoint import load_video_model, side_of
from models.weights import Weights

_SPATIAL_MEMORY = ("maskmem_features", "maskmem_pos_enc", "pred_masks")
Outputs = Mapping[str, MutableMapping[int, MutableMapping[str, Any]]]
"""One object's outputs of a session: by kind of frame (prompted or not), then by frame."""


class Walk(Protocol):
    """One clip under way."""

    def step(self, pixels: Tensor) -> Tensor:
        """Mask logits (objects, 1, side / 4, side / 4) on the next frame (3, side, side), the first being frame 0."""
        ...


class VideoModel(Protocol):
    """A video model of SAM 2.1, whichever package runs it."""

    side: int
    """Frames and prompts are squares of so many pixels."""

    def begin(self, frame_count: int, prompts: Sequence[Tensor], at_once: int) -> Walk:
        """A walk through a clip with one first-frame mask (side, side) of 0 and 1 per object, at least one."""
        ...


class MaskPromptedSam2(Sam2VideoModel):  # type: ignore[no-untyped-call]
    """Makes of a mask prompt what Meta's predictor makes of it, whose published results were got that way.

    transformers takes the object pointer from the best of three candidate masks, Meta from the single one; and it
    encodes the first memory from the prompt itself, Meta from the prompt at a quarter of the side, enlarged again.
    """

    def _single_frame_forward(self, *arguments: Any, **named: Any) -> Any:
        if named.get("input_masks") is not None:
            named["multimask_output"] = False
        return super()._single_frame_forward(*arguments, **named)

    def _use_mask_as_output(self, *arguments: Any, **named: Any) -> Any:
        output: Any = super()._use_mask_as_output(*arguments, **named)
        enlarged = torch.nn.functional.interpolate(
            output.pred_masks.float(), output.high_res_masks.shape[-2:], mode="bilinear", align_corners=False
        )
        output.high_res_masks = enlarged.to(output.pred_masks.dtype)
        return output


class TransformersVideoModel:
    """The video model of transformers."""

    def __init__(self, weights: Weights, placement: Placement) -> None:
        self._model = load_video_model(MaskPromptedSam2, weights, placement)
        self._placement = placement
        self.side = side_of(self._model.config)

    def begin(self, frame_count: int, prompts: Sequence[Tensor], at_once: int) -> TransformersWalk:
        """A walk with at most `at_once` objects per session."""
        groups = [prompts[start : start + at_once] for start in range(0, len(prompts), at_once)]
        return TransformersWalk(self._model, self._placement, frame_count, groups)


class TransformersWalk:
    """Sessions that go through a clip side by side and share each frame's image features.

    The length of the clip is known to the sessions from the start, only its frames come later: the model then weighs
    its object pointers as it does for a whole video, and as Meta's package does. A session that is told no length
    ("streaming" in transformers) weighs them differently in clips under 16 frames, and the way back of the cycle check
    is often that short.
    """

    def __init__(
        self, model: Sam2VideoModel, placement: Placement, frame_count: int, groups: Sequence[Sequence[Tensor]]
    ) -> None:
        self._model = model
        self._frames: dict[int, Tensor | None] = dict.fromkeys(range(frame_count))
        self._next = 0
        self.sessions = [self._session(placement, prompts) for prompts in groups]
        for session in self.sessions:
            session.cache = self.sessions[0].cache

    def _session(self, placement: Placement, prompts: Sequence[Tensor]) -> Sam2VideoInferenceSession:
        session = Sam2VideoInferenceSession(
            inference_device=placement.device,
            inference_state_device=placement.device,
            video_storage_device=placement.device,
            dtype=getattr(torch, placement.dtype),
        )
        session.processed_frames = self._frames
        for number, prompt in enumerate(prompts):
            session.add_mask_inputs(session.obj_id_to_idx(number), 0, prompt[None, None])
        session.obj_with_new_inputs = list(range(len(prompts)))
        return session

    @torch.inference_mode()
    def step(self, pixels: Tensor) -> Tensor:
        """Mask logits of all objects on the next frame."""
        frame = self._next
        self._frames[frame] = pixels
        logits = [self._model(session, frame_idx=frame).pred_masks for session in self.sessions]
        self._frames[frame] = None
        self._next += 1
        for session in self.sessions:
            self._prune(session, frame)
        return torch.cat(logits)

    def _prune(self, session: Sam2VideoInferenceSession, frame: int) -> None:
        config = self._model.config
        prune(session.output_dict_per_obj.values(), frame, config.num_maskmem, config.max_object_pointers_in_encoder)
        for kept in (*session.mask_inputs_per_obj.values(), *session.frames_tracked_per_obj.values()):
            kept.clear()


def prune(objects: Iterable[Outputs], frame: int, memories: int, pointers: int) -> None:
    """Drop what no frame after `frame` reads from the outputs of each object, going forward from frame 0.

    A frame sees the spatial memories of `memories` - 1 and the pointers of `pointers` - 1 frames before it, and those
    of prompted frames for ever.
    """
    for outputs in objects:
        for entries in outputs.values():
            if frame in entries:
                entries[frame].pop("high_res_masks", None)
        tracked = outputs["non_cond_frame_outputs"]
        for number in [number for number in tracked if number <= frame + 1 - memories]:
            for name in _SPATIAL_MEMORY:
                tracked[number].pop(name, None)
        for number in [number for number in tracked if number <= frame + 1 - pointers]:
            del tracked[number]
