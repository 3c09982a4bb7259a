"""The command ``vivid edit``. Heavy imports stand inside the functions: `vivid shards` needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.compose_phase import DELETE_CAPTION
from pipeline.config import Config, ConfigError, load_config, profiles
from pipeline.editor_commands import (
    Base,
    Guidance,
    Offloading,
    Seed,
    Steps,
    find_model,
    load_editor,
    progress_bar,
    require_packages,
)
from train.offloading import Offload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from models.protocols import Box, Segmenter, Tracker
    from train.video_files import VideoFile


def edit_command(
    video: Annotated[
        Path,
        typer.Argument(help="a video or an image, any size and frame rate; what is transparent in it becomes black"),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="a trained folder (OUTPUT/final), or a saved pipeline")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".mp4; .mkv with --lossless; .png for an image or --keyframe-only")
    ],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="what is drawn in the mask: “a red car”")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="remove what the mask marks")] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="a mask video, or a mask image of a thing in the first frame, which is followed; light: edit"
        ),
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="box around a thing in the first frame, which is followed")
    ] = None,
    still: Annotated[
        bool,
        typer.Option("--still", help="the mask image or the whole box stays where it is: to add what is not there yet"),
    ] = False,
    keyframe: Annotated[
        Path | None,
        typer.Option(
            help="the first frame as it shall be (edited by hand or by --keyframe-only); the video follows it"
        ),
    ] = None,
    keyframe_only: Annotated[
        bool, typer.Option("--keyframe-only", help="edit just the first frame: cheap, repeat it until you like it")
    ] = False,
    lossless: Annotated[bool, typer.Option("--lossless", help="write FFV1: unmasked pixels stay as they are")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output where it exists")] = False,
    base: Base = None,
    steps: Steps = 50,
    guidance: Guidance = 6.0,
    feather: Annotated[
        int,
        typer.Option(
            min=0,
            help="pixels inside the mask over which the edit fades in: for masks wider than the thing, since under the "
            "rim of one that fits the old outline would show",
        ),
    ] = 0,
    seed: Seed = 0,
    offload: Offloading = Offload.AUTO,
    profile: Annotated[str, typer.Option(help=f"whose tracker follows a mask or box: {', '.join(profiles())}")] = "cpu",
) -> None:
    """Add, modify or delete something inside a masked region of a video.

    Outside the mask the result is the original (to the bit with --lossless). Long videos are edited window by window,
    each continuing the last frame of the one before. Size, time stamps and sound stay as they are.
    """
    if (prompt is None) == (not delete):
        raise ConfigError("say either what to draw (--prompt) or --delete")
    if prompt is not None and not prompt.strip():
        raise ConfigError("the prompt is empty: say what to draw, or --delete to remove what the mask marks")
    if (mask is None) == (box is None):
        raise ConfigError("say where: either --mask or --box")
    if keyframe is not None and keyframe_only:
        raise ConfigError("--keyframe-only makes a keyframe and --keyframe takes one: use one after the other")
    require_packages()
    from train.video_files import IMAGE_SUFFIXES, check_output, read_picture, read_video, write_picture, write_video

    # What can be wrong is found before anything that takes long.
    one_picture = keyframe_only or video.suffix.lower() in IMAGE_SUFFIXES
    check_output(output, is_image=one_picture, lossless=lossless and not one_picture)
    _check_free(output, [file for file in (video, mask, keyframe) if file is not None], overwrite)
    console = Console(stderr=True)
    config = load_config(profile)
    model = find_model(model, console)
    source = read_video(video, first_only=keyframe_only)
    if keyframe is not None and len(source.frames) == 1:
        raise ConfigError(f"{video} has one frame, so there is nothing for a keyframe to spread to")
    first = read_picture(keyframe, source) if keyframe is not None else None
    region = _Region(source, mask, box, still, first_only=keyframe_only)

    from train.editing import edit_video
    from train.text import TextEncoder

    editor, settings = load_editor(model, base, console, offload, steps=steps, guidance=guidance, feather=feather)
    text = DELETE_CAPTION if prompt is None else prompt
    TextEncoder(editor.tokenizer, editor.text_encoder, int(editor.transformer.config.max_text_seq_length)).check(text)

    masks = region.masks(1 if one_picture else len(source.frames), config)
    with progress_bar("edit", console) as report:
        frames = source.frames[: len(masks)]
        edited = edit_video(editor, frames, masks, text, settings, seed=seed, keyframe=first, on_progress=report)
    if one_picture:
        write_picture(output, edited[0], source.colour_profile)
    else:
        write_video(output, edited, source, lossless=lossless)
    print(output)


def _check_free(output: Path, inputs: list[Path], overwrite: bool) -> None:
    """Raise ConfigError where writing would lose a file that nobody said may go."""
    for file in inputs:
        if output.resolve() == file.resolve():
            raise ConfigError(f"the output {output} is the input; name another file")
    if output.is_dir():
        raise ConfigError(f"the output {output} is a folder; name a file in it")
    parent = next(folder for folder in output.resolve().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f"the output {output} cannot be written: {parent} is no folder one may write into")
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists already; name another file or add --overwrite")


class _Region:
    """Where to edit. Files are read and checked at once; following, which takes time, waits for `masks`."""

    def __init__(
        self, source: VideoFile, mask: Path | None, box: str | None, still: bool, *, first_only: bool = False
    ) -> None:
        from train.mask_sources import parse_box
        from train.video_files import read_masks

        self.source, self.still = source, still
        self.given: npt.NDArray[np.bool_] | None = None
        if mask is not None:
            self.given = read_masks(mask, source, first_only=first_only)
        self.box: Box | None = None if box is None else parse_box(box, source.frames[0])
        if still and self.given is not None and len(self.given) > 1:
            raise ConfigError(f"--still is for a mask image or a box, and {mask} is a video")

    def masks(self, count: int, config: Config) -> npt.NDArray[np.bool_]:
        """Masks (count, height, width) of the first frames. Raises ValueError when the thing cannot be followed."""
        from train.mask_sources import filled_box, follow, mask_in_box, stay

        frames = self.source.frames[:count]
        if self.given is not None and len(self.given) == len(self.source.frames):
            return self.given[:count]
        if self.given is not None:
            first = self.given[0]
        else:
            assert self.box is not None, "either a mask or a box is given"
            picture = frames[0]
            first = filled_box(picture, self.box) if self.still else mask_in_box(_segmenter(config), picture, self.box)
        if self.still or count == 1:
            return stay(count, first)
        return follow(_tracker(config), list(frames), first)


def _tracker(config: Config) -> Tracker:
    from models.registry import ModelResources, make_model

    choice = config.models()["stages.propagate.tracker"]
    tracker: Tracker = make_model(choice, ModelResources(devices=config.devices))
    return tracker


def _segmenter(config: Config) -> Segmenter:
    from models.registry import ModelResources, make_model

    choice = config.models()["stages.segment.segmenter"]
    segmenter: Segmenter = make_model(choice, ModelResources(devices=config.devices))
    return segmenter
