"""First-frame masks with SAM 2.1: every detection's box is a prompt, and the image is embedded once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from transformers import Sam2ImageProcessor

from manifests.masks import Mask
from models.batching import Batches
from models.placement import Placement, check_finite
from models.protocols import Detection, Image, ModelInfo
from models.sam2_checkpoint import load_image_model, side_of
from models.weights import Weights


class Sam2Settings(BaseModel, frozen=True, extra="forbid"):
    """Which checkpoint, and how boxes become masks."""

    weights: str = Field(
        default="sam2.1-hiera-large", description="entry in the list of weights, of either form (safetensors or .pt)"
    )
    multimask: bool = Field(
        default=False,
        description="choose the best of three masks per box by the predicted IoU; for boxes one mask is more stable",
    )
    batch: int = Field(
        default=64, ge=1, description="boxes decoded at a time; halved when the GPU's memory is too small"
    )


class Sam2Segmenter:
    """The `Segmenter` of SAM 2.1, for things and for background regions alike."""

    Settings = Sam2Settings
    operational = frozenset({"batch"})

    def __init__(self, settings: Sam2Settings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint is damaged or of another network."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._settings = settings
        self._placement = placement
        self._model = load_image_model(weights, placement)
        self._pixels = Pixels(side_of(self._model.config.prompt_encoder_config), placement)
        self._batches = Batches(settings.batch)

    def segment(self, image: Image, detections: Sequence[Detection]) -> list[Mask]:
        """One mask of `image`'s size per detection, from its box; seeds are ignored, except where they are the mask."""
        given = {
            number: detection.seed
            for number, detection in enumerate(detections)
            if not detection.refine and detection.seed is not None
        }
        boxes = [detection.box for number, detection in enumerate(detections) if number not in given]
        found = iter(self._from_boxes(image, boxes) if boxes else [])
        return [given[number] if number in given else next(found) for number in range(len(detections))]

    @torch.inference_mode()
    def _from_boxes(self, image: Image, boxes: Sequence[Sequence[float]]) -> list[Mask]:
        height, width = image.shape[:2]
        side = self._pixels.side
        embeddings = self._model.get_image_embeddings(self._pixels(image)[None])
        scale = torch.tensor([side / width, side / height] * 2)
        prompts = (torch.tensor(boxes, dtype=torch.float32) * scale).to(self._placement.device)

        def decode(numbers: Sequence[int]) -> list[Mask]:
            output = self._model(
                image_embeddings=embeddings,
                input_boxes=prompts[None, numbers[0] : numbers[-1] + 1],
                multimask_output=self._settings.multimask,
            )
            best = output.iou_scores[0].argmax(dim=-1)
            logits = output.pred_masks[0, torch.arange(len(numbers), device=best.device), best]
            return full_size_masks(logits[:, None], (height, width))

        return self._batches.run(range(len(boxes)), decode)


class Pixels:
    """Images as SAM 2 wants them: a square of a fixed side, normalised, whatever the image's shape."""

    def __init__(self, side: int, placement: Placement) -> None:
        self.side = side
        self._placement = placement
        self._processor = Sam2ImageProcessor(
            size={"height": side, "width": side}, mask_size={"height": side // 4, "width": side // 4}
        )

    def __call__(self, image: Image) -> Tensor:
        """(3, side, side) on the placement's device, in its number format."""
        prepared = self._processor(
            np.array(image),
            return_tensors="pt",
            device=self._placement.device,
            input_data_format="channels_last",
        )
        pixels: Tensor = prepared["pixel_values"][0]
        return pixels.to(dtype=getattr(torch, self._placement.dtype))


def full_size_masks(logits: Tensor, size: tuple[int, int]) -> list[Mask]:
    """Masks of (height, width) from logits (objects, 1, h, w): enlarged first, then cut at zero.

    Raises ValueError for logits that are not numbers, which would look like masks of nothing.
    """
    if len(logits):
        check_finite(float(logits.abs().amax()), "SAM 2.1", logits.dtype)
    # One object at a time: the enlarged logits of many would not fit beside the model.
    enlarged = (
        torch.nn.functional.interpolate(one[None].float(), size, mode="bilinear", align_corners=False) for one in logits
    )
    return [np.asarray((one[0, 0] > 0).cpu().numpy(), np.bool_) for one in enlarged]
