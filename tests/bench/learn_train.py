"""Training with the real trainer: the base in full, a LoRA on it, and the diffusion loss on held-out samples."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from learn_latents import MemoryLatents
from rich.console import Console

from manifests.dataset import Dataset
from stages.windows import WindowSettings
from train.base_parts import load_noise_schedule, load_text_encoder
from train.data import SampleReader
from train.inpaint_pipeline import VividInpaintPipeline
from train.latent_batches import CaptionCache, LatentBatches
from train.loss import VelocityObjective, draw_noise
from train.mixing import Slot
from train.sample_table import Sample, SampleTable
from train.settings import TrainSettings
from train.trainer import Trainer

WINDOWS = WindowSettings(height=64, width=64, frames=9, fixed=1)
"""The whole clip, shrunk to 64×64; one window per clip, so latents are computed once."""
CURVE_POINTS = 60
MEETING_HOST = "127.0.0.1"


def full_settings(steps: int, batch: int, seed: int) -> TrainSettings:
    """The base's training: every weight, videos only, add & modify : delete = 1 : 1."""
    return _settings(steps, batch, seed, {"mode": "full"}, learning_rate=1.5e-3, ema=0.995)


def lora_settings(steps: int, batch: int, seed: int) -> TrainSettings:
    """The adaptation: the paper's LoRA of rank 32 and the whole patch embedder."""
    return _settings(steps, batch, seed, {"mode": "lora"}, learning_rate=5e-4, ema=0.98)


def _settings(
    steps: int, batch: int, seed: int, adaptation: dict[str, Any], learning_rate: float, ema: float
) -> TrainSettings:
    course = {
        "steps": steps,
        "mixing": {"images": 0, "videos": 1, "add_modify": 1, "delete": 1, "kive": 0.0},
        "windows": WINDOWS.model_dump(),
    }
    return TrainSettings.model_validate(
        {
            "seed": seed,
            "courses": [course],
            "batch_size": batch,
            "adaptation": {**adaptation, "gradient_checkpointing": False},
            "optimizer": {
                "learning_rate": learning_rate,
                "warmup_steps": min(100, steps // 5),
                "schedule": "cosine",
                "betas": (0.9, 0.99),
            },
            "ema": ema,
            "precision": "float32",
            # The training processes fill the cores by themselves.
            "workers": 0,
            "checkpoint_every": 10**9,
            "log_every": max(1, steps // CURVE_POINTS),
        }
    )


class CurveTrainer(Trainer):
    """The trainer, which also remembers what it logs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.curve: list[tuple[int, float]] = []

    def _log(self) -> None:
        super()._log()
        self.curve.append((self.step, self.last_figures["loss"]))


def train(
    dataset: Path, base: Path, output: Path, settings: TrainSettings, latents: MemoryLatents, processes: int
) -> None:
    """Train to the end in ``output``, in so many processes that share each batch; the curve is its ``curve.json``.

    A small model keeps a second thread idle for most of a step, and a second process busy.
    """
    with socket.socket() as probe:
        probe.bind((MEETING_HOST, 0))
        port = int(probe.getsockname()[1])
    arguments = (processes, port, dataset, base, output, settings, latents)
    torch.multiprocessing.spawn(_train_in_one_of, arguments, processes)


def _train_in_one_of(
    rank: int,
    processes: int,
    port: int,
    dataset: Path,
    base: Path,
    output: Path,
    settings: TrainSettings,
    latents: MemoryLatents,
) -> None:
    """What `accelerate launch` would start on a machine without a GPU."""
    os.environ |= {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": MEETING_HOST,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    trainer = CurveTrainer(str(dataset), str(base), output, settings, Console(stderr=True, width=80), latents)
    trainer.run()
    if rank == 0:
        (output / "curve.json").write_text(json.dumps(trainer.curve), encoding="utf-8")


class HeldOutLoss:
    """The diffusion loss on samples that were not trained on, with the same noise for every model."""

    def __init__(self, dataset: Path, base: Path, latents: MemoryLatents, count: int, draws: int, seed: int) -> None:
        self.seed, self.draws = seed, draws
        captions = CaptionCache(
            lambda: load_text_encoder(str(base), latents_tokens(base), torch.float32, torch.device("cpu"))
        )
        assert latents.vae is not None, "latents that came from another process cannot encode"
        encode = LatentBatches(latents.vae, captions, torch.device("cpu"), dropout=0.0, seed=seed)
        reader = SampleReader(str(dataset), WINDOWS, seed, latents)
        samples = spread_samples(str(dataset), "eval", count)
        slots = [Slot(f"held out {sample.sample_id}", sample.kind, sample.task, 0, kive=False) for sample in samples]
        self.batch = encode([reader.read(slot, sample) for slot, sample in zip(slots, samples, strict=True)])
        self.schedule = load_noise_schedule(str(base))

    @torch.no_grad()
    def __call__(self, pipeline: VividInpaintPipeline) -> list[float]:
        """Mean loss of every sample over the draws."""
        objective = VelocityObjective(pipeline.transformer, self.schedule)
        losses = []
        for number in range(self.draws):
            shape = self.batch.latents.shape[1:]
            drawn = draw_noise(self.seed, number, self.batch.sample_ids, shape, objective.num_timesteps)
            losses.append(objective(pipeline.transformer, self.batch, drawn))
        return [float(value) for value in torch.stack(losses).mean(0)]


def latents_tokens(base: Path) -> int:
    """Longest prompt of a base."""
    config = json.loads((base / "transformer" / "config.json").read_text(encoding="utf-8"))
    return int(config["max_text_seq_length"])


def spread_samples(url: str, split: str, count: int) -> list[Sample]:
    """Up to `count` samples of a split, evenly spaced over its rows and alike from both tasks."""
    table = SampleTable(Dataset(url), split)
    chosen = []
    for stratum, rows in table.strata.items():
        places = np.linspace(0, rows.num_rows - 1, min(rows.num_rows, count // len(table.strata)))
        chosen += [table.sample(stratum, int(place)) for place in np.unique(places.round())]
    return chosen
