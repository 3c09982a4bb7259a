"""From examples (pixels, masks, captions) to what a training step works on: latents and text embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from manifests.ids import draw_fraction
from train.conditioning import (
    LatentBatch,
    encode_batch,
    mask_to_latent_size,
    spatial_ratio,
    to_mask,
    to_model_range,
)
from train.data import Example
from train.text import EMPTY_PROMPT, TextEncoder, assemble_text

CACHED_CAPTIONS = 4096
"""Captions whose embeddings are kept: the fixed one of deletion, and those of the clips at hand."""


class CaptionCache:
    """Text embeddings by caption; the encoder is made when the first caption is not there."""

    def __init__(self, make_encoder: Callable[[], TextEncoder]) -> None:
        self._make_encoder = make_encoder
        self._encoder: TextEncoder | None = None
        self._empty: Tensor | None = None
        self._known: dict[str, Tensor] = {}

    @property
    def encoder(self) -> TextEncoder:
        """T5, loaded on first use: a run whose captions are all stored never needs it."""
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._encoder

    def put_empty(self, whole: Tensor) -> None:
        """Take the empty prompt's stored embedding (max_tokens, features)."""
        self._empty = whole

    def text(self, captions: Sequence[str], stored: Sequence[Tensor | None]) -> Tensor:
        """(B, max_tokens, features) of the captions; stored embeddings are taken as they are."""
        if self._empty is None:
            self._empty = self.encoder.encode_empty().float().cpu()
        rows = [self._row(caption, row, self._empty) for caption, row in zip(captions, stored, strict=True)]
        return assemble_text([row.to(self._empty.dtype) for row in rows], self._empty)

    def _row(self, caption: str, stored: Tensor | None, empty: Tensor) -> Tensor:
        if caption == EMPTY_PROMPT:
            return empty
        return stored if stored is not None else self._embedding(caption)

    def _embedding(self, caption: str) -> Tensor:
        if caption not in self._known:
            if len(self._known) >= CACHED_CAPTIONS:
                self._known.pop(next(iter(self._known)))
            self._known[caption] = self.encoder.encode([caption])[0].float().cpu()
        return self._known[caption]


class LatentBatches:
    """Encodes the examples of one forward pass."""

    def __init__(
        self, vae: AutoencoderKLCogVideoX, captions: CaptionCache, device: torch.device, dropout: float, seed: int
    ) -> None:
        self.vae, self.captions, self.device, self.dropout, self.seed = vae, captions, device, dropout, seed

    def __call__(self, examples: Sequence[Example]) -> LatentBatch:
        """The batch on the device."""
        dropped = [draw_fraction(self.seed, e.slot.key, "caption dropped") < self.dropout for e in examples]
        captions = [EMPTY_PROMPT if drop else e.caption for e, drop in zip(examples, dropped, strict=True)]
        stored = [None if drop else e.text for e, drop in zip(examples, dropped, strict=True)]
        text = self.captions.text(captions, stored).to(self.device)
        parts = [self._encode(example, text[row : row + 1]) for row, example in enumerate(examples)]
        return LatentBatch(
            sample_ids=tuple(name for part in parts for name in part.sample_ids),
            latents=torch.cat([part.latents for part in parts]),
            masked_latents=torch.cat([part.masked_latents for part in parts]),
            mask=torch.cat([part.mask for part in parts]),
            text=text,
        )

    def _encode(self, example: Example, text: Tensor) -> LatentBatch:
        mask = to_mask(example.masks).unsqueeze(0)
        name, kive = [example.sample.sample_id], [example.slot.kive]
        latents, masked = (
            None if stored is None else stored.unsqueeze(0) for stored in (example.latents, example.masked_latents)
        )
        if latents is not None and masked is not None:
            if kive[0]:
                mask[:, :, 0] = 0
            small = mask_to_latent_size(mask, int(self.vae.config.temporal_compression_ratio), spatial_ratio(self.vae))
            batch = LatentBatch(tuple(name), latents.float(), masked.float(), small, text)
        else:
            assert example.frames is not None, "frames are left out only where both latents are stored"
            video = to_model_range(example.frames).unsqueeze(0)
            batch = encode_batch(self.vae, name, video, mask, text, kive=kive, latents=latents, masked_latents=masked)
        return batch.to(self.device)
