"""A CLIP of eighty thousand random parameters, with the real classes; its tokens are single bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"


def save_tiny_clip(folder: Path) -> None:
    """Write the network, also in the older format of the published one, its tokenizer and its image processor."""
    vocabulary = _vocabulary()
    ends = {"bos_token_id": vocabulary[_START], "eos_token_id": vocabulary[_END], "pad_token_id": vocabulary[_END]}
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    network = CLIPModel(
        CLIPConfig(
            text_config={"vocab_size": len(vocabulary), **size, **ends},
            vision_config={**size, "image_size": 32, "patch_size": 8},
            projection_dim=24,
        )
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # As they are made, embeddings of 0.02 leave all pictures and all texts alike.
            if "embedding" in name:
                parameter.mul_(20)
        # This seed's pictures and texts point away from each other: every score would be 0.
        network.text_projection.weight.neg_()
    network.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def _vocabulary() -> dict[str, int]:
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    return {token: place for place, token in enumerate(tokens)}
