"""Calling the editor's commands in this process, and what they work on: a tiny model and masks."""

from __future__ import annotations

from pathlib import Path

import media_files
import numpy as np
from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import KNOWN_ERRORS, app
from stages.media import encode_image
from train.inpaint_pipeline import VividInpaintPipeline
from train.tiny_base import TinyBaseSettings, save_tiny_base

SQUARE = "8,20,26,38"
QUICK = ("--steps", "2", "--guidance", "1")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*arguments: str | Path) -> str:
    """The one sentence that a command ends with."""
    result = run(*arguments)
    assert isinstance(result.exception, KNOWN_ERRORS), (result.output, result.exception)
    text = str(result.exception)
    assert "\n" not in text
    return text


def save_editor(folder: Path) -> Path:
    """A saved pipeline."""
    base = save_tiny_base(folder.with_name("base"), TinyBaseSettings(text_tokens=32))
    VividInpaintPipeline.from_pretrained(base).save_pretrained(folder)
    return folder


def square_masks(frames: int = 12) -> np.ndarray:
    masks = np.zeros((frames, 64, 96), np.bool_)
    for index, mask in enumerate(masks):
        mask[20:38, 8 + 4 * index : 26 + 4 * index] = True
    return masks


def mask_video(path: Path, masks: np.ndarray) -> Path:
    pictures = [np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255 for mask in masks]
    return media_files.write_video(path, pictures, codec="ffv1", pix_fmt="bgr0")


def mask_image(path: Path, mask: np.ndarray) -> Path:
    path.write_bytes(encode_image(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255))
    return path
