"""What is compared in an evaluation: our editor, baselines that need no training, and the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from train.background_fill import fill_from_other_frames, inpaint_frames
from train.editing import EditSettings, edit_video
from train.inpaint_pipeline import VividInpaintPipeline
from train.triples import ADD_MODIFY, DELETE, Triple
from train.video_files import read_video

Video = npt.NDArray[np.uint8]
RESULT_ENDINGS = (".mkv", ".mp4", "_edit.mkv", "_edit.mp4")


class Editor(Protocol):
    """Something that edits. `tasks` says what it can do."""

    name: str
    tasks: tuple[str, ...]

    def edit(self, triple: Triple) -> Video:
        """The edited video, of the triple's size and length. Raises ValueError where it has no answer."""
        ...


class Identity:
    """Changes nothing: BP 0, and what TA and TC the original has."""

    name = "identity"
    tasks = (ADD_MODIFY, DELETE)

    def edit(self, triple: Triple) -> Video:
        return triple.frames


class CopyMasked:
    """Leaves the hole: the masked video as the model is given it, mid-grey inside the mask."""

    name = "grey hole"
    tasks = (ADD_MODIFY, DELETE)

    def edit(self, triple: Triple) -> Video:
        return np.where(triple.masks[..., None], np.uint8(128), triple.frames)


class FrameInpainting:
    """OpenCV's inpainting, frame by frame."""

    name = "OpenCV inpainting"
    tasks = (DELETE,)

    def edit(self, triple: Triple) -> Video:
        return inpaint_frames(triple.frames, triple.masks)


class TemporalFill:
    """Background of other frames, carried along the camera's motion."""

    name = "background of other frames"
    tasks = (DELETE,)

    def edit(self, triple: Triple) -> Video:
        return fill_from_other_frames(triple.frames, triple.masks)


class ModelEditor:
    """A trained editor."""

    tasks = (ADD_MODIFY, DELETE)

    def __init__(self, name: str, pipeline: VividInpaintPipeline, settings: EditSettings, seed: int) -> None:
        self.name, self.pipeline, self.settings, self.seed = name, pipeline, settings, seed

    def edit(self, triple: Triple) -> Video:
        return edit_video(self.pipeline, triple.frames, triple.masks, triple.caption, self.settings, seed=self.seed)


class ResultFolder:
    """Another tool's results: ``<name>.mp4`` or ``<name>_edit.mp4`` (or .mkv) per triple, of its size and length."""

    tasks = (ADD_MODIFY, DELETE)

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def edit(self, triple: Triple) -> Video:
        files = [self.folder / f"{triple.name}{ending}" for ending in RESULT_ENDINGS]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise ValueError(f"{self.folder} has no result for {triple.name}")
        frames = read_video(path).frames
        if frames.shape != triple.frames.shape:
            raise ValueError(f"{path} is {frames.shape}, and what was to be edited is {triple.frames.shape}")
        return frames
