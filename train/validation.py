"""Edits of held-out samples while training goes on: what a loss does not show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from manifests.dataset import NotADataset
from manifests.storage import StorageError
from stages.media import ClipWriter, MediaSettings
from train.checkpoint import first_line
from train.editing import EditSettings, Video, edit_video
from train.inpaint_pipeline import VividInpaintPipeline
from train.triples import Triple, held_out_triples

if TYPE_CHECKING:
    from train.trainer import Trainer

TROUBLE = (ValueError, OSError, RuntimeError, StorageError, NotADataset)
"""What may go wrong: a sample, the store, the disk, the GPU's memory."""


def edit_held_out(trainer: Trainer, folder: Path, settings: EditSettings) -> None:
    """Write ``<sample>.mp4`` for a few samples of the eval split: the clip, what the model sees of it, what it draws.

    A dataset without held-out videos gives none, and a sample that cannot be edited is left out, each with a word on
    the console: a validation must not end a training.
    """
    try:
        _edit_all(trainer, folder, settings)
    except TROUBLE as error:
        _say(trainer, f"no validation: {first_line(error)}")


def _edit_all(trainer: Trainer, folder: Path, settings: EditSettings) -> None:
    run, parts = trainer.settings, trainer.parts
    sources = held_out_triples(trainer.url, run.validation_samples, run.courses[-1].windows, run.seed)
    encoder = parts.captions.encoder
    editor = VividInpaintPipeline(encoder.tokenizer, encoder.model, parts.vae, parts.transformer, parts.scheduler)
    editor.set_progress_bar_config(disable=True)
    folder.mkdir(parents=True, exist_ok=True)
    with _evaluating(parts.transformer):
        for source in sources:
            try:
                triple = source.read()
                drawn = edit_video(editor, triple.frames, triple.masks, triple.caption, settings, seed=run.seed)
                (folder / f"{triple.name}.mp4").write_bytes(_side_by_side(triple, drawn))
            except TROUBLE as error:
                _say(trainer, f"{source.name} is left out of the validation: {first_line(error)}")


def _side_by_side(triple: Triple, drawn: Video) -> bytes:
    hole = np.where(triple.masks[..., None], np.uint8(128), triple.frames)
    height, width = triple.frames.shape[1:3]
    writer = ClipWriter(3 * width, height, Fraction(triple.fps).limit_denominator(1001), MediaSettings())
    for frame in np.concatenate([triple.frames, hole, drawn], axis=2):
        writer.add(frame)
    return writer.finish()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _say(trainer: Trainer, text: str) -> None:
    trainer.console.print(text, highlight=False, markup=False)
