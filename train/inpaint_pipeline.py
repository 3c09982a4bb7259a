"""Editing a video inside a mask, in diffusers' manner.

    editor = VividInpaintPipeline.from_pretrained("checkpoint")
    frames = editor(video, mask, "a red car", generator=torch.Generator().manual_seed(0)).frames[0]

The result is what the model drew over the whole frame; `train.restoration.restore_unmasked` puts the original back
outside the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXTransformer3DModel,
    DiffusionPipeline,
)
from diffusers.loaders import CogVideoXLoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from train.base_model import find_components, load_inpaint_transformer
from train.checkpoint import check_channels
from train.conditioning import (
    CHANNEL_ORDER,
    decode_latents,
    encode_masked_video,
    join_channels,
    mask_to_latent_size,
    mask_video,
    set_keyframe,
    spatial_ratio,
    to_mask,
    to_model_range,
)
from train.pipeline_input import (
    Frames,
    Masks,
    Picture,
    cut_window,
    pad_window,
    read_keyframe,
    read_masks,
    read_video_frames,
)
from train.positions import check_size, rotary_embedding
from train.precision import compute_dtype, matching_autocast
from train.text import EMPTY_PROMPT, TextEncoder, assemble_text

StepEnd = Callable[["VividInpaintPipeline", int, int, dict[str, Tensor]], dict[str, Tensor]]


@dataclass
class VividInpaintOutput(BaseOutput):  # type: ignore[misc]
    """`frames`: a batch of one video as `output_type` says (np: (1, F, H, W, 3) float32 in 0..1; pil: [[images]])."""

    frames: Any


class VividInpaintPipeline(DiffusionPipeline, CogVideoXLoraLoaderMixin):  # type: ignore[misc]
    """A CogVideoX whose transformer takes noise, masked video and mask.

    Args:
        tokenizer, text_encoder: T5; both may be None where prompt embeddings are given.
        vae: the base's video autoencoder.
        transformer: with the channels of `conditioning.CHANNEL_ORDER`.
        scheduler: CogVideoX's DDIM or DPM scheduler.
        channel_order: what the transformer's channels are; another order is refused.
    """

    _optional_components = ["tokenizer", "text_encoder"]  # noqa: RUF012 (diffusers reads it so)
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012
    model_cpu_offload_seq = "text_encoder->transformer->vae"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        text_encoder: T5EncoderModel | None,
        vae: AutoencoderKLCogVideoX,
        transformer: CogVideoXTransformer3DModel,
        scheduler: CogVideoXDDIMScheduler | CogVideoXDPMScheduler,
        channel_order: str = ",".join(CHANNEL_ORDER),
    ) -> None:
        super().__init__()
        check_channels(channel_order.split(","), "the pipeline")
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
        )
        self.register_to_config(channel_order=channel_order)
        self.video_processor = VideoProcessor(vae_scale_factor=spatial_ratio(vae))

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        base: str | Path | None = None,
        revision: str | None = None,
        dtype: torch.dtype | None = None,
        **components: Any,
    ) -> VividInpaintPipeline:
        """An editor from a checkpoint, a saved pipeline, or a CogVideoX base (which has not learnt to edit yet).

        Args:
            model: folder, or hub name of a base.
            base: where a checkpoint's base lies, if not where the checkpoint says.
            revision: of a base on the hub.
            dtype: number format; that of the files when None.
            components: parts to use instead of the stored ones, such as `scheduler`, or `text_encoder=None`.

        Raises ValueError with one sentence when the model cannot be used.
        """
        if "transformer" not in components:
            components["transformer"] = load_inpaint_transformer(model, base=base, revision=revision, dtype=dtype)
        source, source_revision = find_components(model, base=base, revision=revision)
        pipeline: VividInpaintPipeline = super().from_pretrained(
            source, revision=source_revision, dtype=dtype, use_safetensors=True, **components
        )
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the whole pipeline. Raises ValueError while a LoRA is live: its weights would be lost on loading."""
        if getattr(self.transformer, "peft_config", None):
            raise ValueError(
                "call fuse_lora() and unload_lora_weights() first: a live LoRA cannot be saved with its base"
            )
        super().save_pretrained(save_directory, **options)

    @torch.no_grad()
    def __call__(
        self,
        video: Frames,
        mask: Masks,
        prompt: str | None = None,
        keyframe: Picture | None = None,
        *,
        num_frames: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 6.0,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: Literal["np", "pil", "pt", "latent"] = "np",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
    ) -> VividInpaintOutput | tuple[Any]:
        """Draw what the prompt says inside the mask.

        Args:
            video: RGB frames (F, H, W, 3) uint8, or a list of images; an image is a video of one frame. Sides are
                multiples of 16.
            mask: (F, H, W), one mask (H, W) for all frames, or a list of images; not zero where the model draws.
            prompt: local caption of what is drawn.
            keyframe: the first frame as it shall be (KIVE); the rest of the video follows it.
            num_frames: edit only so many leading frames; all when None. The model sees 8k + 1 frames: the last one is
                repeated as often as it takes, and the repetitions are cut off again.
            num_inference_steps: denoising steps.
            guidance_scale: how far to follow the prompt; 1 is without guidance, at half the cost.
            generator: makes the result repeatable.
            latents: noise to start from, (1, F', C, h, w).
            prompt_embeds: (tokens, features) or (1, tokens, features) instead of a prompt.
            negative_prompt_embeds: the empty prompt's, needed with guidance where there is no text encoder.
            output_type: np | pil | pt | latent (which are those of the padded window).
            return_dict: a VividInpaintOutput, or a tuple of its frames.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": …}); may return other latents.

        Raises ValueError with one sentence for input that does not fit.
        """
        frames, masks = read_video_frames(video), read_masks(mask)
        count = len(frames) if num_frames is None else num_frames
        frames, masks = pad_window(*cut_window(frames, masks, count))
        check_size(self.transformer, *frames.shape[:3])

        text = self._text(prompt, prompt_embeds, negative_prompt_embeds, guided=guidance_scale > 1)
        condition = self._condition(frames, masks, keyframe)
        latents = self._first_latents(condition[0], generator, latents)
        latents = self._denoise(
            latents, condition, text, num_inference_steps, guidance_scale, generator, callback_on_step_end
        )

        result: Any = latents
        if output_type != "latent":
            drawn = decode_latents(self.vae, latents)[:, :, :count]
            result = self.video_processor.postprocess_video(drawn, output_type=output_type)
        self.maybe_free_model_hooks()
        return VividInpaintOutput(frames=result) if return_dict else (result,)

    def _text(
        self, prompt: str | None, prompt_embeds: Tensor | None, negative_prompt_embeds: Tensor | None, *, guided: bool
    ) -> Tensor:
        """Text of the prediction, (1, tokens, features), or (2, …) with the empty prompt's first when guided."""
        if (prompt is None) == (prompt_embeds is None):
            raise ValueError("give either a prompt or prompt_embeds")
        wants_text = prompt is not None or (guided and negative_prompt_embeds is None)
        if wants_text and (self.text_encoder is None or self.tokenizer is None):
            raise ValueError(
                "this pipeline has no text encoder: give prompt_embeds, and negative_prompt_embeds for guidance"
            )
        positive, negative = (_with_batch(embeds) for embeds in (prompt_embeds, negative_prompt_embeds))
        if wants_text:
            max_tokens = int(self.transformer.config.max_text_seq_length)
            encoder = TextEncoder(self.tokenizer, self.text_encoder, max_tokens, self._execution_device)
            empty = encoder.encode_empty()
            if prompt is not None:
                encoder.check(prompt)
                positive = assemble_text(encoder.encode([prompt]), empty)
            negative = assemble_text(encoder.encode([EMPTY_PROMPT]), empty) if negative is None else negative
        parts = [negative, positive] if guided else [positive]
        return torch.cat([part.to(self._execution_device) for part in parts if part is not None])

    def _condition(
        self,
        frames: npt.NDArray[np.uint8],
        masks: npt.NDArray[np.bool_],
        keyframe: Picture | None,
    ) -> tuple[Tensor, Tensor]:
        """Latents of the masked video (1, F', C, h, w) and the mask at their size (1, F', 1, h, w)."""
        video = to_model_range(frames).unsqueeze(0).to(self._execution_device)
        mask = to_mask(masks).unsqueeze(0).to(self._execution_device)
        masked = mask_video(video, mask)
        if keyframe is not None:
            first = to_model_range(read_keyframe(keyframe, frames)).to(self._execution_device)
            masked, mask = set_keyframe(masked, mask, first.transpose(0, 1))
        small = mask_to_latent_size(mask, int(self.vae.config.temporal_compression_ratio), spatial_ratio(self.vae))
        return encode_masked_video(self.vae, masked), small

    def _first_latents(self, like: Tensor, generator: torch.Generator | None, given: Tensor | None) -> Tensor:
        if given is not None and given.shape != like.shape:
            raise ValueError(f"latents of {tuple(given.shape)} were given for a window of {tuple(like.shape)}")
        if given is None:
            given = randn_tensor(like.shape, generator=generator, device=like.device, dtype=torch.float32)
        start: Tensor = given.to(like.device, torch.float32) * self.scheduler.init_noise_sigma
        return start

    def _denoise(
        self,
        latents: Tensor,
        condition: tuple[Tensor, Tensor],
        text: Tensor,
        num_steps: int,
        guidance_scale: float,
        generator: torch.Generator | None,
        on_step_end: StepEnd | None,
    ) -> Tensor:
        """Latents (1, F', C, h, w) float32 from noise to video."""
        branches = len(text)
        dtype = compute_dtype(self.transformer)
        masked, mask = (part.expand(branches, *part.shape[1:]) for part in condition)
        rotary = rotary_embedding(self.transformer, latents)
        self.scheduler.set_timesteps(num_steps, device=latents.device)
        timesteps = self.scheduler.timesteps
        earlier: Tensor | None = None
        with self.progress_bar(total=len(timesteps)) as progress:
            for step, timestep in enumerate(timesteps):
                noisy = self.scheduler.scale_model_input(latents, timestep).expand(branches, *latents.shape[1:])
                with matching_autocast(self.transformer):
                    predicted = self.transformer(
                        hidden_states=join_channels(noisy.to(dtype), masked, mask),
                        encoder_hidden_states=text.to(dtype),
                        timestep=timestep.expand(branches),
                        image_rotary_emb=rotary,
                        return_dict=False,
                    )[0].float()
                if branches == 2:
                    unguided, guided = predicted.chunk(2)
                    predicted = unguided + guidance_scale * (guided - unguided)
                if isinstance(self.scheduler, CogVideoXDPMScheduler):
                    before = timesteps[step - 1] if step else None
                    latents, earlier = self.scheduler.step(
                        predicted, earlier, timestep, before, latents, generator=generator, return_dict=False
                    )
                else:
                    latents = self.scheduler.step(predicted, timestep, latents, generator=generator, return_dict=False)[
                        0
                    ]
                if on_step_end is not None:
                    latents = on_step_end(self, step, timestep, {"latents": latents}).get("latents", latents)
                progress.update()
        return latents


def _with_batch(embeds: Tensor | None) -> Tensor | None:
    return embeds.unsqueeze(0) if embeds is not None and embeds.ndim == 2 else embeds
