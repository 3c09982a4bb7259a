"""SAM 2.1 checkpoints, in transformers' form (`config.json` and safetensors) and as Meta's original `.pt` files.

Both forms become the same transformers models. Names of an original checkpoint are translated by a table; its size is
known by its shapes, or said by a transformers `config.json` that the list of weights names beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

from models.checkpoint_files import State, check_fit, read_tensors
from models.placement import Placement
from models.pretrained import load_network
from models.weights import Weights, WeightsError

Model = TypeVar("Model", bound=nn.Module)
VideoModel = TypeVar("VideoModel", bound=Sam2VideoModel)

_SIZES: dict[tuple[int, int], tuple[str, dict[str, Any]]] = {
    (96, 12): ("tiny", {}),
    (96, 16): ("small", {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]}),
    (112, 24): (
        "base+",
        {
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "blocks_per_stage": [2, 3, 16, 3],
            "global_attention_blocks": [12, 16, 20],
            "window_positional_embedding_background_size": [14, 14],
        },
    ),
    (144, 48): (
        "large",
        {
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "blocks_per_stage": [2, 6, 36, 4],
            "global_attention_blocks": [23, 33, 43],
            "window_size_per_stage": [8, 4, 16, 8],
        },
    ),
}
"""The four sizes Meta released, by width and number of blocks of the image encoder."""

_MLP_OF_THREE = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head|obj_ptr_proj)\.layers"
_RENAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
        (r"^no_obj_ptr$", "no_object_pointer"),
        (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
        (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
        (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
        (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
        (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
        (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
        (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
        (r"\.output_upscaling\.0\.", ".upscale_conv1."),
        (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
        (r"\.output_upscaling\.3\.", ".upscale_conv2."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        *((rf"\.encoder\.{3 * layer}\.", f".layers.{layer}.conv.") for layer in range(4)),
        *((rf"\.encoder\.{3 * layer + 1}\.", f".layers.{layer}.layer_norm.") for layer in range(4)),
        (r"\.encoder\.12\.", ".final_conv."),
        (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
        (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
        (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
        (r"\.gamma$", ".scale"),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
        (r"\.norm(\d?)\.", r".layer_norm\1."),
        (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        # In this order: what becomes layers.0 here must not become proj_in.
        (_MLP_OF_THREE + r"\.0\.", r"\1.proj_in."),
        (_MLP_OF_THREE + r"\.1\.", r"\1.layers.0."),
        (_MLP_OF_THREE + r"\.2\.", r"\1.proj_out."),
        (r"^obj_ptr_proj\.", "object_pointer_proj."),
        (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    )
)
_POINT_ROW = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")
_POINTS = "prompt_encoder.point_embed.weight"
_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
_POSITIONS_AGAIN = "shared_image_embedding.positional_embedding"
"""In transformers the same tensor stands under both names, in an original checkpoint once."""


def load_video_model(cls: type[VideoModel], weights: Weights, placement: Placement) -> VideoModel:
    """The video model, in evaluation mode. Raises WeightsError when the checkpoint is broken or of another kind."""
    if not _is_original(weights):
        model: VideoModel = load_network(cls, weights, placement)
        return model
    config, state = _read(weights)
    return _placed(_filled(cls(config), state, weights), placement)


def load_image_model(weights: Weights, placement: Placement) -> Sam2Model:
    """The image part of the same checkpoint, in evaluation mode. Raises WeightsError as `load_video_model` does."""
    if not _is_original(weights):
        network: Sam2Model = load_network(Sam2Model, weights, placement)
        return network
    config, state = _read(weights)
    parts = {
        name: getattr(config, name).to_dict()
        for name in ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    }
    model = Sam2Model(Sam2Config(**parts))
    own = model.state_dict()
    return _placed(_filled(model, {name: state[name] for name in own if name in state}, weights), placement)


def side_of(config: Any) -> int:
    """Side in pixels of the square that a configuration with an `image_size` wants."""
    size = config.image_size
    return int(size[0] if isinstance(size, list | tuple) else size)


def transformers_name(original: str) -> str:
    """The name in transformers of a tensor of an original checkpoint (all but the four point embeddings)."""
    name = original
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def transformers_state(original: State) -> dict[str, Tensor]:
    """An original checkpoint's tensors by their names in transformers.

    The point embeddings become one tensor, and the positional embedding stands under two names.
    """
    rows = {int(match[1]): tensor for name, tensor in original.items() if (match := _POINT_ROW.fullmatch(name))}
    state = {transformers_name(name): tensor for name, tensor in original.items() if not _POINT_ROW.fullmatch(name)}
    if rows:
        state[_POINTS] = torch.cat([rows[number] for number in sorted(rows)])
    if _POSITIONS in state:
        state[_POSITIONS_AGAIN] = state[_POSITIONS]
    return state


def original_state(names: Iterable[str], state: State) -> dict[str, Tensor]:
    """The tensors that an original model wants by `names`, out of a transformers state. Raises KeyError for others."""
    tensors = {}
    for name in names:
        row = _POINT_ROW.fullmatch(name)
        tensors[name] = state[_POINTS][int(row[1]) :][:1] if row else state[transformers_name(name)]
    return tensors


def _is_original(weights: Weights) -> bool:
    return any(name.endswith(".pt") for name in weights.paths)


def _read(weights: Weights) -> tuple[Sam2VideoConfig, dict[str, Tensor]]:
    """Configuration and tensors, named as in transformers, of an original checkpoint."""
    original = read_tensors(weights.file(".pt"), under="model")
    config = _config(weights) if "config.json" in weights.paths else _config_by_shapes(weights, original)
    return config, transformers_state(original)


def _config(weights: Weights) -> Sam2VideoConfig:
    path = weights.paths["config.json"]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        kind = document.get("model_type")
        if kind == "sam2_video":
            return Sam2VideoConfig.from_dict(document)
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    raise WeightsError(f"{path} is of a '{kind}' model, not of 'sam2_video'")


def _config_by_shapes(weights: Weights, original: State) -> Sam2VideoConfig:
    """The configuration of one of the four released sizes."""
    path = weights.file(".pt")
    blocks = {name.split(".")[3] for name in original if name.startswith("image_encoder.trunk.blocks.")}
    patches = original.get("image_encoder.trunk.patch_embed.proj.weight")
    if patches is None or "no_obj_embed_spatial" not in original:
        raise WeightsError(f"the checkpoint {path} is not SAM 2.1's (SAM 2 without .1 is not supported)")
    width = int(patches.shape[0])
    size = _SIZES.get((width, len(blocks)))
    if size is None:
        known = ", ".join(name for name, _ in _SIZES.values())
        raise WeightsError(
            f"the checkpoint {path} has an image encoder of width {width} with {len(blocks)} blocks, "
            f"none of SAM 2.1's {known}; list a transformers config.json beside it"
        )
    widths = [width * 2**stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(hidden_size=width, embed_dim_per_stage=widths, **size[1])
    return Sam2VideoConfig(vision_config=Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1]))


def _filled(model: Model, state: State, weights: Weights) -> Model:
    """The model with these tensors, all of them and no others."""
    check_fit(state, model.state_dict(), f"the checkpoint {weights.file('.pt')}")
    model.load_state_dict(dict(state))
    return model


def _placed(model: Model, placement: Placement) -> Model:
    """The model on its device in its number format, but with the tables of its rotary embedding in float32."""
    saved = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    tables = {name: model.get_buffer(name).to(placement.device) for name in saved}
    model = model.eval().requires_grad_(False).to(placement.device, getattr(torch, placement.dtype))
    for name, table in tables.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, table)
    return model
