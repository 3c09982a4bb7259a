"""Edits of trained models kept as files: what an interrupted evaluation has edited is not edited again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from stages.lossless import write_lossless
from train.editors import ModelEditor, Video
from train.inpaint_pipeline import VividInpaintPipeline
from train.triples import Triple
from train.video_files import read_video

WEIGHTS = ("transformer", "vae", "text_encoder")
LOOKED_AT = 64
"""Values of each weight that are looked at, spread evenly: weights that were trained further differ everywhere."""
LIBRARIES = ("torch", "diffusers", "vivid-pipeline")
"""Other versions of these may edit otherwise."""


class KeptEdits:
    """A folder of lossless edits, each under a name that says all it depends on: model, settings, seed, and the triple.

    So an edit is never taken for one of another model or of other settings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def of(self, editor: ModelEditor) -> KeptEditor:
        """The editor, with its finished edits kept here."""
        return KeptEditor(editor, self)

    def path(self, name: str) -> Path:
        """The file of an edit that this evaluation needs."""
        self._used.add(f"{name}.mkv")
        return self.folder / f"{name}.mkv"

    def remove_unused(self) -> None:
        """Remove what this evaluation did not need: edits of earlier settings, and halves of files."""
        for path in self.folder.glob("*.mkv*"):
            if path.name not in self._used:
                path.unlink(missing_ok=True)


class KeptEditor:
    """A trained editor that takes a kept edit where there is one."""

    tasks = ModelEditor.tasks

    def __init__(self, editor: ModelEditor, kept: KeptEdits) -> None:
        self.name, self.says = editor.name, editor.says
        self._editor, self._kept = editor, kept
        self._settings = f"{weights_digest(editor.pipeline)} {editor.settings.model_dump_json()} {editor.seed}"

    def edit(self, triple: Triple) -> Video:
        return self.edit_and_drawn(triple)[0]

    def edit_and_drawn(self, triple: Triple) -> tuple[Video, Video]:
        """The edited video, and what the model drew. Raises ValueError where it has no answer."""
        name = f"{triple.name}-{self._digest(triple)}"
        edited, drawn = self._kept.path(name), self._kept.path(f"{name}-drawn")
        if edited.is_file() and drawn.is_file():
            kept = _read_like(edited, triple), _read_like(drawn, triple)
            if kept[0] is not None and kept[1] is not None:
                return kept[0], kept[1]
        videos = self._editor.edit_and_drawn(triple)
        self._kept.folder.mkdir(parents=True, exist_ok=True)
        for path, video in zip((edited, drawn), videos, strict=True):
            # A file has its name once it is whole.
            partial = path.with_name(f"{path.name}.partial")
            write_lossless(partial, video, triple.fps)
            partial.replace(path)
        return videos

    def _digest(self, triple: Triple) -> str:
        hasher = hashlib.sha256(f"{self._settings} {triple.frames.shape} {triple.caption}".encode())
        hasher.update(triple.frames.tobytes())
        hasher.update(triple.masks.tobytes())
        return hasher.hexdigest()[:16]


def _read_like(path: Path, triple: Triple) -> Video | None:
    """A kept video, or None where the file was damaged since, as by a loss of power: it is then edited again."""
    try:
        frames = read_video(path).frames
    except ValueError:
        return None
    return frames if frames.shape == triple.frames.shape else None


def weights_digest(pipeline: VividInpaintPipeline) -> str:
    """16 hex digits over the weights as loaded, where and how they compute, and the libraries' versions."""
    versions = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    place = f"{pipeline._execution_device.type}, tiles {pipeline.vae.use_tiling}"
    hasher = hashlib.sha256(f"{versions} {place} {sorted(pipeline.scheduler.config.items())}".encode())
    for part in WEIGHTS:
        for name, weight in _weights(getattr(pipeline, part)):
            hasher.update(f"{part}.{name} {tuple(weight.shape)} {weight.dtype}".encode())
            values = weight.detach().flatten()
            picked = values[:: max(1, len(values) // LOOKED_AT)]
            hasher.update(picked.to("cpu", torch.float64).numpy().tobytes())
    return hasher.hexdigest()[:16]


def _weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, also those that accelerate's hooks keep in main memory (`--offload sequential`)."""
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        maps = [found for one in getattr(hook, "hooks", (hook,)) if (found := getattr(one, "weights_map", None))]
        for name, weight in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            yield f"{path}.{name}", maps[-1][name] if weight.is_meta else weight
