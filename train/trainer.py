"""Training the editor: read it top to bottom.

For every step: the step's slots → examples → latents and text → noise and timesteps → predicted velocity → loss →
gradient → AdamW. All that is random is a function of the seed, the step and the sample, so a run that was stopped
anywhere goes on as if it had not been: on a CPU bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate.utils import DistributedType
from rich.console import Console
from torch import Tensor

from manifests.dataset import Dataset
from train.checkpoint import CheckpointConfig, describe, is_checkpoint, load_weights, read_config
from train.components import load_components
from train.conditioning import LatentBatch
from train.curriculum import Curriculum
from train.data import Example, LatentStore
from train.divergence import check_gradient, check_losses
from train.latent_batches import LatentBatches
from train.lora import prepare_for_training
from train.loss import VelocityObjective, draw_noise
from train.origin import base_origin, dataset_origin
from train.positions import check_size
from train.processes import check_agreement, make_accelerator
from train.provenance import Provenance, record_provenance
from train.run_folder import RunFolder
from train.sample_table import SampleTable
from train.settings import TrainSettings
from train.starting_point import starting_point
from train.stopping import StopSignals
from train.telemetry import Meter, model_flops, progress_bar
from train.training_state import TrainingState


class Stopped(Exception):
    """The run was asked to stop and has saved a checkpoint. `number` is the signal's."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}, which is saved; the same command goes on")
        self.number = number


class Trainer:
    """One training run in one folder.

    Args:
        dataset: folder or URL of a dataset made by `vivid shards`.
        base: CogVideoX folder or hub name, or a checkpoint of this project, which is trained further.
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
        self.validate = validate
        self.folder = RunFolder(output)
        self.accelerator = make_accelerator(self.folder.logs)
        if settings.batch_size % self.accelerator.num_processes:
            raise ValueError(
                f"a batch of {settings.batch_size} cannot be shared by {self.accelerator.num_processes} processes"
            )
        source = Dataset(dataset)
        origin = dataset_origin(source, dataset)
        self.table = SampleTable(source, settings.split)
        self.curriculum = Curriculum(dataset, self.table, settings, latents)
        if self.accelerator.is_main_process:
            self.folder.check(origin, None, settings)
            for sentence in self.curriculum.missing():
                self._say(sentence)
        self.start = starting_point(base, settings.adaptation)
        whole = settings.adaptation.mode == "full"
        self.parts = load_components(base, self._dtype(), self.accelerator.device, whole)
        with torch.random.fork_rng(devices=[]):
            # A LoRA begins with random weights.
            torch.manual_seed(settings.seed)
            trainable = prepare_for_training(self.parts.transformer, settings.adaptation)
        self._check_sizes()
        provenance = record_provenance(source, self.table.counts(), settings)
        self.config = self._describe(provenance)
        self.objective = VelocityObjective(self.parts.transformer, self.parts.scheduler, self._dtype())
        optimizer = torch.optim.AdamW(
            trainable,
            lr=settings.optimizer.learning_rate,
            betas=settings.optimizer.betas,
            weight_decay=settings.optimizer.weight_decay,
        )
        newest = self.folder.newest()
        check_agreement((self.folder.steps(), is_checkpoint(self.folder.final)), self.folder.root)
        self.step, self._saved = 0, -1
        if newest is not None:
            saved = load_weights(self.parts.transformer, newest)
            self.step = self._saved = saved.step
            if saved.provenance is not None and saved.provenance.samples != provenance.samples:
                self._say(
                    "the dataset has grown since the last checkpoint: from here on its samples come in a new order"
                )
        elif self.start.lora is not None:
            load_weights(self.parts.transformer, self.start.lora)
        self.model, self.optimizer = self.accelerator.prepare(self.parts.transformer, optimizer)
        self.state = TrainingState(self.accelerator, self.parts.transformer, self.optimizer, settings.ema)
        # Not those from before, which sharding has replaced.
        self.trainable = self.state.trainable
        if newest is not None:
            self.state.resume(newest)
        if self.accelerator.is_main_process:
            # Last: a start that is refused leaves nothing behind.
            self.folder.bind(origin, base_origin(base, self.config.base_fingerprint, self.start.lora), settings)
        self.encode = LatentBatches(
            self.parts.vae, self.parts.captions, self.accelerator.device, settings.caption_dropout, settings.seed
        )
        self.meter = Meter()
        self.last_figures: dict[str, float] = {}
        self._stop = StopSignals()

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
        main = self.accelerator.is_main_process
        with self._stop.remembered(), progress_bar(self.console if main else None, self.step, last) as progress:
            batches = self.examples(last)
            while self.step < last:
                self._one_step(batches)
                progress(self.step, self.meter.losses[-1])
                self._after_step()
        # Of the last step as well: more steps may be asked for.
        self._save_checkpoint()
        if self.step >= self.settings.steps:
            self.state.save_result(self.folder.final, self._config_now())
        self.accelerator.end_training()
        return self.folder.final

    def _one_step(self, batches: Iterator[list[Example]]) -> None:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.optimizer.rate(self.step, settings.steps)
        sample_ids: list[str] = []
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
                check_losses(losses, batch.sample_ids, self.step)
                self.accelerator.backward(losses.mean() / settings.accumulation)
            self._count(losses, batch)
            sample_ids += batch.sample_ids
            if not is_last and (stop := self._all_asked_to_stop()):
                # Not after the whole step: launchers kill half a minute after a signal. It is begun anew.
                self.optimizer.zero_grad(set_to_none=True)
                self._save_checkpoint()
                raise Stopped(stop, self.step)
        norm = self.accelerator.clip_grad_norm_(self.trainable, settings.optimizer.max_norm)
        # Before the step: AdamW would carry it into every weight.
        check_gradient(norm, sample_ids, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.average()
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

    # --- parts ---

    def _dtype(self) -> torch.dtype:
        """Number format of the computation, and of what does not learn."""
        asked, on_gpu = self.settings.precision, self.accelerator.device.type == "cuda"
        return torch.bfloat16 if asked == "bfloat16" or (asked == "auto" and on_gpu) else torch.float32

    def _check_sizes(self) -> None:
        for windows in (course.windows for course in self.settings.courses):
            check_size(self.parts.transformer, windows.frames, windows.height, windows.width)

    def _describe(self, provenance: Provenance) -> CheckpointConfig:
        windows = self.settings.courses[-1].windows
        return describe(
            self.parts.transformer,
            self.settings.adaptation,
            base=self.start.base,
            base_revision=self.parts.revision,
            height=windows.height,
            width=windows.width,
            num_frames=max(course.windows.frames for course in self.settings.courses),
            provenance=provenance,
        )

    def examples(self, end: int) -> Iterator[list[Example]]:
        """This process's examples of each forward pass, from the present step up to step `end`."""
        return self.curriculum.examples(self.step, end, self.accelerator.process_index, self.accelerator.num_processes)

    # --- what is said on the way ---

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
        figures["loss"] = self._mean_over_processes(figures["loss"])
        figures["learning_rate"] = self.settings.optimizer.rate(self.step - 1, self.settings.steps)
        self.accelerator.log(figures, step=self.step)
        self.last_figures = figures

    # --- together with the other processes ---

    def _save_checkpoint(self) -> None:
        """The checkpoint of this step, unless it is there; older ones beyond `keep_checkpoints` go."""
        if self._saved == self.step:
            return
        self._saved = self.step
        self.state.save(self.folder.checkpoint(self.step), self._config_now())
        if self.accelerator.is_main_process:
            self.folder.prune(self.settings.keep_checkpoints)

    def _config_now(self) -> CheckpointConfig:
        return self.config.model_copy(update={"step": self.step})

    def _mean_over_processes(self, value: float) -> float:
        if self.accelerator.num_processes == 1:
            return value
        return float(self.accelerator.gather(torch.tensor([value], device=self.accelerator.device)).mean())

    def _all_asked_to_stop(self) -> int:
        """The signal that any process got: all must save together."""
        if self.accelerator.num_processes == 1:
            return self._stop.number
        asked = torch.tensor([self._stop.number], device=self.accelerator.device)
        return int(self.accelerator.gather(asked).max())

    def _validate(self) -> None:
        if self.accelerator.distributed_type == DistributedType.FSDP:
            self._say("no validation edits: one process has only a part of a sharded model")
            return
        if self.accelerator.is_main_process and self.validate is not None:
            with self.state.averaged(), self.meter.paused():
                self.validate(self, self.folder.validation / f"step-{self.step:08d}")
        self.accelerator.wait_for_everyone()
