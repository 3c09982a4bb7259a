"""What the held-out edits are judged by: the error where something was deleted, and the colour of what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLCogVideoX
from learn_clips import PAINT
from learn_latents import read_whole
from learn_train import WINDOWS
from learn_vae import round_trip

from manifests.dataset import Dataset
from manifests.ids import draw_choice, draw_order
from models.colour_names import oklab
from train.conditioning import to_model_range, to_pixels
from train.data import SampleReader
from train.editing import EditSettings, edit_video
from train.editors import Editor
from train.inpaint_pipeline import VividInpaintPipeline
from train.metrics import masked_error
from train.restoration import restore_unmasked
from train.sample_table import Sample, SampleTable
from train.triples import ADD_MODIFY, DELETE, Triple

Video = npt.NDArray[np.uint8]

SWAP = {"red": "blue", "blue": "red"}
COLOURED = 0.06
"""Chroma (OKLab) by which a drawn thing stands out from the background. On training clips things have 0.08 and more
after a round trip through the VAE, and places without one less than 0.045."""
STANDING_OUT = 0.25
"""Share of the masked pixels that is looked at: loose masks hold mostly background."""


class RoundTrip:
    """The truth through the VAE and back: the best that any editor with this VAE can do."""

    name = "VAE round trip of the truth"
    tasks = (ADD_MODIFY, DELETE)
    says = "what the VAE alone costs"

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        self.vae = vae

    def edit(self, triple: Triple) -> Video:
        rebuilt = to_pixels(round_trip(self.vae, to_model_range(triple.frames).unsqueeze(0))[0])
        return restore_unmasked(triple.frames, rebuilt, triple.masks, 0)


@dataclass(frozen=True)
class Swap:
    """One held-out thing drawn with its own caption and with the other colour's."""

    triple: Triple
    own: str
    edits: dict[str, Video]
    """By colour asked for."""
    drawn: dict[str, str | None]
    """Colour found in each of them."""

    @property
    def follows(self) -> bool:
        """Whether the drawn colour is the asked one with both captions."""
        return all(asked == found for asked, found in self.drawn.items())


def edit_settings(guidance: float, steps: int) -> EditSettings:
    """How the bench edits: hard seams, so that every masked pixel is the model's."""
    return EditSettings(
        height=WINDOWS.height, width=WINDOWS.width, frames=WINDOWS.frames, steps=steps, guidance=guidance, feather=0
    )


def deletions(url: str, split: str, count: int, seed: int) -> list[Triple]:
    """Deletions of a split, one per track."""
    return _triples(url, _one_per_track(url, split, DELETE, ("fixed",), count, seed))


def coloured_things(url: str, split: str, count: int, seed: int) -> list[Triple]:
    """Things whose medium caption says red or blue, one per track."""
    return _triples(url, _one_per_track(url, split, ADD_MODIFY, ("medium",), count, seed, words=tuple(SWAP)))


def swap_colours(
    pipeline: VividInpaintPipeline, triples: Sequence[Triple], settings: EditSettings, seed: int
) -> list[Swap]:
    """Draw every thing twice from the same noise: as its caption says, and with red and blue exchanged."""
    swaps = []
    for triple in triples:
        own = next(word for word in triple.caption.split() if word in SWAP)
        edits = {
            colour: edit_video(
                pipeline,
                triple.frames,
                triple.masks,
                triple.caption.replace(own, colour),
                settings,
                seed=seed,
            )
            for colour in (own, SWAP[own])
        }
        drawn = {colour: drawn_colour(edit, triple.masks) for colour, edit in edits.items()}
        swaps.append(Swap(triple, own, edits, drawn))
    return swaps


def drawn_colour(video: Video, masks: npt.NDArray[np.bool_]) -> str | None:
    """Name of the paint nearest in hue to what stands out most inside the mask; None where nothing does.

    What stands out is the quarter of the masked pixels whose chroma differs most from the unmasked background's.
    """
    chroma = oklab(video)[..., 1:]
    inside = chroma[masks] - np.median(chroma[~masks], axis=0)
    distance = np.linalg.norm(inside, axis=1)
    drawn = inside[distance >= np.quantile(distance, 1 - STANDING_OUT)].mean(axis=0)
    if np.linalg.norm(drawn) < COLOURED:
        return None
    names = list(PAINT)
    hues = oklab(np.asarray([PAINT[name] for name in names], np.uint8))[:, 1:]
    return names[int(np.argmax(hues @ drawn / np.linalg.norm(hues, axis=1)))]


def errors(editor: Editor, triples: Sequence[Triple]) -> list[float]:
    """Error inside the mask (0..255) of every triple's edit, against the clip itself."""
    found = [masked_error(triple.frames, editor.edit(triple), triple.masks) for triple in triples]
    return [value for value in found if value is not None]


def load_editor(folder: Path) -> VividInpaintPipeline:
    """A quiet editor in float32."""
    pipeline = VividInpaintPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _triples(url: str, samples: Sequence[Sample]) -> list[Triple]:
    reader, triples = SampleReader(url, WINDOWS, seed=0), []
    for sample in samples:
        example = read_whole(reader, sample)
        assert example.frames is not None, "this reader has no stored latents"
        frames = example.frames
        triples.append(Triple(sample.sample_id, sample.task, frames, example.masks, sample.caption, 1.0, frames))
    return triples


def _one_per_track(
    url: str, split: str, task: str, kinds: Sequence[str], count: int, seed: int, words: Sequence[str] = ()
) -> list[Sample]:
    table = SampleTable(Dataset(url), split)
    rows = table.strata["video", task]
    tracks: dict[str, list[int]] = {}
    columns = (rows[name].to_pylist() for name in ("track_id", "caption_kind", "caption"))
    for row, (track, kind, caption) in enumerate(zip(*columns, strict=True)):
        if kind in kinds and (not words or sum(word in words for word in caption.split()) == 1):
            tracks.setdefault(track, []).append(row)
    chosen = draw_order(seed, f"bench {task}", list(tracks))[:count]
    return [
        table.sample(("video", task), tracks[track][draw_choice(seed, track, "bench", len(tracks[track]))])
        for track in chosen
    ]
