"""What `vivid latents` is told. It decides the bytes, so a set of latents is bound to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from stages.windows import WindowSettings

ENCODER_VERSION = 1
"""Raised whenever the same pixels, captions and base would give other bytes."""


class LatentSettings(BaseModel, frozen=True, extra="forbid"):
    """Which latents are computed."""

    windows: WindowSettings = Field(
        default=WindowSettings(fixed=2),
        validate_default=True,
        description="size of the windows, and how many of each clip (`fixed`); training then uses these windows",
    )
    masked_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of (track, mask variant, window) whose masked video is encoded as well, for videos with and "
        "without the keyframe. Each costs as much as the clip's own latents, twice for videos, and a clip has six "
        "variants per track; the trainer encodes what is not there",
    )
    seed: int = Field(default=0, ge=0, description="windows and shares derive from it; training must use the same seed")
    split: str | None = Field(default="train", description="samples of this split; null: of all")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of the models and of what is stored: what a model gives is kept to the bit. auto: bfloat16 where "
        "there is a GPU, else float32",
    )

    @field_validator("windows")
    @classmethod
    def _has_fixed_windows(cls, value: WindowSettings) -> WindowSettings:
        if value.fixed < 1:
            raise ValueError("latents need a fixed number of windows per clip: set windows.fixed to 1 or more")
        return value


class EncodeSettings(BaseModel, frozen=True, extra="forbid"):
    """What the encoding stages are told."""

    base: str = Field(description="folder or hub name of the CogVideoX base")
    identity: dict[str, Any] = Field(description="what the base must be, see `train.base_identity`")
    latents: LatentSettings = Field(description="which latents are computed")
