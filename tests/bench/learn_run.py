"""The stages of the bench in order; what a stage has made and what it cost stays in its folder."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from diffusers import AutoencoderKLCogVideoX
from learn_base import BaseSizes, save_base
from learn_latents import MemoryLatents, videos_and_masks
from learn_shards import FIRST, OTHER, Split
from learn_train import WINDOWS, full_settings, lora_settings, train
from learn_vae import VaeTraining, train_vae

from manifests.dataset import Dataset
from train.sample_table import SampleTable
from train.settings import TrainSettings


@dataclass(frozen=True)
class BenchSize:
    """How much is rendered, trained and judged."""

    first: Split = FIRST
    other: Split = OTHER
    vae: VaeTraining = field(default_factory=VaeTraining)
    base: BaseSizes = field(default_factory=BaseSizes)
    steps: int = 4500
    batch: int = 8
    lora_steps: int = 300
    deletions: int = 120
    """Held-out masks of the first split; all where there are fewer."""
    other_deletions: int = 20
    other_samples: int = 80
    """Of the other split, for the diffusion loss."""
    swaps: int = 40
    chosen_on: int = 12
    """Clips of the training split that guidance is chosen on."""
    denoising_steps: int = 16
    seed: int = 0


FULL_SIZE = BenchSize()
SMALL_SIZE = BenchSize(
    first=replace(FIRST, clips=16),
    other=replace(OTHER, clips=12),
    vae=VaeTraining(image_steps=30, image_batch=2, steps=4, batch=1),
    base=BaseSizes(heads=2, head_dim=16, layers=1),
    steps=10,
    batch=4,
    lora_steps=5,
    deletions=2,
    other_deletions=1,
    other_samples=4,
    swaps=2,
    chosen_on=2,
    denoising_steps=3,
)


class Stages:
    """Runs stages whose result is a folder, or finds it there; remembers their seconds."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.folder, self.fresh = folder, fresh
        self.spent = 0.0
        """Seconds on the stages that this object has made."""

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder of a stage, made by `make` unless it is complete."""
        target = self.folder / name
        done = target / "seconds.json"
        if done.is_file() and not self.fresh:
            return target
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        print(f"{name} …", file=sys.stderr, flush=True)
        start = time.perf_counter()
        make(target)
        seconds = time.perf_counter() - start
        done.write_text(json.dumps(seconds), encoding="utf-8")
        self.spent += seconds
        return target

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, in the order they were made."""
        found = sorted(self.folder.glob("*/seconds.json"), key=lambda path: path.stat().st_mtime)
        return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


class LearnRun:
    """One run of the bench below a folder."""

    def __init__(self, folder: Path, size: BenchSize, fresh: bool = False, processes: int = 2) -> None:
        self.folder, self.size, self.processes = folder, size, processes
        self.stage = Stages(folder, fresh)

    def shards(self) -> tuple[Path, Path]:
        """Both datasets, made side by side where they are missing."""
        with ThreadPoolExecutor(2) as pool:
            first, other = pool.map(lambda split: split.build(self.folder), (self.size.first, self.size.other))
        return first, other

    @cached_property
    def first(self) -> Path:
        """The dataset that the base learns from."""
        return self.size.first.build(self.folder)

    @cached_property
    def other(self) -> Path:
        """The dataset with other shapes."""
        return self.size.other.build(self.folder)

    @cached_property
    def vae(self) -> AutoencoderKLCogVideoX:
        """The VAE, trained on the training clips of the first split."""
        folder = self.stage("vae", self._make_vae)
        return AutoencoderKLCogVideoX.from_pretrained(folder, subfolder="vae").eval().requires_grad_(False)

    def _make_vae(self, target: Path) -> None:
        videos, masks = videos_and_masks(str(self.first), WINDOWS, "train")
        curve: list[float] = []

        def on_step(step: int, error: float) -> None:
            curve.append(127.5 * error)
            if step % 100 == 99:
                recent = sum(curve[-100:]) / 100
                print(f"VAE step {step + 1}: {recent:.2f} of 255", file=sys.stderr, flush=True)

        train_vae(videos, masks, self.size.vae, on_step).save_pretrained(target / "vae")
        (target / "curve.json").write_text(json.dumps(curve), encoding="utf-8")

    @cached_property
    def base(self) -> Path:
        """The base of random weights around the VAE; it knows the words of the training captions."""
        vae = self.vae

        def make(target: Path) -> None:
            tables = [SampleTable(Dataset(str(self.first)), "train")]
            captions = {c for table in tables for rows in table.strata.values() for c in rows["caption"].to_pylist()}
            save_base(target, vae, captions, self.size.base)

        return self.stage("base", make)

    @cached_property
    def first_latents(self) -> MemoryLatents:
        """Latents of the first dataset."""
        return MemoryLatents(str(self.first), WINDOWS, self.vae)

    @cached_property
    def other_latents(self) -> MemoryLatents:
        """Latents of the dataset with other shapes."""
        return MemoryLatents(str(self.other), WINDOWS, self.vae)

    @cached_property
    def full(self) -> Path:
        """The editor, trained in full."""
        settings = full_settings(self.size.steps, self.size.batch, self.size.seed)
        return self._trained("full", self.base, self.first, lambda: self.first_latents, settings)

    @cached_property
    def adapted(self) -> Path:
        """A LoRA on the editor, trained on the other shapes."""
        settings = lora_settings(self.size.lora_steps, self.size.batch, self.size.seed)
        return self._trained("lora", self.full, self.other, lambda: self.other_latents, settings)

    @cached_property
    def control(self) -> Path:
        """A LoRA as long on the first shapes: tells other data from more training."""
        settings = lora_settings(self.size.lora_steps, self.size.batch, self.size.seed)
        return self._trained("control", self.full, self.first, lambda: self.first_latents, settings)

    def _trained(
        self, name: str, base: Path, dataset: Path, latents: Callable[[], MemoryLatents], settings: TrainSettings
    ) -> Path:
        def make(target: Path) -> None:
            store = latents()
            store.fill("train")
            train(dataset, base, target / "run", settings, store, self.processes)

        return self.stage(name, make) / "run" / "final"

    def curve(self, stage: str) -> list[tuple[int, float]]:
        """Loss by step of a stage's training."""
        place = "curve.json" if stage == "vae" else "run/curve.json"
        values = json.loads((self.folder / stage / place).read_text(encoding="utf-8"))
        return list(enumerate(values, 1)) if stage == "vae" else [(step, loss) for step, loss in values]
