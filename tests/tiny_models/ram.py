"""A tiny RAM and RAM++ with random weights, written with the names and the left-overs of the official checkpoints.

The names are spelt out here and owe nothing to the code that reads them.
"""

from __future__ import annotations

from pathlib import Path

import torch

from models.vocabulary import shipped_words

State = dict[str, torch.Tensor]

STAGE_DEPTHS = (1, 1, 2, 1)
STAGE_HEADS = (1, 2, 4, 8)
SWIN_WIDTH = 8
WINDOW = 12
LABEL_WIDTH = 16
HEAD_WIDTH = 32
TEXTS = 3
NEITHER = ("beautiful", "floating", "hand", "kitchen", "leather", "night", "red", "wedding")


def save_tiny_ram(folder: Path) -> None:
    """Write RAM: checkpoint, tag list, thresholds."""
    _save(folder, "ram_swin_large_14m.pth", plus=False)


def save_tiny_ram_plus(folder: Path) -> None:
    """Write RAM++: checkpoint, tag list, thresholds."""
    _save(folder, "ram_plus_swin_large_14m.pth", plus=True)


def tiny_tags() -> list[str]:
    """All words of the shipped vocabularies, which a tag list must hold, and some of neither."""
    return sorted([*shipped_words("entities"), *shipped_words("background"), *NEITHER])


def tiny_ram_state(tags: int, *, plus: bool = False, window: int = WINDOW) -> State:
    """The state dict under its official names."""
    draw = torch.Generator().manual_seed(7)
    state = {**_encoder(draw, window), **_head(draw), **_labels(draw, tags, plus)}
    return state if plus else {**state, **_training_parts(draw)}


def _save(folder: Path, name: str, *, plus: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tags = tiny_tags()
    torch.save({"model": tiny_ram_state(len(tags), plus=plus), "epoch": 4}, folder / name)
    (folder / "ram_tag_list.txt").write_text("\n".join(tags), encoding="utf-8")
    (folder / "ram_tag_list_threshold.txt").write_text("0.65\n" * len(tags), encoding="utf-8")


def _encoder(draw: torch.Generator, window: int) -> State:
    state = {
        **_linear(draw, "visual_encoder.patch_embed.proj", 3 * 4 * 4, SWIN_WIDTH),
        **_norm(draw, "visual_encoder.patch_embed.norm", SWIN_WIDTH),
        **_norm(draw, "visual_encoder.norm", SWIN_WIDTH * 8),
    }
    name = "visual_encoder.patch_embed.proj.weight"
    state[name] = state[name].view(SWIN_WIDTH, 3, 4, 4)
    for stage, depth in enumerate(STAGE_DEPTHS):
        width, place = SWIN_WIDTH * 2**stage, f"visual_encoder.layers.{stage}"
        for number in range(depth):
            block = f"{place}.blocks.{number}"
            state |= {
                **_norm(draw, f"{block}.norm1", width),
                **_linear(draw, f"{block}.attn.qkv", width, 3 * width, gain=2),
                **_linear(draw, f"{block}.attn.proj", width, width),
                **_norm(draw, f"{block}.norm2", width),
                **_linear(draw, f"{block}.mlp.fc1", width, 4 * width),
                **_linear(draw, f"{block}.mlp.fc2", 4 * width, width),
                f"{block}.attn.relative_position_bias_table": _normal(draw, (2 * window - 1) ** 2, STAGE_HEADS[stage]),
                f"{block}.attn.relative_position_index": torch.zeros(window**2, window**2, dtype=torch.long),
            }
            if number % 2:
                state[f"{block}.attn_mask"] = torch.zeros(4, window**2, window**2)
        if stage + 1 < len(STAGE_DEPTHS):
            state |= _norm(draw, f"{place}.downsample.norm", 4 * width)
            state[f"{place}.downsample.reduction.weight"] = _normal(draw, 2 * width, 4 * width) / (4 * width) ** 0.5
    return state


def _head(draw: torch.Generator) -> State:
    state = {
        **_linear(draw, "image_proj", SWIN_WIDTH * 8, LABEL_WIDTH),
        **_linear(draw, "wordvec_proj", LABEL_WIDTH, HEAD_WIDTH, gain=2),
        **_linear(draw, "fc", HEAD_WIDTH, 1, gain=4),
    }
    # About one tag in ten passes a threshold of .65.
    state["fc.bias"] -= 0.5
    for number in range(2):
        layer = f"tagging_head.encoder.layer.{number}"
        state |= {
            **_linear(draw, f"{layer}.crossattention.self.query", HEAD_WIDTH, HEAD_WIDTH, gain=4),
            **_linear(draw, f"{layer}.crossattention.self.key", LABEL_WIDTH, HEAD_WIDTH, gain=2),
            **_linear(draw, f"{layer}.crossattention.self.value", LABEL_WIDTH, HEAD_WIDTH),
            **_linear(draw, f"{layer}.crossattention.output.dense", HEAD_WIDTH, HEAD_WIDTH),
            **_norm(draw, f"{layer}.crossattention.output.LayerNorm", HEAD_WIDTH),
            **_linear(draw, f"{layer}.intermediate.dense", HEAD_WIDTH, 2 * HEAD_WIDTH),
            **_linear(draw, f"{layer}.output.dense", 2 * HEAD_WIDTH, HEAD_WIDTH),
            **_norm(draw, f"{layer}.output.LayerNorm", HEAD_WIDTH),
        }
    return state


def _labels(draw: torch.Generator, tags: int, plus: bool) -> State:
    if not plus:
        return {"label_embed": _normal(draw, tags, LABEL_WIDTH)}
    return {"label_embed": _normal(draw, tags * TEXTS, LABEL_WIDTH), "reweight_scale": torch.tensor(1.2)}


def _training_parts(draw: torch.Generator) -> State:
    """What RAM's file holds beside the tagger: the text models it was trained with."""
    return {
        "tag_encoder.embeddings.word_embeddings.weight": _normal(draw, 20, 8),
        "tag_encoder.embeddings.position_ids": torch.arange(20)[None],
        **_linear(draw, "tag_encoder.encoder.layer.0.crossattention.self.query", 8, 8),
        **_linear(draw, "text_decoder.cls.predictions.transform.dense", 8, 8),
    }


def _linear(draw: torch.Generator, name: str, inputs: int, outputs: int, gain: float = 1) -> State:
    return {
        f"{name}.weight": gain * _normal(draw, outputs, inputs) / inputs**0.5,
        f"{name}.bias": 0.1 * _normal(draw, outputs),
    }


def _norm(draw: torch.Generator, name: str, width: int) -> State:
    return {f"{name}.weight": 1 + 0.1 * _normal(draw, width), f"{name}.bias": 0.1 * _normal(draw, width)}


def _normal(draw: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=draw)
