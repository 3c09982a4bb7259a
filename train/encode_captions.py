"""Encode captions: the text embedding of each distinct caption, trimmed to its tokens."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from torch import Tensor
from transformers.utils import logging as library_log

from models.batching import Batches
from models.placement import place
from stages.latent_work import CaptionText
from stages.stage import Context, Stage
from train.base_parts import load_text_encoder
from train.encode_clips import MODEL, checked_base, torch_dtype
from train.latent_members import pack_text
from train.latent_settings import EncodeSettings
from train.text import EMPTY_PROMPT

BATCHES = {"float32": 1, "bfloat16": 16}
"""Captions that go through T5 together. One in float32: there a stored embedding is to the bit the one that the trainer
computes by itself."""


class EncodeCaptions(Stage[CaptionText]):
    """T5 over captions. The empty prompt is kept whole: captions are padded with it (see `train.text`)."""

    name = "encode text"
    reads = ("caption",)
    writes = ("tokens", "file")
    Settings = EncodeSettings
    settings: EncodeSettings

    def setup(self, context: Context) -> None:
        """Load T5. Raises ValueError when the base is not the one that the latents are bound to."""
        super().setup(context)
        library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
        placement = place(context.models.device(MODEL))
        self.encoder = load_text_encoder(
            checked_base(self.settings),
            int(self.settings.identity["max_tokens"]),
            torch_dtype(placement),
            placement.device,
        )
        self.batches = Batches(BATCHES[placement.dtype])

    def run(self, records: Sequence[CaptionText]) -> None:
        for record, text in zip(records, self._encode([record.caption for record in records]), strict=True):
            record.tokens = len(text)
            record.file = self.context.scratch / uuid.uuid4().hex
            record.file.write_bytes(pack_text(text))

    def _encode(self, captions: Sequence[str]) -> list[Tensor]:
        spoken = [caption for caption in captions if caption != EMPTY_PROMPT]
        known = iter(self.batches.run(spoken, self.encoder.encode))
        return [self.encoder.encode_empty() if caption == EMPTY_PROMPT else next(known) for caption in captions]
