"""Precomputed latents beside a dataset: where they lie, and the rows that say where each of them is.

A set of latents is a folder ``OUT/latents/<name>`` with the commit protocol of a dataset: a run file that binds it to
one base and one kind of windows, commits, tars, and Parquet indices. What is not committed in it does not exist.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

LATENTS_FOLDER = "latents"
DEFAULT_NAME = "default"
LATENT_PHASES = ("latents", "captions")
"""Phases of a set, numbered as the dataset's parts: the clips of a part, and the captions first seen in it."""
LATENT_FOLDERS = ("clips", "captions", "index", "rejects")
"""Folders of a set in which a file that no commit names is rubbish."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class LatentRow:
    """Index of one tar of latents: the pixels of each window, and masked pixels for some of the masks."""

    key: Annotated[int, "what it is looked up by: `entry_key` of the five columns that follow"]
    clip_id: Annotated[str, "the clip"]
    window_id: Annotated[str, "16 hex digits over the window's frames and crop"]
    track_id: Annotated[str | None, "masked pixels: track whose masks are taken out; null: the whole pixels"]
    mask_variant: Annotated[str | None, "masked pixels: variant of the masks"]
    kive: Annotated[int | None, "masked pixels: 1 where the first frame is shown whole (keyframe), else 0"]
    window: Annotated[int, "number of the window among the clip's"]
    start: Annotated[int, "first frame of the window"]
    x0: Annotated[float, "left side of the crop, pixels of the clip"]
    y0: Annotated[float, "upper side of the crop, pixels of the clip"]
    member: Annotated[str, "tar member: safetensors with `mean` (frames, channels, h, w) and `scale`"]
    offset: Annotated[int, "first byte of the member's data in the tar"]
    size: Annotated[int, "bytes of the member's data"]


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """Index of one tar of text embeddings: each distinct caption's, trimmed to its tokens."""

    key: Annotated[int, "what it is looked up by: `caption_key`"]
    tokens: Annotated[int, "tokens stored; of the empty prompt all that the model reads"]
    member: Annotated[str, "tar member: safetensors with `text` (tokens, features)"]
    offset: Annotated[int, "first byte of the member's data in the tar"]
    size: Annotated[int, "bytes of the member's data"]


def latents_url(dataset: str, name: str) -> str:
    """Folder or URL of a dataset's latents of that name. Raises ValueError for a name that is no plain word."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"latents are named with letters, digits, - and _, not '{name}'")
    return f"{dataset.rstrip('/')}/{LATENTS_FOLDER}/{name}"


def dataset_url(latents: str) -> str:
    """The dataset whose latents lie in a folder or URL; `latents_url` undone."""
    return latents.rpartition(f"/{LATENTS_FOLDER}/")[0]


def entry_key(
    clip: str, window: str, track: str | None = None, variant: str | None = None, kive: bool | None = None
) -> int:
    """Key of a window's latents; with a track and a variant, of its masked pixels' latents."""
    masked = "" if track is None else f"{track}/{variant}/{'kive' if kive else 'plain'}"
    return _key(f"latents/{clip}/{window}/{masked}")


def caption_key(caption: str) -> int:
    """Key of a caption's text embedding."""
    return _key(f"caption/{caption}")


def _key(text: str) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
