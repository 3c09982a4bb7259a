"""CLIP as a judge: 100 · max(cos, 0) between the features of a picture and of a text (CLIPScore), and the features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from models.batching import Batches
from models.placement import Placement, check_finite
from models.pretrained import load_network, load_processor
from models.protocols import Image, ModelInfo
from models.weights import Weights


class ClipSettings(BaseModel, frozen=True, extra="forbid"):
    """Which CLIP."""

    weights: str = Field(
        default="clip-vit-base-patch16",
        description="entry in the list of weights; scores of different CLIPs do not compare",
    )
    batch: int = Field(default=32, ge=1, description="pairs at a time; halved when the GPU's memory is too small")


class ClipScorer:
    """Scores pairs of picture and text, and embeds pictures.

    Of a picture CLIP sees the centre square, of a text the first 77 tokens.
    """

    Settings = ClipSettings
    batched = True
    operational = frozenset({"batch"})

    def __init__(self, settings: ClipSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint or its tokenizer is damaged or of another network."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._tokenizer = load_processor(CLIPTokenizer, weights)
        self._processor = load_processor(CLIPImageProcessor, weights)
        self._network = load_network(CLIPModel, weights, placement)
        self._batches = Batches(settings.batch)

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        """One score per pair, 0 to 100. Images need not be of equal size."""
        return self._batches.run(list(zip(images, texts, strict=True)), self._scores)

    def embed(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Features (images, features) of pictures, not normalised. Images need not be of equal size."""
        rows = self._batches.run(images, lambda batch: list(self._picture_features(list(batch)).cpu().numpy()))
        return np.stack(rows) if rows else np.zeros((0, self._network.config.projection_dim), np.float32)

    def _scores(self, pairs: Sequence[tuple[Image, str]]) -> list[float]:
        pictures = self._picture_features([image for image, _ in pairs])
        texts = self._text_features([text for _, text in pairs])
        cosines = torch.nn.functional.cosine_similarity(pictures, texts, dim=-1)
        scores: list[float] = (100 * cosines).clamp(0, 100).tolist()
        check_finite(scores, self.info.name, self._network.dtype)
        return scores

    def _picture_features(self, images: list[Image]) -> torch.Tensor:
        """(pictures, features) float32, not normalised."""
        pixels = self._processor(
            images=[np.array(image) for image in images],
            input_data_format="channels_last",
            return_tensors="pt",
            device=self._network.device,
        )
        with torch.inference_mode():
            output = self._network.get_image_features(pixel_values=pixels["pixel_values"].to(self._network.dtype))
        features: torch.Tensor = output.pooler_output
        return features.float()

    def _text_features(self, texts: list[str]) -> torch.Tensor:
        """(texts, features) float32, not normalised."""
        limit = self._network.config.text_config.max_position_embeddings
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            output = self._network.get_text_features(**tokens.to(self._network.device))
        features: torch.Tensor = output.pooler_output
        return features.float()
