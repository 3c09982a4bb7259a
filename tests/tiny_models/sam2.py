"""A tiny SAM 2.1 with random weights, in both forms of checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from transformers import (
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)

from models.weights import WEIGHTS_FILE, Weights, WeightsList

SIDE = 128
_WIDTH = 128


def tiny_config() -> Sam2VideoConfig:
    """The sizes the original package leaves open are tiny; those it has fixed are as they must be."""
    fine = SIDE // 4
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[7, 7],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[fine, fine], [fine // 2, fine // 2], [fine // 4, fine // 4]],
        fpn_hidden_size=_WIDTH,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=_WIDTH, image_size=SIDE),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=_WIDTH),
        image_size=SIDE,
        memory_attention_hidden_size=_WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=_WIDTH,
        memory_attention_rope_feat_sizes=[SIDE // 16, SIDE // 16],
        memory_encoder_hidden_size=_WIDTH,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=_WIDTH,
        memory_fuser_embed_dim=_WIDTH,
        memory_fuser_intermediate_dim=4 * _WIDTH,
    )


def tiny_model() -> Sam2VideoModel:
    """A model whose masks follow frames and prompts: the usual random weights say "no object" whatever they see."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Sam2VideoModel(tiny_config()).eval()
        for name, parameter in model.named_parameters():
            if name.endswith(("tokens.weight", "token.weight")):
                parameter.normal_(std=0.3)
            elif "point_embed" in name or "not_a_point" in name:
                parameter.normal_(std=3)
            elif parameter.dim() > 1 and "embed" not in name and parameter.any():
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            elif not parameter.any() or name.endswith(".scale"):
                parameter.normal_(std=0.5)
            if parameter.dim() > 1 and "cross_attn_image." in name:
                parameter.mul_(2 if "q_proj" in name or "k_proj" in name else 8)
        # So that the prompts, and the pointers of frames long past, weigh something in every mask.
        model.memory_encoder.mask_downsampler.final_conv.weight.mul_(20)
        model.memory_encoder.projection.weight.mul_(0.2)
        model.object_pointer_proj.proj_out.weight.mul_(6)
        model.temporal_positional_encoding_projection_layer.weight.mul_(6)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5)
        # One tensor under two names in every real checkpoint.
        positions = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(positions)
    return model


def save_tiny_sam2(folder: Path) -> None:
    """`config.json` and `model.safetensors`."""
    tiny_model().save_pretrained(folder)


def save_tiny_sam2_original(folder: Path, name: str = "sam2.1_hiera_large.pt") -> None:
    """The same weights as an original checkpoint, and the `config.json` that a size of one's own needs."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model()
    model.config.save_pretrained(folder)
    torch.save({"model": original_names(model.state_dict())}, folder / name)


def tiny_weights(base: Path, original: bool = False) -> Weights:
    """The tiny checkpoint in a weights folder, found there as a real one is."""
    name, file = ("sam2-original", "sam2.1_hiera_large.pt") if original else ("sam2", "model.safetensors")
    (save_tiny_sam2_original if original else save_tiny_sam2)(base / name)
    entry = {"revision": "tiny", "files": {"config.json": {}, file: {}}}
    (base / WEIGHTS_FILE).write_text(json.dumps({name: entry}))
    return WeightsList(base).find(name)


def original_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A transformers state under the names of the original checkpoints."""
    original = {}
    for name, tensor in state.items():
        if name == "shared_image_embedding.positional_embedding":
            continue
        if name == "prompt_encoder.point_embed.weight":
            for row in range(4):
                original[f"sam_prompt_encoder.point_embeddings.{row}.weight"] = tensor[row : row + 1].clone()
        else:
            original[_original_name(name)] = tensor
    return original


_WHOLE = {
    "memory_temporal_positional_encoding": "maskmem_tpos_enc",
    "no_memory_embedding": "no_mem_embed",
    "no_memory_positional_encoding": "no_mem_pos_enc",
    "no_object_pointer": "no_obj_ptr",
    "occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
    "prompt_encoder.shared_embedding.positional_embedding": (
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ),
}
_PARTS = {
    "prompt_encoder.mask_embed.conv1": "prompt_encoder.mask_downscaling.0",
    "prompt_encoder.mask_embed.layer_norm1": "prompt_encoder.mask_downscaling.1",
    "prompt_encoder.mask_embed.conv2": "prompt_encoder.mask_downscaling.3",
    "prompt_encoder.mask_embed.layer_norm2": "prompt_encoder.mask_downscaling.4",
    "prompt_encoder.mask_embed.conv3": "prompt_encoder.mask_downscaling.6",
    "mask_decoder.upscale_conv1": "mask_decoder.output_upscaling.0",
    "mask_decoder.upscale_layer_norm": "mask_decoder.output_upscaling.1",
    "mask_decoder.upscale_conv2": "mask_decoder.output_upscaling.3",
    "vision_encoder.backbone": "image_encoder.trunk",
    "vision_encoder.neck": "image_encoder.neck",
    "patch_embed.projection": "patch_embed.proj",
    "memory_encoder.projection": "memory_encoder.out_proj",
    "memory_encoder.feature_projection": "memory_encoder.pix_feat_proj",
    "memory_encoder.memory_fuser": "memory_encoder.fuser",
    "mask_downsampler.final_conv": "mask_downsampler.encoder.12",
    "temporal_positional_encoding_projection_layer": "obj_ptr_tpos_proj",
    "object_pointer_proj": "obj_ptr_proj",
    "depthwise_conv": "dwconv",
    "pointwise_conv": "pwconv",
    ".o_proj": ".out_proj",
    ".scale": ".gamma",
}


def _original_name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    for ours, theirs in _PARTS.items():
        name = name.replace(ours, theirs)
    name = re.sub(r"neck\.convs\.(\d)", r"neck.convs.\1.conv", name)
    layer = re.search(r"mask_downsampler\.layers\.(\d)\.(conv|layer_norm)", name)
    if layer:
        number = 3 * int(layer[1]) + (layer[2] == "layer_norm")
        name = name.replace(layer[0], f"mask_downsampler.encoder.{number}")
    if re.search(r"hypernetworks|iou_prediction_head|pred_obj_score_head|obj_ptr_proj", name):
        name = name.replace("layers.0", "layers.1").replace("proj_in", "layers.0").replace("proj_out", "layers.2")
    name = name.replace("mlp.proj_in", "mlp.layers.0").replace("mlp.proj_out", "mlp.layers.1")
    name = name.replace("layer_norm", "norm")
    return re.sub(r"^(prompt_encoder|mask_decoder)\.", r"sam_\1.", name)
