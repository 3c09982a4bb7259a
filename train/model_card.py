"""The README of a checkpoint: what it is, how it is used with and without this project, and how it was trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from train.settings import Course, TrainSettings

if TYPE_CHECKING:
    from train.checkpoint import CheckpointConfig
    from train.provenance import Provenance

PROJECT, LICENCE = "vivid-pipeline", "Apache-2.0"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def model_card(config: CheckpointConfig) -> str:
    """A model card with the metadata block that model hubs read. Of local folders only the name is told."""
    sections = [_summary(config), _EDITING, _with_diffusers(config), _training(config)]
    return _metadata(config) + "\n" + "\n".join(sections)


def hub_name(base: str) -> str | None:
    """The base's name on the hub; None for a local folder."""
    return base if _HUB_NAME.fullmatch(base) and not Path(base).is_dir() else None


def _base_name(config: CheckpointConfig) -> str:
    return hub_name(config.base) or Path(config.base).name


def _metadata(config: CheckpointConfig) -> str:
    name = hub_name(config.base)
    fields: dict[str, Any] = {
        **({"base_model": name} if name else {}),
        "library_name": "diffusers",
        "pipeline_tag": "video-to-video",
        "tags": ["cogvideox", "video-editing", "inpainting", *(["lora"] if config.mode == "lora" else [])],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def _summary(config: CheckpointConfig) -> str:
    learnt = (
        f"a LoRA of rank {config.lora_rank} (alpha {config.lora_alpha}) on the attention, and the patch embedder"
        if config.mode == "lora"
        else "the whole transformer"
    )
    revision = f" at revision `{config.base_revision}`" if config.base_revision else ""
    return f"""# A local video editor on CogVideoX

Draws what a prompt says inside a mask, or removes what is there, and keeps the rest (method: VIVID-10M,
arXiv 2411.15260). Trained for {config.step} steps on `{_base_name(config)}`{revision}; what learnt is {learnt}.

- Size: {config.height}×{config.width}, up to {config.num_frames} frames.
- The base's licence applies to these weights too.
"""


_EDITING = f"""## Editing

The code is the project `{PROJECT}` ({LICENCE}); in its source folder: `pip install ".[train]"`. Then

```python
from train.inpaint_pipeline import VividInpaintPipeline

editor = VividInpaintPipeline.from_pretrained("path/of/this/folder")  # base="…" where the base lies elsewhere
frames = editor(video, mask, "a red car").frames[0]
```

`video` is (frames, height, width, 3) uint8, `mask` is (frames, height, width) bool: true where the model draws.
"""


def _with_diffusers(config: CheckpointConfig) -> str:
    return f"""## With diffusers alone

{_LORA_NOTE if config.mode == "lora" else _FULL_NOTE}

```python
{_load_lora(config) if config.mode == "lora" else _load_full(config)}
```

The transformer takes 33 channels at latent size (8×8 pixels a cell; the first frame, then every four), in this order:

| channels | name | what |
|---|---|---|
| 0–15 | `{config.channel_order[0]}` | noisy latents, as the base takes them |
| 16–31 | `{config.channel_order[1]}` | latents of the masked video: pixels in -1..1, masked ones {config.masked_fill} |
| 32 | `{config.channel_order[2]}` | 1 = drawn, 0 = kept; a cell is 1 if any of its pixels is, in any of its frames |

```python
{_INPUT.format(fill=config.masked_fill)}
```

It predicts the velocity of the 16 noise channels, so sampling is the base's: its scheduler, its guidance, its
`image_rotary_emb` (`CogVideoXPipeline` shows all three); videos have 8k + 1 frames. The text is T5's of the prompt,
and past the prompt's tokens that of the empty prompt. To let a video follow an edited first frame, put that frame in
place of the video's and set its mask to 0. A base with learned positions (CogVideoX-5b-I2V) takes only whole windows
of its `sample_frames` this way: for others diffusers uses positions that were never trained.
"""


_LORA_NOTE = """\
**The LoRA alone does not edit.** On a plain base `load_lora_weights` succeeds, but the model then sees neither video
nor mask: the patch embedder has to be widened first, and its weights are in `patch_embed.safetensors`. The folder is
no whole pipeline: VAE, text encoder and scheduler are the base's, and CogVideoX's own pipelines do not give the
transformer its input."""

_FULL_NOTE = """\
The folder is no whole pipeline: VAE, text encoder and scheduler are the base's, and CogVideoX's own pipelines do not
give the transformer its input."""


def _load_lora(config: CheckpointConfig) -> str:
    return f"""import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import load_file

base, folder = "{_base_name(config)}", "path/of/this/folder"  # where both lie
transformer = CogVideoXTransformer3DModel.from_pretrained(base, subfolder="transformer"{_revision(config)})
narrow = transformer.patch_embed.proj
transformer.patch_embed.proj = torch.nn.Conv2d(33, narrow.out_channels, narrow.kernel_size, narrow.stride)
transformer.register_to_config(in_channels=33)
transformer.load_state_dict(load_file(f"{{folder}}/patch_embed.safetensors"), strict=False)
transformer.load_lora_adapter(folder, weight_name="pytorch_lora_weights.safetensors")  # needs peft
vae = AutoencoderKLCogVideoX.from_pretrained(base, subfolder="vae"{_revision(config)})"""


def _load_full(config: CheckpointConfig) -> str:
    return f"""import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

base, folder = "{_base_name(config)}", "path/of/this/folder"  # where both lie
transformer = CogVideoXTransformer3DModel.from_pretrained(folder, subfolder="transformer")
vae = AutoencoderKLCogVideoX.from_pretrained(base, subfolder="vae"{_revision(config)})"""


def _revision(config: CheckpointConfig) -> str:
    return f', revision="{config.base_revision}"' if config.base_revision else ""


_INPUT = '''@torch.no_grad()
def transformer_input(noisy, video, mask):
    """Noisy latents (B, F', 16, h, w), video (B, 3, F, H, W) and its mask (B, 1, F, H, W) as (B, F', 33, h, w)."""
    masked = torch.where(mask > 0, {fill}, video)
    scale = vae.config.scaling_factor
    scale = 1 / scale if vae.config.invert_scale_latents else scale
    seen = vae.encode(masked).latent_dist.mode().transpose(1, 2) * scale
    first = mask[:, :, :1].repeat(1, 1, 3, 1, 1)  # the first frame is a latent of its own
    small = torch.nn.functional.max_pool3d(torch.cat([first, mask], dim=2), (4, 8, 8)).transpose(1, 2)
    return torch.cat([noisy, seen, small], dim=2)'''


def _training(config: CheckpointConfig) -> str:
    if config.provenance is None:
        return "## Training\n\nNot recorded.\n"
    record = config.provenance
    settings = TrainSettings.model_validate(record.settings)
    rows = {
        "dataset": f"`{record.dataset}`: profile `{record.dataset_profile}`, configuration "
        f"`{record.dataset_configuration}`, content `{record.dataset_content}`",
        "samples": _samples(record, settings.split),
        "steps": f"{config.step:,} of {settings.steps:,}",
        **{f"course {number}": _course(course) for number, course in enumerate(settings.courses)},
        "batch": f"{settings.batch_size} × {settings.accumulation} accumulated",
        "learning rate": f"{settings.optimizer.learning_rate:g}, {settings.optimizer.schedule} after "
        f"{settings.optimizer.warmup_steps} warm-up steps (AdamW)",
        "averaged weights": f"decay {settings.ema:g}" if settings.ema else "no",
        "seed": str(settings.seed),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"## Training\n\n| what | value |\n|---|---|\n{table}\n\nEvery other setting is in `inpaint.json`.\n"


def _samples(record: Provenance, split: str) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in record.samples.items())
    return f"{sum(record.samples.values()):,} of the split `{split}`: {parts}"


def _course(course: Course) -> str:
    windows, mixing = course.windows, course.mixing
    rate = f" at {windows.fps:g} per second" if windows.fps else ""
    return (
        f"{course.steps:,} steps on windows of {windows.height}×{windows.width}, {windows.frames} frames{rate}; "
        f"images : videos = {mixing.images} : {mixing.videos}, "
        f"add & modify : delete = {mixing.add_modify} : {mixing.delete}, "
        f"first frame given: {mixing.kive:g} of the videos"
    )
