"""A step of the trainer on stored latents, against a bare loop over the same transformer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from rich.console import Console
from tiny_dataset import write_clip, write_config
from torch import Tensor

from bench.figures import Figure, Report
from bench.real_run import run_job
from pipeline.config import load_config
from pipeline.drive import Options
from pipeline.latents_run import latents
from stages.windows import WindowSettings
from train.base_model import load_inpaint_transformer
from train.data import Example
from train.latent_settings import LatentSettings
from train.latent_store import StoredLatents, open_latents
from train.positions import rotary_embedding
from train.settings import TrainSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base
from train.trainer import Trainer

HEIGHT, WIDTH, FRAMES = 64, 96, 9
LATENTS = (3, 16, HEIGHT // 8, WIDTH // 8)
BATCH = 2
BASE = TinyBaseSettings(heads=6, head_dim=64, layers=4, text_features=256)
"""Large enough that a step takes a tenth of a second or more, as steps worth measuring do."""


WINDOWS = WindowSettings(height=HEIGHT, width=WIDTH, frames=FRAMES, fixed=2)


def store_latents(dataset: Path, base: Path) -> StoredLatents:
    """What ``vivid latents`` makes of all samples, masked videos and captions included."""
    settings = LatentSettings(windows=WINDOWS, masked_share=1.0, precision="float32")
    latents(str(dataset), "default", str(base), settings, Options(local=True), Console(quiet=True))
    return open_latents(dataset)


def trainer_step(dataset: Path, base: Path, output: Path, stored: StoredLatents) -> Callable[[], None]:
    """One step of the `Trainer`, from reading masks and latents to the optimizer."""
    course = {"steps": 10_000, "mixing": {"images": 0, "videos": 1}, "windows": WINDOWS.model_dump()}
    settings = TrainSettings.model_validate(
        {
            "courses": [course],
            "batch_size": BATCH,
            # Reading is done in the step's own process and counted, which a run with workers does beside it.
            "workers": 0,
            "adaptation": {"gradient_checkpointing": False},
            "caption_dropout": 0.0,
        }
    )
    trainer = Trainer(str(dataset), str(base), output, settings, Console(quiet=True), stored)
    empty = stored.empty_text()
    assert empty is not None
    trainer.parts.captions.put_empty(empty)
    batches = map(_all_stored, trainer.examples(settings.steps))
    return lambda: trainer._one_step(batches)


def _all_stored(examples: list[Example]) -> list[Example]:
    """The examples; a measurement with encoding in it would be another one."""
    assert all(e.latents is not None and e.masked_latents is not None and e.text is not None for e in examples)
    return examples


def bare_step(base: Path) -> Callable[[], None]:
    """What anybody would write on diffusers and peft: noise, join, predict, error, AdamW."""
    transformer = load_inpaint_transformer(base, dtype=torch.float32)
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(r=32, lora_alpha=32, init_lora_weights=True, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    )
    transformer.patch_embed.proj.requires_grad_(True)
    learning = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4)
    drawn, masked = torch.randn(2, BATCH, *LATENTS)
    mask = torch.ones(BATCH, LATENTS[0], 1, *LATENTS[2:])
    text = torch.randn(BATCH, BASE.text_tokens, BASE.text_features)
    levels = torch.linspace(0.999, 0.001, 1000)
    rotary = rotary_embedding(transformer, drawn)

    def step() -> None:
        noise, times = torch.randn(drawn.shape), torch.randint(0, 1000, (BATCH,))
        signal, spread = (level.sqrt().view(-1, 1, 1, 1, 1) for level in (levels[times], 1 - levels[times]))
        noisy: Tensor = signal * drawn + spread * noise
        predicted = transformer(
            hidden_states=torch.cat([noisy, masked, mask], dim=2),
            encoder_hidden_states=text,
            timestep=times,
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        loss = (predicted - (signal * noise - spread * drawn)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure_training_step(folder: Path, repetitions: int, base: TinyBaseSettings = BASE) -> Report:
    """Trainer ÷ bare loop, in processor time and on the clock, steps in turn."""
    clips = [write_clip(folder / "in" / f"clip{number}.mp4", number) for number in range(4)]
    dataset = run_job(clips, folder, load_config(str(write_config(folder / "tiny.yaml"))), local=True).folder
    base_folder = save_tiny_base(folder / "base", base)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        stored = store_latents(dataset, base_folder)
        ours, theirs = trainer_step(dataset, base_folder, folder / "run", stored), bare_step(base_folder)
        pairs = [(_cost(ours), _cost(theirs)) for _ in range(repetitions + 2)][2:]
    finally:
        torch.set_num_threads(threads)
    cpu, wall = ([(mine[kind], bare[kind]) for mine, bare in pairs] for kind in (0, 1))
    note = (
        f"processor time; LoRA on {base.layers} layers of {base.heads * base.head_dim}, batch {BATCH}, latents and "
        f"text of `vivid latents` and masks read from the shards in the step itself; a bare step takes "
        f"{1000 * statistics.median(bare for _, bare in cpu):.0f} ms; {repetitions} steps in turn, medians; "
        f"on the clock {_ratio(wall):.3f}"
    )
    return Report([Figure("training step on stored latents against a bare loop", _ratio(cpu), "at most", 1.1, note)])


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(mine for mine, _ in pairs) / statistics.median(bare for _, bare in pairs)


def _cost(step: Callable[[], Any]) -> tuple[float, float]:
    """Processor seconds and seconds of a step."""
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall
