"""The same video model run by Meta's own package `sam2`, where it is installed.

It is built from the package's configuration with the sizes of the checkpoint at hand and filled with the same tensors,
and sees the same pixels: the package's own loader resizes differently and wants a folder of JPEG files.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2 import sam2_video_predictor
from sam2.utils import misc
from torch import Tensor
from transformers import Sam2VideoConfig, Sam2VideoModel

from models.placement import Placement
from models.sam2_checkpoint import load_video_model, original_state, side_of
from models.sam2_memory import prune
from models.weights import Weights, WeightsError

# Its progress bars, two per clip, would cut through the pipeline's own.
for _module in (sam2_video_predictor, misc):
    _module.tqdm = partial(_module.tqdm, disable=True)


class OfficialVideoModel:
    """A `VideoModel` of the original package. Half precision is torch's autocast, as the package expects."""

    def __init__(self, weights: Weights, placement: Placement) -> None:
        source = load_video_model(Sam2VideoModel, weights, Placement("cpu", "float32"))
        self.side = side_of(source.config)
        predictor = instantiate(_architecture(source.config))
        try:
            predictor.load_state_dict(original_state(predictor.state_dict(), source.state_dict()))
        except (KeyError, RuntimeError) as error:
            raise WeightsError(
                f"the package sam2 cannot build the model of the weight '{weights.name}': "
                f"{str(error).splitlines()[0]}; set backend: transformers"
            ) from error
        self._predictor = predictor.eval().requires_grad_(False).to(placement.device)
        if placement.dtype == "float32":
            self._predictor.memory_attention.register_forward_pre_hook(_in_float32, with_kwargs=True)
        self._placement = placement
        self._blank = self._blank_state()

    def begin(self, frame_count: int, prompts: Sequence[Tensor], at_once: int) -> OfficialWalk:
        """A walk; the package takes objects one by one, so `at_once` changes nothing."""
        del at_once
        state = copy.deepcopy(self._blank)
        return OfficialWalk(self._predictor, state, self._placement, frame_count, prompts)

    def _blank_state(self) -> dict[str, Any]:
        """A session without a video; the package makes one only from a folder of images."""
        with tempfile.TemporaryDirectory() as folder:
            cv2.imwrite(str(Path(folder) / "0.jpg"), np.zeros((8, 8, 3), np.uint8))
            state: dict[str, Any] = self._predictor.init_state(folder)
        state["images"], state["cached_features"] = {}, {}
        # Its masks shall stay at the size the network draws them: they are enlarged as those of the other backend.
        state["video_height"] = state["video_width"] = self.side // 4
        return state


class OfficialWalk:
    """One clip under way; frames are handed to the package just before it asks for them."""

    def __init__(
        self, predictor: Any, state: dict[str, Any], placement: Placement, frame_count: int, prompts: Sequence[Tensor]
    ) -> None:
        self._predictor = predictor
        self._state = state
        self._placement = placement
        self._prompts = prompts
        self._next = 0
        self._steps: Iterator[Any] = iter(())
        state["num_frames"] = frame_count

    @torch.inference_mode()
    def step(self, pixels: Tensor) -> Tensor:
        """Mask logits of all objects on the next frame."""
        frame = self._next
        self._state["images"] = {frame: pixels}
        with _precision(self._placement):
            if frame == 0:
                self._begin()
            _, _, logits = next(self._steps)
        predictor = self._predictor
        prune(
            self._state["output_dict_per_obj"].values(),
            frame,
            predictor.num_maskmem,
            predictor.max_obj_ptrs_in_encoder,
        )
        self._next += 1
        masks: Tensor = logits
        return masks

    def _begin(self) -> None:
        for number, prompt in enumerate(self._prompts):
            self._predictor.add_new_mask(self._state, 0, number, prompt)
        self._steps = self._predictor.propagate_in_video(self._state, start_frame_idx=0)


def _precision(placement: Placement) -> AbstractContextManager[Any]:
    if placement.dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(placement.device).type, dtype=getattr(torch, placement.dtype))


def _in_float32(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Memories are kept in bfloat16, which the package can read under autocast only."""
    return arguments, {**named, **{name: named[name].float() for name in ("memory", "memory_pos")}}


def _architecture(config: Sam2VideoConfig) -> Any:
    """The package's configuration of SAM 2.1 with the sizes of this one."""
    settings = files("sam2").joinpath("configs/sam2.1/sam2.1_hiera_t.yaml")
    model = OmegaConf.load(str(settings)).model
    sizes = config.to_dict()
    vision, decoder = sizes["vision_config"], sizes["mask_decoder_config"]
    backbone = vision["backbone_config"]
    width, memory = vision["fpn_hidden_size"], sizes["memory_encoder_output_channels"]
    attention = {"embedding_dim": width, "feat_sizes": sizes["memory_attention_rope_feat_sizes"]}
    return OmegaConf.merge(
        model,
        {
            "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
            "image_size": sizes["image_size"],
            "num_maskmem": sizes["num_maskmem"],
            "fill_hole_area": 0,
            "binarize_mask_from_pts_for_mem_enc": True,
            "sam_mask_decoder_extra_args": {
                "dynamic_multimask_via_stability": decoder["dynamic_multimask_via_stability"],
                "dynamic_multimask_stability_delta": decoder["dynamic_multimask_stability_delta"],
                "dynamic_multimask_stability_thresh": decoder["dynamic_multimask_stability_thresh"],
            },
            "image_encoder": {
                "trunk": {
                    "embed_dim": backbone["hidden_size"],
                    "num_heads": backbone["num_attention_heads_per_stage"][0],
                    "stages": backbone["blocks_per_stage"],
                    "global_att_blocks": backbone["global_attention_blocks"],
                    "window_spec": backbone["window_size_per_stage"],
                    "window_pos_embed_bkg_spatial_size": backbone["window_positional_embedding_background_size"],
                },
                "neck": {
                    "position_encoding": {"num_pos_feats": width},
                    "d_model": width,
                    "backbone_channel_list": vision["backbone_channel_list"],
                },
            },
            "memory_attention": {
                "d_model": width,
                "num_layers": sizes["memory_attention_num_layers"],
                "layer": {
                    "d_model": width,
                    "dim_feedforward": sizes["memory_attention_feed_forward_hidden_size"],
                    "self_attention": attention,
                    "cross_attention": {**attention, "kv_in_dim": memory},
                },
            },
            "memory_encoder": {
                "in_dim": width,
                "out_dim": memory,
                "position_encoding": {"num_pos_feats": memory},
                "mask_downsampler": {"embed_dim": width},
                "fuser": {"layer": {"dim": width}, "num_layers": sizes["memory_fuser_num_layers"]},
            },
        },
    )
