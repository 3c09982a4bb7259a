"""Edits of held-out samples while training goes on: what a loss does not show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.media import ClipWriter, MediaSettings
from train.editing import EditSettings, edit_video
from train.inpaint_pipeline import VividInpaintPipeline
from train.triples import held_out_samples, read_samples

if TYPE_CHECKING:
    from train.trainer import Trainer


def edit_held_out(trainer: Trainer, folder: Path, settings: EditSettings) -> None:
    """Write ``<sample>.mp4`` for a few samples of the eval split: the clip, what the model sees of it, what it draws.

    A dataset without held-out videos gives none, with a word on the console.
    """
    run = trainer.settings
    try:
        samples = held_out_samples(trainer.url, run.validation_samples, run.seed)
    except ValueError as error:
        trainer.console.print(f"no validation: {error}", highlight=False, markup=False)
        return
    parts = trainer.parts
    encoder = parts.captions.encoder
    editor = VividInpaintPipeline(encoder.tokenizer, encoder.model, parts.vae, parts.transformer, parts.scheduler)
    editor.set_progress_bar_config(disable=True)
    was_training = parts.transformer.training
    parts.transformer.eval()
    folder.mkdir(parents=True, exist_ok=True)
    for triple in read_samples(trainer.url, samples, run.courses[-1].windows, run.seed):
        drawn = edit_video(editor, triple.frames, triple.masks, triple.caption, settings, seed=run.seed)
        hole = np.where(triple.masks[..., None], np.uint8(128), triple.frames)
        writer = ClipWriter(
            3 * settings.width, settings.height, Fraction(triple.fps).limit_denominator(1001), MediaSettings()
        )
        for frame in np.concatenate([triple.frames, hole, drawn], axis=2):
            writer.add(frame)
        (folder / f"{triple.name}.mp4").write_bytes(writer.finish())
    parts.transformer.train(was_training)
