"""What is compared in an evaluation: trained editors, baselines that need no training, and the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from train.background_fill import fill_from_other_frames, inpaint_frames
from train.editing import EditSettings, edit_video
from train.inpaint_pipeline import VividInpaintPipeline
from train.triples import ADD_MODIFY, DELETE, Triple
from train.video_files import read_video

Video = npt.NDArray[np.uint8]
RESULT_ENDINGS = (".mkv", ".mp4", "_edit.mkv", "_edit.mp4", ".png", "_edit.png")


class Editor(Protocol):
    """Something that edits. `tasks` says what it can do, `says` what it is, in a sentence."""

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def says(self) -> str: ...

    def edit(self, triple: Triple) -> Video:
        """The edited video, of the triple's size and length. Raises ValueError where it has no answer."""
        ...


@runtime_checkable
class RestoringEditor(Editor, Protocol):
    """An editor that puts the original back outside the mask, and can show what it had drawn there."""

    def edit_and_drawn(self, triple: Triple) -> tuple[Video, Video]:
        """The edited video, and the same before anything was put back."""
        ...


class Identity:
    """Changes nothing."""

    name = "identity"
    tasks = (ADD_MODIFY, DELETE)
    says = "the untouched video: BP 0, and the TA and TC of real footage"

    def edit(self, triple: Triple) -> Video:
        return triple.frames


class CopyMasked:
    """Leaves the hole: the masked video as the model is given it, mid-grey inside the mask."""

    name = "grey hole"
    tasks = (ADD_MODIFY, DELETE)
    says = "what a model is shown: mid-grey inside the mask"

    def edit(self, triple: Triple) -> Video:
        return np.where(triple.masks[..., None], np.uint8(128), triple.frames)


class FrameInpainting:
    """OpenCV's inpainting, frame by frame. It fills in background whatever the caption says: a floor for TA."""

    name = "OpenCV inpainting"
    tasks = (ADD_MODIFY, DELETE)
    says = "each frame filled in from around the mask (Telea 2004), whatever the caption says"

    def edit(self, triple: Triple) -> Video:
        return inpaint_frames(triple.frames, triple.masks)


class TemporalFill:
    """Background of other frames, carried along the camera's motion."""

    name = "background of other frames"
    tasks = (DELETE,)
    says = "what other frames show there, carried along the camera's motion; the rest inpainted"

    def edit(self, triple: Triple) -> Video:
        return fill_from_other_frames(triple.frames, triple.masks)


class ModelEditor:
    """A trained editor."""

    tasks = (ADD_MODIFY, DELETE)

    def __init__(self, name: str, pipeline: VividInpaintPipeline, settings: EditSettings, seed: int) -> None:
        self.name, self.pipeline, self.settings, self.seed = name, pipeline, settings, seed
        outside = (
            "restored outside the mask, so its BP is 0" if settings.restore else "nothing put back outside the mask"
        )
        self.says = f"a trained editor: {settings.steps} denoising steps, guidance {settings.guidance:g}, {outside}"

    def edit(self, triple: Triple) -> Video:
        return self.edit_and_drawn(triple)[0]

    def edit_and_drawn(self, triple: Triple) -> tuple[Video, Video]:
        """The edited video, and what the model drew: one edit gives both."""
        drawn = triple.frames.copy()

        def keep(start: int, frames: Video) -> None:
            drawn[start : start + len(frames)] = frames

        edited = edit_video(
            self.pipeline,
            triple.frames,
            triple.masks,
            triple.caption,
            self.settings,
            seed=self.seed,
            on_drawn=keep,
        )
        return edited, drawn


class ResultFolder:
    """Another tool's results: ``<name>.mp4`` or ``<name>_edit.mp4`` (or .mkv, .png) per triple, of its size and length.

    Raises ValueError when there is no such folder.
    """

    tasks = (ADD_MODIFY, DELETE)

    def __init__(self, name: str, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder} with results of {name}")
        self.name, self.folder = name, folder
        self.says = "results read from files: the encoding of an .mp4 counts in their BP, that of an FFV1 .mkv is none"

    def edit(self, triple: Triple) -> Video:
        files = [self.folder / f"{triple.name}{ending}" for ending in RESULT_ENDINGS]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise ValueError(f"{self.folder} has no result for {triple.name}")
        frames = read_video(path).frames
        if frames.shape != triple.frames.shape:
            raise ValueError(f"{path} is {_shape(frames)}, and what was to be edited is {_shape(triple.frames)}")
        return frames


def _shape(frames: Video) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frames of {width}×{height}"
