"""What a training run is told. `vivid train` reads it from a YAML file and `--set`."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from stages.windows import WindowSettings
from train.lora import AdaptationSettings
from train.mixing import MixingSettings


class Course(BaseModel, frozen=True, extra="forbid"):
    """One part of a curriculum: so many steps on this mixture and these windows.

    VEGGIE's two stages (arXiv 2503.14350) are ``[{steps: N, mixing: {videos: 0}}, {steps: M}]``.
    """

    steps: int = Field(ge=1, description="optimizer steps of this part")
    mixing: MixingSettings = Field(default=MixingSettings(), description="which samples")
    windows: WindowSettings = Field(default=WindowSettings(), description="how much of a clip")


class OptimizerSettings(BaseModel, frozen=True, extra="forbid"):
    """AdamW and its learning rate."""

    learning_rate: float = Field(default=1e-4, gt=0, description="after the warm-up; 1e-4 suits a LoRA, 1e-5 mode full")
    warmup_steps: int = Field(default=100, ge=0, description="the rate rises linearly over these steps")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="after the warm-up; cosine falls to 0 at the last step"
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="decay of AdamW's two averages")
    weight_decay: float = Field(default=1e-3, ge=0, description="decay of the weights per unit of learning rate")
    max_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of the `step`-th of `steps` steps."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant" or step < self.warmup_steps:
            return self.learning_rate * warm
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class TrainSettings(BaseModel, frozen=True, extra="forbid"):
    """Everything but the dataset, the base and the output folder."""

    seed: int = Field(default=0, ge=0, description="all random choices derive from it, the step and the sample")
    split: str = Field(default="train", description="samples of this split are trained on")
    courses: tuple[Course, ...] = Field(default=(Course(steps=1000),), min_length=1, description="the curriculum")
    batch_size: int = Field(default=1, ge=1, description="samples of a forward pass, over all processes together")
    accumulation: int = Field(default=1, ge=1, description="forward passes per optimizer step")
    adaptation: AdaptationSettings = Field(default=AdaptationSettings(), description="what learns")
    optimizer: OptimizerSettings = Field(default=OptimizerSettings(), description="how it learns")
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of averaged weights, which are then what is saved; null: none"
    )
    caption_dropout: float = Field(
        default=0.1, ge=0, le=1, description="share of captions replaced by the empty one: guidance needs both"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of frozen weights and of the computation; auto: bfloat16 on a GPU"
    )
    workers: int = Field(default=2, ge=0, description="processes that read and decode, per training process")
    checkpoint_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(default=3, ge=1, description="newest checkpoints kept")
    validate_every: int = Field(default=0, ge=0, description="steps between validation edits; 0: none")
    validation_samples: int = Field(default=2, ge=1, description="samples of the eval split edited each time")
    validation_steps: int = Field(default=20, ge=1, description="denoising steps of a validation edit")
    log_every: int = Field(default=10, ge=1, description="steps between log entries")

    @model_validator(mode="after")
    def _one_size_of_fixed_windows(self) -> TrainSettings:
        if len({course.windows.fixed for course in self.courses}) > 1:
            raise ValueError("all courses must use the same number of fixed windows")
        return self

    @property
    def steps(self) -> int:
        """Optimizer steps of all courses."""
        return sum(course.steps for course in self.courses)

    def course_at(self, step: int) -> tuple[int, int]:
        """Number of the course that a step belongs to, and that course's first step."""
        first = 0
        for number, course in enumerate(self.courses):
            if step < first + course.steps:
                return number, first
            first += course.steps
        raise ValueError(f"there is no step {step} among {self.steps}")


OPERATIONAL = {
    "workers",
    "checkpoint_every",
    "keep_checkpoints",
    "validate_every",
    "validation_samples",
    "validation_steps",
    "log_every",
}
"""Settings that a resumed run may change: they do not decide what is learnt."""
