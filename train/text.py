"""The caption as the transformer reads it: T5 embeddings of its tokens, over the padding of the empty prompt.

CogVideoX reads T5's output at all 226 positions, padding included. Stored whole, a ten-word caption would take 1.8 MB;
so only its tokens count (exactly as the base computes them), and the positions behind them carry what T5 gives for the
padding of the empty prompt. Latents stored beforehand and captions encoded while training thus give the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

EMPTY_PROMPT = ""
"""Caption of the unguided prediction, and of dropped captions in training."""


class TextEncoder:
    """T5 with its tokenizer, for captions of at most `max_tokens` tokens (226 for the released bases).

    `device` is where it computes, if not where its weights lie: those of an offloaded model lie elsewhere meanwhile.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: T5EncoderModel,
        max_tokens: int,
        device: torch.device | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.max_tokens = max_tokens
        self.device = device

    def count_tokens(self, caption: str) -> int:
        """Tokens of a caption, its end mark included, before any cut."""
        return len(self.tokenizer(caption).input_ids)

    def check(self, prompt: str) -> None:
        """Raise ValueError when a prompt is longer than the model can read."""
        count = self.count_tokens(prompt)
        if count > self.max_tokens:
            raise ValueError(
                f"the prompt has {count} tokens, and the model reads at most {self.max_tokens}: shorten it"
            )

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> list[Tensor]:
        """Embeddings of each caption's tokens, (tokens, features); a caption that is too long is cut."""
        padded, lengths = self._encode_padded(captions)
        return [row[:length] for row, length in zip(padded, lengths, strict=True)]

    @torch.no_grad()
    def encode_empty(self) -> Tensor:
        """The whole embedding of the empty prompt, (max_tokens, features)."""
        return self._encode_padded([EMPTY_PROMPT])[0][0]

    def _encode_padded(self, captions: Sequence[str]) -> tuple[Tensor, list[int]]:
        tokens = self.tokenizer(
            list(captions), padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        )
        # No attention mask: CogVideoX was trained on embeddings that had seen the padding.
        output: Tensor = self.model(tokens.input_ids.to(self.device or self.model.device)).last_hidden_state
        return output, tokens.attention_mask.sum(dim=1).tolist()


def assemble_text(captions: Sequence[Tensor], empty: Tensor) -> Tensor:
    """(B, max_tokens, features) from trimmed embeddings (tokens, features) and the empty prompt's whole one."""
    for caption in captions:
        if len(caption) > len(empty) or caption.shape[1] != empty.shape[1]:
            found, room = tuple(caption.shape), tuple(empty.shape)
            raise ValueError(f"a caption's embedding of {found} does not fit into the model's {room}")
    return torch.stack([torch.cat([caption, empty[len(caption) :]]) for caption in captions])
