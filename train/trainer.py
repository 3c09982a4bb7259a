"""Training the editor: read it top to bottom.

For every step: the step's slots → examples → latents and text → noise and timesteps → predicted velocity → loss →
gradient → AdamW. All that is random is a function of the seed, the step and the sample, so a run that was stopped
anywhere goes on as if it had not been: on a CPU bit for bit.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from manifests.dataset import Dataset
from train.base_model import find_components, load_inpaint_transformer
from train.base_parts import load_noise_schedule, load_text_encoder, load_vae
from train.checkpoint import (
    CheckpointConfig,
    atomic_folder,
    describe,
    is_checkpoint,
    load_weights,
    read_config,
    save_checkpoint,
    write_checkpoint,
)
from train.conditioning import LatentBatch
from train.data import EditSamples, Example, LatentStore, SampleReader
from train.latent_batches import CaptionCache, LatentBatches
from train.lora import prepare_for_training
from train.loss import VelocityObjective, draw_noise, non_finite_samples
from train.mixing import Mixing, RankBatches
from train.run_folder import STATE_FOLDER, RunFolder
from train.sample_table import SampleTable
from train.settings import TrainSettings
from train.telemetry import Meter, model_flops


class Diverged(Exception):
    """The loss is no number. The text names the samples."""


class Stopped(Exception):
    """The run was asked to stop and has saved a checkpoint. `number` is the signal's."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}, which is saved; the same command goes on")
        self.number = number


@dataclass
class Components:
    """The parts of a base. T5 is loaded only when a caption has no stored embedding."""

    transformer: CogVideoXTransformer3DModel
    vae: AutoencoderKLCogVideoX
    scheduler: Any
    captions: CaptionCache
    revision: str | None = None
    """Of the base on the hub, where that is known."""


class Trainer:
    """One training run in one folder.

    Args:
        dataset: folder or URL of a dataset made by `vivid shards`.
        base: CogVideoX folder or hub name, or a checkpoint of this project to start from.
        output: the run's folder; where it has checkpoints, the newest is gone on from.
        settings: what is learnt and how.
        latents: precomputed latents, if there are.
        validate: called every `validate_every` steps with a folder for what it makes.

    Raises ValueError (one sentence) when the dataset has not what the settings ask for, the base cannot be used, or the
    folder holds another training.
    """

    def __init__(
        self,
        dataset: str,
        base: str,
        output: str | Path,
        settings: TrainSettings,
        console: Console | None = None,
        latents: LatentStore | None = None,
        validate: Callable[[Trainer, Path], None] | None = None,
    ) -> None:
        self.settings, self.base, self.url = settings, base, dataset
        self.console = console or Console(stderr=True)
        self.latents, self.validate = latents, validate
        self.folder = RunFolder(output)
        self.accelerator = Accelerator(log_with=_trackers(), project_dir=str(self.folder.logs))
        if settings.batch_size % self.accelerator.num_processes:
            raise ValueError(
                f"a batch of {settings.batch_size} cannot be shared by {self.accelerator.num_processes} processes"
            )
        self.table = SampleTable(Dataset(dataset), settings.split)
        self.mixings = [
            Mixing(course.mixing, self.table.counts(), settings.batch_size, settings.seed)
            for course in settings.courses
        ]
        if self.accelerator.is_main_process:
            self.folder.bind(dataset, base, settings)
            self._say_what_is_missing()
        self.parts = self._load(base)
        with torch.random.fork_rng(devices=[]):
            # A LoRA begins with random weights.
            torch.manual_seed(settings.seed)
            self.trainable = prepare_for_training(self.parts.transformer, settings.adaptation)
        self.config = self._describe()
        self.objective = VelocityObjective(self.parts.transformer, self.parts.scheduler)
        optimizer = torch.optim.AdamW(
            self.trainable,
            lr=settings.optimizer.learning_rate,
            betas=settings.optimizer.betas,
            weight_decay=settings.optimizer.weight_decay,
        )
        self.step = self._resume_weights()
        self.model, self.optimizer = self.accelerator.prepare(self.parts.transformer, optimizer)
        # Sharding replaces them.
        self.trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.ema = EMAModel(self.trainable, decay=settings.ema) if settings.ema else None
        self._resume_state()
        self.encode = LatentBatches(
            self.parts.vae, self.parts.captions, self.accelerator.device, settings.caption_dropout, settings.seed
        )
        self.meter = Meter()
        self.last_figures: dict[str, float] = {}
        self._asked_to_stop = 0

    # --- the algorithm ---

    def run(self, until: int | None = None) -> Path:
        """Train to the last step (or `until`) and return the folder with the result.

        Raises Diverged (with the samples' ids) and Stopped (after saving).
        """
        last = min(until or self.settings.steps, self.settings.steps)
        if is_checkpoint(self.folder.final) and read_config(self.folder.final).step == last:
            self._say(f"{self.folder.final} is trained already")
            return self.folder.final
        self._start_tracking()
        with self._stop_signals(), self._progress(last) as progress:
            while self.step < last:
                number, first = self.settings.course_at(self.step)
                end = min(last, first + self.settings.courses[number].steps)
                batches = self._batches(number, self.step - first, end - first)
                while self.step < end:
                    self._one_step(batches)
                    progress(self.step)
                    self._after_step()
        if self.step >= self.settings.steps:
            self._save_final()
        elif self.step not in self.folder.steps():
            self._save_checkpoint()
        self.accelerator.end_training()
        return self.folder.final

    def _one_step(self, batches: Iterator[list[Example]]) -> None:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.optimizer.rate(self.step, settings.steps)
        for passes in range(settings.accumulation):
            with self.meter.waiting():
                examples = next(batches)
            batch = self.encode(examples)
            drawn = draw_noise(
                settings.seed,
                self.step,
                [f"{example.slot.key} {example.sample.sample_id}" for example in examples],
                batch.latents.shape[1:],
                self.objective.num_timesteps,
            )
            is_last = passes == settings.accumulation - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                losses = self.objective(self.model, batch, drawn)
                self._check_finite(losses, batch)
                self.accelerator.backward(losses.mean() / settings.accumulation)
            self._count(losses, batch)
        self.accelerator.clip_grad_norm_(self.trainable, settings.optimizer.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(self.trainable)
        self.step += 1

    def _after_step(self) -> None:
        settings = self.settings
        if self.step % settings.log_every == 0 or self.step == settings.steps:
            self._log()
        stop = self._all_asked_to_stop()
        due = self.step % settings.checkpoint_every == 0 and self.step < settings.steps
        if due or (stop and self.step < settings.steps):
            self._save_checkpoint()
        if settings.validate_every and self.step % settings.validate_every == 0:
            self._validate()
        if stop and self.step < settings.steps:
            raise Stopped(stop, self.step)

    def _check_finite(self, losses: Tensor, batch: LatentBatch) -> None:
        broken = non_finite_samples(losses, batch.sample_ids)
        if broken:
            raise Diverged(
                f"the loss is no number at step {self.step}, on {', '.join(broken)}; "
                "the last checkpoint is as it was: lower the learning rate or look at these samples"
            )

    # --- parts ---

    def _load(self, base: str) -> Components:
        device = self.accelerator.device
        half = self.settings.precision == "bfloat16" or (self.settings.precision == "auto" and device.type == "cuda")
        dtype = torch.bfloat16 if half else torch.float32
        transformer = load_inpaint_transformer(base, dtype=dtype)
        max_tokens = int(transformer.config.max_text_seq_length)
        captions = CaptionCache(lambda: load_text_encoder(base, max_tokens, dtype, device))
        revision = find_components(base)[1]
        return Components(transformer, load_vae(base, dtype, device), load_noise_schedule(base), captions, revision)

    def _describe(self) -> CheckpointConfig:
        windows = self.settings.courses[-1].windows
        return describe(
            self.parts.transformer,
            self.settings.adaptation,
            base=self.base,
            base_revision=self.parts.revision,
            height=windows.height,
            width=windows.width,
            num_frames=max(course.windows.frames for course in self.settings.courses),
        )

    def _batches(self, course: int, start: int, end: int) -> Iterator[list[Example]]:
        """Examples of a course's forward passes, from its step `start` to its step `end`."""
        settings, accelerator = self.settings, self.accelerator
        reader = SampleReader(self.url, settings.courses[course].windows, settings.seed, self.latents)
        samples = EditSamples(reader, self.mixings[course], self.table)
        passes = settings.accumulation
        sampler = RankBatches(
            self.mixings[course], start * passes, end * passes, accelerator.process_index, accelerator.num_processes
        )
        loader: DataLoader[Example] = DataLoader(
            samples,  # type: ignore[arg-type]
            batch_sampler=sampler,
            num_workers=settings.workers,
            collate_fn=list,
            multiprocessing_context="forkserver" if settings.workers else None,
        )
        return iter(loader)

    # --- saving and resuming ---

    def _resume_weights(self) -> int:
        newest = self.folder.newest()
        return 0 if newest is None else load_weights(self.parts.transformer, newest).step

    def _resume_state(self) -> None:
        newest = self.folder.newest()
        if newest is None:
            return
        rank = self.accelerator.process_index if self._is_sharded() else 0
        state = torch.load(newest / STATE_FOLDER / _state_file(rank), map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)

    def _save_checkpoint(self) -> None:
        """The checkpoint of this step, whole or not at all; older ones beyond `keep_checkpoints` go."""
        weights = self.accelerator.get_state_dict(self.model)
        state = {"optimizer": self.optimizer.state_dict(), "ema": self.ema.state_dict() if self.ema else None}
        states = gather_object([state]) if self._is_sharded() else [state]
        if self.accelerator.is_main_process:
            with atomic_folder(self.folder.checkpoint(self.step)) as partial:
                write_checkpoint(partial, self.parts.transformer, self._config_now(), state_dict=weights)
                (partial / STATE_FOLDER).mkdir()
                for rank, one in enumerate(states):
                    torch.save(one, partial / STATE_FOLDER / _state_file(rank))
            self.folder.prune(self.settings.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _save_final(self) -> None:
        with self._averaged_weights():
            weights = self.accelerator.get_state_dict(self.model)
            if self.accelerator.is_main_process:
                save_checkpoint(self.folder.final, self.parts.transformer, self._config_now(), state_dict=weights)
        self.accelerator.wait_for_everyone()

    def _config_now(self) -> CheckpointConfig:
        return self.config.model_copy(update={"step": self.step})

    def _is_sharded(self) -> bool:
        return bool(self.accelerator.distributed_type == DistributedType.FSDP)

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        if self.ema is None:
            yield
            return
        self.ema.store(self.trainable)
        self.ema.copy_to(self.trainable)
        try:
            yield
        finally:
            self.ema.restore(self.trainable)

    # --- what is said on the way ---

    def _say_what_is_missing(self) -> None:
        for number, mixing in enumerate(self.mixings):
            missing = mixing.missing()
            if missing:
                self._say(f"course {number}: the dataset has no {', no '.join(missing)}; the rest is trained on")

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.console.print(text, highlight=False, markup=False)

    def _start_tracking(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.logs.mkdir(parents=True, exist_ok=True)
        self.accelerator.init_trackers("vivid")
        learning = sum(parameter.numel() for parameter in self.trainable)
        whole = sum(parameter.numel() for parameter in self.parts.transformer.parameters())
        samples = sum(self.table.counts().values())
        self._say(
            f"{learning:,} of {whole:,} weights learn, on {samples:,} samples; "
            f"{self.accelerator.num_processes} × {self.accelerator.device}, from step {self.step}"
        )

    def _count(self, losses: Tensor, batch: LatentBatch) -> None:
        self.meter.losses.append(float(losses.detach().mean()))
        processes = self.accelerator.num_processes
        self.meter.samples += len(batch.sample_ids) * processes
        full = self.settings.adaptation.mode == "full"
        self.meter.flops += model_flops(self.parts.transformer, batch.latents, full) * processes

    def _log(self) -> None:
        figures = self.meter.report(self.accelerator.device, self.accelerator.num_processes)
        figures["learning_rate"] = self.settings.optimizer.rate(self.step - 1, self.settings.steps)
        self.accelerator.log(figures, step=self.step)
        self.last_figures = figures

    @contextmanager
    def _progress(self, last: int) -> Iterator[Callable[[int], None]]:
        with Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.accelerator.is_main_process,
        ) as bar:
            task = bar.add_task("train", total=last, completed=self.step, loss="–")

            def show(step: int) -> None:
                recent = self.meter.losses[-1:] or [self.last_figures.get("loss", float("nan"))]
                bar.update(task, completed=step, loss=f"{recent[0]:.4f}")

            yield show

    # --- stopping ---

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C end the run after the present step, with a checkpoint; a second one ends it at once."""

        def remember(number: int, _frame: FrameType | None) -> None:
            self._asked_to_stop = number
            signal.signal(number, before[signal.Signals(number)])

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in numbers}
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                signal.signal(number, remember)
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number in numbers:
                    signal.signal(number, before[number])

    def _all_asked_to_stop(self) -> int:
        """The signal that any process got: all must save together."""
        if self.accelerator.num_processes == 1:
            return self._asked_to_stop
        asked = torch.tensor([self._asked_to_stop], device=self.accelerator.device)
        return int(self.accelerator.gather(asked).max())

    def _validate(self) -> None:
        if self._is_sharded():
            self._say("no validation edits: one process has only a part of a sharded model")
            return
        if self.accelerator.is_main_process and self.validate is not None:
            with self._averaged_weights(), self.meter.paused():
                self.validate(self, self.folder.validation / f"step-{self.step:08d}")
        self.accelerator.wait_for_everyone()


def _state_file(rank: int) -> str:
    return f"rank-{rank:03d}.pt"


def _trackers() -> list[str]:
    """TensorBoard, and Weights & Biases where it is installed and set up (it would ask for a key otherwise)."""
    set_up = "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ
    return ["tensorboard", *(["wandb"] if set_up and importlib.util.find_spec("wandb") else [])]
