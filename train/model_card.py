"""The README of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.checkpoint import CheckpointConfig


def model_card(config: CheckpointConfig) -> str:
    """A model card with the metadata block that model hubs read."""
    learnt = (
        f"a LoRA of rank {config.lora_rank} (alpha {config.lora_alpha}) on the attention, and the patch embedder"
        if config.mode == "lora"
        else "the whole transformer"
    )
    channels = ", ".join(config.channel_order)
    revision = f" at revision `{config.base_revision}`" if config.base_revision else ""
    return f"""---
base_model: {config.base}
library_name: diffusers
pipeline_tag: video-to-video
tags: [cogvideox, video-editing, inpainting{", lora" if config.mode == "lora" else ""}]
---

# A local video editor on CogVideoX

Draws what a prompt says inside a mask, or removes what is there, and keeps the rest (method: VIVID-10M,
arXiv 2411.15260). Trained for {config.step} steps on `{config.base}`{revision}; what learnt is {learnt}.

- Size: {config.height}×{config.width}, up to {config.num_frames} frames.
- Input channels, in order: {channels}. Masked pixels are {config.masked_fill} in the range -1..1.
- The base's licence applies to these weights too.

```python
from train.inpaint_pipeline import VividInpaintPipeline

editor = VividInpaintPipeline.from_pretrained("path/of/this/folder")  # base="…" where the base lies elsewhere
frames = editor(video, mask, "a red car").frames[0]
```

`video` is (frames, height, width, 3) uint8, `mask` is (frames, height, width) bool: true where the model draws.
"""
