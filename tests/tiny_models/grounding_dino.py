"""A Grounding DINO of half a million random parameters, with the real classes and the real ids of the delimiters."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    SwinConfig,
)

_FIXED = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
"""Places the network or its tokenizer take for granted."""
_WORDS = ("dog", "car", "swan", "person", "black", "cat", "red", "building", "tree", "grass", "sky")


def save_tiny_grounding_dino(folder: Path) -> None:
    """Write the network, its tokenizer and its image processor."""
    save_parts(tiny_network(), folder)


def save_parts(network: GroundingDinoForObjectDetection, folder: Path) -> None:
    """Write a network with the tokenizer and the image processor."""
    network.save_pretrained(folder)
    BertTokenizer(vocab=_vocabulary(), model_max_length=256).save_pretrained(folder)
    GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160}).save_pretrained(folder)


def tiny_network(num_queries: int = 20) -> GroundingDinoForObjectDetection:
    """A seeded network whose boxes, scores and fusion of text and picture all do something."""
    torch.manual_seed(0)
    network = GroundingDinoForObjectDetection(_config(num_queries)).eval()
    seeded = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Fresh networks refine no box and fuse next to nothing.
            if "bbox_embed" in name and ".layers.2." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=seeded))
                if name.endswith("bias"):
                    parameter[2:] += 1  # or boxes would be specks
            if name.endswith(("vision_param", "text_param")):
                parameter.fill_(0.5)
        # Logits are products of 32 normalised features: too large for scores that differ.
        network.model.decoder.layer_norm.weight.mul_(0.2)
    return network


def _config(num_queries: int) -> GroundingDinoConfig:
    vocabulary = _vocabulary()
    return GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=224,
            patch_size=4,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 2],
            window_size=7,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=512,
        ),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=num_queries,
        num_feature_levels=4,
    )


def _vocabulary() -> dict[str, int]:
    """Single characters, their word pieces and a few whole words; the rest is filled up."""
    characters = string.ascii_lowercase + string.digits
    pieces = [*characters, *"-'/,&", *(f"##{character}" for character in characters), *_WORDS]
    places = dict(zip(range(200, 200 + len(pieces)), pieces, strict=True)) | _FIXED
    return {places.get(place, f"[unused{place}]"): place for place in range(max(_FIXED) + 1)}
