"""The network of RAM and RAM++ (Recognize Anything) on timm's Swin Transformer.

Every tag has an embedding of its name. RAM has one text per tag, RAM++ several, which it weighs by how well each fits
the image. The embeddings are the queries of a small decoder of cross-attention to the image's tokens; one number comes
out per tag. All sizes are read from the checkpoint's tensors, so that a checkpoint explains itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoint_files import check_fit

IMAGE_SIZE = 384
"""Pixels a side of the input; the checkpoints were trained on no other."""
WINDOW = 12
"""Tokens a side of Swin's windows at that size."""
HEADS = 4
"""Attention heads of the tag decoder; no tensor's shape tells them."""
NORM_EPS = 1e-12
"""Of the tag decoder's layer norms (BERT's)."""

_UNUSED = re.compile(r"^(tag_encoder|text_decoder)\.|\.(attn_mask|relative_position_index|position_ids)$")
_DECODER = "tagging_head.encoder.layer."
_DECODER_NAMES = {
    "query": "crossattention.self.query",
    "key": "crossattention.self.key",
    "value": "crossattention.self.value",
    "attended": "crossattention.output.dense",
    "attended_norm": "crossattention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}


@dataclass(frozen=True)
class RamSizes:
    """Sizes of a RAM network.

    `texts` is the number of label embeddings per tag; `weighed` says whether they are weighed by the image (RAM++).
    """

    tags: int
    texts: int
    weighed: bool
    patch: int
    swin_width: int
    swin_depths: tuple[int, ...]
    swin_heads: tuple[int, ...]
    label_width: int
    decoder_width: int
    decoder_layers: int
    decoder_hidden: int


class DecoderLayer(nn.Module):
    """Cross-attention from tags to image tokens and a feed-forward part, each followed by its norm."""

    def __init__(self, width: int, token_width: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(token_width, width)
        self.value = nn.Linear(token_width, width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, NORM_EPS)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.narrow_norm = nn.LayerNorm(width, NORM_EPS)

    def forward(self, tags: Tensor, tokens: Tensor) -> Tensor:
        """`tags` (batch, tags, width), `tokens` (batch, tokens, token width); the new tags."""
        attended = functional.scaled_dot_product_attention(
            _heads(self.query(tags)), _heads(self.key(tokens)), _heads(self.value(tokens))
        )
        tags = self.attended_norm(self.attended(attended.transpose(1, 2).flatten(2)) + tags)
        changed: Tensor = self.narrow_norm(self.narrow(functional.gelu(self.widen(tags))) + tags)
        return changed


def _heads(features: Tensor) -> Tensor:
    """(batch, items, width) as (batch, heads, items, width of a head)."""
    batch, items, _ = features.shape
    return features.view(batch, items, HEADS, -1).transpose(1, 2)


class RamNetwork(nn.Module):
    """RAM or RAM++: normalised images in, one logit per tag out."""

    def __init__(self, sizes: RamSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.visual_encoder = SwinTransformer(
            img_size=IMAGE_SIZE,
            patch_size=sizes.patch,
            window_size=WINDOW,
            embed_dim=sizes.swin_width,
            depths=sizes.swin_depths,
            num_heads=sizes.swin_heads,
            num_classes=0,
            drop_path_rate=0.0,
            weight_init="skip",
        )
        token_width = sizes.swin_width * 2 ** (len(sizes.swin_depths) - 1)
        self.image_proj = nn.Linear(token_width, sizes.label_width)
        self.label_embed = nn.Parameter(torch.empty(sizes.tags * sizes.texts, sizes.label_width))
        if sizes.weighed:
            self.reweight_scale = nn.Parameter(torch.empty(()))
        self.wordvec_proj = nn.Linear(sizes.label_width, sizes.decoder_width)
        self.decoder = nn.ModuleList(
            DecoderLayer(sizes.decoder_width, sizes.label_width, sizes.decoder_hidden)
            for _ in range(sizes.decoder_layers)
        )
        self.fc = nn.Linear(sizes.decoder_width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, tags) of `images` (batch, 3, 384, 384), scaled to ImageNet's mean and deviation."""
        return self.classify(self.visual_encoder.forward_features(images).flatten(1, 2))

    def classify(self, features: Tensor) -> Tensor:
        """Logits (batch, tags) of the visual encoder's output (batch, places, channels)."""
        tokens = self.image_proj(torch.cat([features.mean(1, keepdim=True), features], 1))
        tags = functional.relu(self.wordvec_proj(self._labels(tokens[:, 0])))
        for layer in self.decoder:
            tags = layer(tags, tokens)
        logits: Tensor = self.fc(tags).squeeze(-1)
        return logits

    def _labels(self, summary: Tensor) -> Tensor:
        """One embedding per image and tag; `summary` (batch, label width) is the token of the whole image."""
        labels = self.label_embed.view(self.sizes.tags, self.sizes.texts, -1)
        if not self.sizes.weighed:
            return labels.squeeze(1).expand(len(summary), -1, -1)
        fit = torch.einsum("be,tne->btn", functional.normalize(summary, dim=-1), labels)
        weights = (self.reweight_scale.exp() * fit).float().softmax(-1).to(labels.dtype)
        mixed: Tensor = torch.einsum("btn,tne->bte", weights, labels)
        return mixed


def ram_network(checkpoint: Mapping[str, Tensor], tags: int) -> RamNetwork:
    """The network of an official state dict that knows `tags` tags, in evaluation mode.

    Raises ValueError with one sentence when the state dict lacks tensors, has others than RAM's or RAM++'s, or its
    shapes do not fit together.
    """
    tensors = {
        name.replace("vision_multi", "tagging_head"): value
        for name, value in checkpoint.items()
        if not _UNUSED.search(name)
    }
    try:
        sizes = read_sizes(tensors, tags)
    except KeyError as error:
        raise ValueError(f"the RAM checkpoint does not fit its network: it lacks {error.args[0]}") from error
    except IndexError as error:
        raise ValueError("the RAM checkpoint has tensors of too few dimensions") from error
    network = RamNetwork(sizes)
    ours = {_official_name(name): name for name in network.state_dict()}
    state = network.state_dict()
    check_fit(tensors, {official: state[own] for official, own in ours.items()}, "the RAM checkpoint")
    network.load_state_dict({own: tensors[official] for official, own in ours.items()})
    return network.eval()


def read_sizes(tensors: Mapping[str, Tensor], tags: int) -> RamSizes:
    """The sizes behind the tensors of a state dict by their official names.

    Raises KeyError with the name of a tensor that is missing, ValueError when sizes are not RAM's.
    """
    texts, left = divmod(tensors["label_embed"].shape[0], tags)
    weighed = "reweight_scale" in tensors
    if left or not texts or (texts > 1 and not weighed):
        raise ValueError(
            f"the RAM checkpoint has {tensors['label_embed'].shape[0]} label embeddings, "
            f"which do not belong to a list of {tags} tags"
        )
    depths = _depths(tensors)
    tables = [_position_table(tensors, stage) for stage in range(len(depths))]
    patches = tensors["visual_encoder.patch_embed.proj.weight"]
    return RamSizes(
        tags=tags,
        texts=texts,
        weighed=weighed,
        patch=patches.shape[-1],
        swin_width=patches.shape[0],
        swin_depths=depths,
        swin_heads=tuple(table.shape[1] for table in tables),
        label_width=tensors["label_embed"].shape[1],
        decoder_width=tensors["wordvec_proj.weight"].shape[0],
        decoder_layers=_count(tensors, re.escape(_DECODER)),
        decoder_hidden=tensors[f"{_DECODER}0.intermediate.dense.weight"].shape[0],
    )


def _depths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    stages = max(1, _count(tensors, r"visual_encoder\.layers\."))
    return tuple(_count(tensors, rf"visual_encoder\.layers\.{stage}\.blocks\.") for stage in range(stages))


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """One more than the highest number that follows the prefix in a name."""
    numbers = (re.match(rf"{prefix}(\d+)\.", name) for name in tensors)
    return max((int(found[1]) + 1 for found in numbers if found), default=0)


def _position_table(tensors: Mapping[str, Tensor], stage: int) -> Tensor:
    """The table of relative positions of a stage's first block, (2 × window − 1)² × heads."""
    table = tensors[f"visual_encoder.layers.{stage}.blocks.0.attn.relative_position_bias_table"]
    window = (isqrt(table.shape[0]) + 1) // 2
    if (2 * window - 1) ** 2 != table.shape[0] or window != WINDOW:
        raise ValueError(
            f"the RAM checkpoint's attention windows are {window} tokens wide, not {WINDOW}: "
            f"it was trained for another image size than {IMAGE_SIZE}"
        )
    return table


def _official_name(name: str) -> str:
    """The checkpoint's name of a tensor of ours. timm gives a stage's down-sampling to the stage after it."""
    shifted = re.match(r"visual_encoder\.layers\.(\d+)\.downsample\.(.*)", name)
    if shifted:
        return f"visual_encoder.layers.{int(shifted[1]) - 1}.downsample.{shifted[2]}"
    if name.startswith("decoder."):
        _, layer, part, kind = name.split(".")
        return f"{_DECODER}{layer}.{_DECODER_NAMES[part]}.{kind}"
    return name
