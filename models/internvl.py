"""InternVL through transformers: the three captions of an entity from a network on this machine.

Only checkpoints in transformers' own format ("-hf" on the hub): the original ones bring code to run, which is refused.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, Field
from transformers import GenerationConfig, InternVLForConditionalGeneration, InternVLProcessor

from models.batching import Batches
from models.caption_prompt import PROMPT_VERSION, CaptionRequest, PromptSettings, caption_views
from models.placement import Placement
from models.pretrained import load_network, load_processor
from models.protocols import Captions, EntityView, ModelInfo, NoCaptions
from models.weights import Weights, WeightsError


class InternVLSettings(BaseModel, frozen=True, extra="forbid"):
    """Which checkpoint, and how it is asked."""

    weights: str = Field(default="internvl3-2b-hf", description="entry in the list of weights")
    prompt: PromptSettings = Field(default=PromptSettings(), description="what the model is shown and told")
    batch: int = Field(default=8, ge=1, description="entities at a time; halved when the GPU's memory is too small")
    crop_to_patches: bool = Field(
        default=False,
        description="cut pictures into tiles and a thumbnail, for prompt.side well above the tile's 448; a square "
        "picture of one tile gains nothing from it",
    )
    max_new_tokens: int = Field(default=320, ge=16, description="most tokens of an answer; too few cut the JSON off")


class InternVLCaptioner:
    """A Captioner that runs InternVL with greedy decoding, several entities in one batch."""

    Settings = InternVLSettings
    batched = True
    operational = frozenset({"batch"})

    def __init__(self, settings: InternVLSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint is not one of transformers' format, or damaged."""
        self._settings, self._placement = settings, placement
        self._network, self._processor = _load(weights, placement)
        tokenizer = self._processor.tokenizer
        ends = self._network.generation_config.eos_token_id or tokenizer.eos_token_id
        self._ends = frozenset([ends] if isinstance(ends, int) else ends)
        # In place of the checkpoint's own, which may ask for sampling or penalties.
        self._network.generation_config = GenerationConfig.from_dict(
            {
                "max_new_tokens": settings.max_new_tokens,
                "do_sample": False,
                "eos_token_id": sorted(self._ends),
                "pad_token_id": tokenizer.pad_token_id,
            }
        )
        self._batches = Batches(settings.batch)
        self.info = ModelInfo(weights.name, f"{weights.revision}-prompt{PROMPT_VERSION}")

    def caption(self, views: Sequence[EntityView]) -> list[Captions | NoCaptions]:
        """Captions of each entity; none where the model's answer broke the rules twice."""
        return caption_views(views, self._settings.prompt, self.answer)

    def answer(self, wanted: Sequence[CaptionRequest]) -> list[str]:
        """What the model writes to each request, whether usable or not."""
        texts: list[str] = self._processor.batch_decode(self.tokens(wanted), skip_special_tokens=True)
        return texts

    def tokens(self, wanted: Sequence[CaptionRequest]) -> list[list[int]]:
        """The tokens the model writes to each request, up to its end token."""
        return self._batches.run(wanted, self._generate)

    @torch.inference_mode()
    def _generate(self, wanted: Sequence[CaptionRequest]) -> list[list[int]]:
        inputs = self._processor(
            images=[list(request.pictures) for request in wanted],
            text=[self._dialogue(request) for request in wanted],
            # On the left: on the right generation would go on from padding.
            padding=True,
            padding_side="left",
            crop_to_patches=self._settings.crop_to_patches,
            return_tensors="pt",
        ).to(self._placement.device, dtype=getattr(torch, self._placement.dtype))
        written = self._network.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        return [self._until_end(row) for row in written.tolist()]

    def _until_end(self, row: list[int]) -> list[int]:
        """What comes after the end is padding to the longest of the batch."""
        return list(itertools.takewhile(lambda token: token not in self._ends, row))

    def _dialogue(self, request: CaptionRequest) -> str:
        content = [*({"type": "image"} for _ in request.pictures), {"type": "text", "text": request.text}]
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text


def _load(weights: Weights, placement: Placement) -> tuple[Any, Any]:
    """The network and its processor. Raises WeightsError."""
    _check_format(weights)
    network = load_network(InternVLForConditionalGeneration, weights, placement)
    processor = load_processor(InternVLProcessor, weights)
    expected, given = network.config.image_seq_length, processor.image_seq_length
    if expected != given:
        raise WeightsError(
            f"the weight '{weights.name}' contradicts itself: a tile has {expected} tokens in config.json "
            f"and {given} in the processor's file"
        )
    return network, processor


def _check_format(weights: Weights) -> None:
    path = weights.folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"the weight '{weights.name}' has no readable config.json in {weights.folder}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "internvl" or "auto_map" in config:
        raise WeightsError(
            f"the weight '{weights.name}' is of the type '{kind}' and not in transformers' InternVL format; original "
            "InternVL checkpoints run code of their own, so take the one whose name ends with -hf"
        )
