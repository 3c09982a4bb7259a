"""Reads what `vivid latents` has stored: latents by clip and window, masked latents by mask, text by caption.

The indices lie in memory as sorted arrays (24 bytes an entry); latents are read by byte range when they are asked for.
What is not there, or cannot be read, is left to the trainer to encode.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from manifests.commits import RUN_FILE, Commit, read_commits
from manifests.damage import read_document, read_table
from manifests.differences import differences
from manifests.latents import DEFAULT_NAME, caption_key, entry_key, latents_url
from manifests.storage import StorageError, Store, open_store
from stages.latent_work import window_id
from stages.windows import Window, WindowSettings
from train.base_identity import BaseIdentity, base_folder, identify
from train.data import Stored
from train.latent_members import unpack_latents, unpack_text
from train.latent_settings import LatentSettings
from train.sample_table import Sample
from train.text import EMPTY_PROMPT

log = logging.getLogger("vivid.train")

CACHED_TEXTS = 64
"""Text embeddings kept per process: that of deletion comes up all the time, those of one clip follow each other."""


@dataclass(frozen=True)
class Place:
    """Byte range of a member."""

    tar: str
    offset: int
    size: int


class RangeIndex:
    """Byte ranges by key, as arrays. Of a key that was stored twice the first part's counts."""

    def __init__(self, store: Store, commits: Iterable[Commit], table: str, tar: str) -> None:
        self.tars: list[str] = []
        tables: list[pa.Table] = []
        for commit in commits:
            rows, data = commit.file(table), commit.file(tar)
            if rows is not None and data is not None:
                tables.append(read_table(store, rows.path, ["key", "offset", "size"]))
                self.tars.append(data.path)
        keys = _column(tables, "key", np.int64)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._offsets = _column(tables, "offset", np.int64)[order]
        self._sizes = _column(tables, "size", np.int32)[order]
        self._tars = np.repeat(np.arange(len(tables), dtype=np.int32), [len(t) for t in tables])[order]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: int) -> Place | None:
        """Where the member of a key lies, None when there is none."""
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or int(self._keys[at]) != key:
            return None
        return Place(self.tars[self._tars[at]], int(self._offsets[at]), int(self._sizes[at]))


def _column(tables: list[pa.Table], name: str, kind: type[np.integer[Any]]) -> npt.NDArray[Any]:
    parts = [table[name].to_numpy() for table in tables]
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)


class StoredLatents:
    """One set of latents of a dataset, read-only; a `train.data.LatentStore`. May be sent to other processes.

    `settings` and `base` are what the set is bound to, `base_name` is where that base lay. Raises ValueError with one
    sentence when there is no such set.
    """

    def __init__(self, dataset: str | Path, name: str = DEFAULT_NAME) -> None:
        self.url = latents_url(str(dataset), name)
        store = open_store(self.url)
        try:
            document = read_document(store, RUN_FILE)
        except FileNotFoundError as error:
            raise ValueError(
                f"there are no latents '{name}' in {dataset}; `vivid latents {dataset} --name {name}` makes them"
            ) from error
        self.settings = LatentSettings.model_validate(document["semantic"]["settings"])
        self.base = BaseIdentity.model_validate(document["semantic"]["base"])
        self.base_name = str(document["base"])
        self._latents = RangeIndex(store, read_commits(store, "latents").values(), "latents", "latents.tar")
        self._texts = RangeIndex(store, read_commits(store, "captions").values(), "captions", "captions.tar")
        self._store: Store | None = store
        self._known_texts: OrderedDict[str, Tensor] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        # Each worker process opens the store anew: connections do not survive a fork or a pickle.
        return {**self.__dict__, "_store": None, "_known_texts": OrderedDict()}

    @property
    def windows(self) -> WindowSettings:
        """The windows that training must use to find anything."""
        return self.settings.windows

    def check(self, base: str | Path, windows: WindowSettings, seed: int) -> None:
        """Raise ValueError, one sentence, unless training with this base, these windows and this seed can use them."""
        ours: dict[str, Any] = {
            "base": identify(base_folder(base)).model_dump(),
            "windows": windows.model_dump(mode="json"),
            "seed": seed,
        }
        theirs: dict[str, Any] = {
            "base": self.base.model_dump(),
            "windows": self.windows.model_dump(mode="json"),
            "seed": self.settings.seed,
        }
        lines = differences(ours, theirs)
        if lines:
            wanted = [f"--base {self.base_name}"] if ours["base"] != theirs["base"] else []
            wanted += [f"seed={self.settings.seed}"] if seed != self.settings.seed else []
            wanted += [
                f"windows.{name}={json.dumps(value)} in every course"
                for name, value in theirs["windows"].items()
                if value != ours["windows"][name]
            ]
            raise ValueError(
                f"the latents in {self.url} were made for another training ({'; '.join(lines)}); "
                f"to use them, train with {', '.join(wanted)}"
            )

    def find(self, sample: Sample, window: Window, kive: bool) -> Stored:
        """What is there for a sample in a window; empty where nothing is."""
        shown = window_id(window)
        return Stored(
            self._read(entry_key(sample.clip_id, shown)),
            self._read(entry_key(sample.clip_id, shown, sample.track_id, sample.mask_variant, kive)),
            self._text(sample.caption),
        )

    def empty_text(self) -> Tensor | None:
        """The whole embedding of the empty prompt (max_tokens, features), None when it is not there yet."""
        return self._text(EMPTY_PROMPT)

    def _read(self, key: int) -> Tensor | None:
        place = self._latents.find(key)
        return self._unpacked(place, unpack_latents) if place is not None else None

    def _text(self, caption: str) -> Tensor | None:
        if caption in self._known_texts:
            self._known_texts.move_to_end(caption)
            return self._known_texts[caption]
        place = self._texts.find(caption_key(caption))
        text = self._unpacked(place, unpack_text) if place is not None else None
        if text is not None:
            self._known_texts[caption] = text
            if len(self._known_texts) > CACHED_TEXTS:
                self._known_texts.popitem(last=False)
        return text

    def _unpacked(self, place: Place, unpack: Callable[[bytes], Tensor]) -> Tensor | None:
        if self._store is None:
            self._store = open_store(self.url)
        try:
            return unpack(self._store.read_range(place.tar, place.offset, place.size))
        except (StorageError, OSError, ValueError) as error:
            log.warning("stored latents in %s/%s are not used: %s", self.url, place.tar, error)
            return None


def open_latents(dataset: str | Path, name: str = DEFAULT_NAME) -> StoredLatents:
    """The latents of that name beside a dataset. Raises ValueError with one sentence when there are none."""
    return StoredLatents(dataset, name)
