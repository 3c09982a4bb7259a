"""Which base latents were made with: a fingerprint of its VAE and its text encoder, wherever a copy of it lies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from train.base_model import find_components
from train.checkpoint import first_line

PARTS = {"vae": ("vae",), "text": ("text_encoder", "tokenizer")}
SUFFIXES = (".json", ".safetensors", ".model", ".txt")
TRANSFORMER_CONFIG = "transformer/config.json"
DEFAULT_TOKENS = 226
WHOLE_BYTES = 16 * 2**20
"""Files up to this size are hashed whole."""
BLOCKS, BLOCK_BYTES = 64, 2**16
"""Of a larger file so many blocks, spread evenly, are hashed with its size: weights that were trained further differ
everywhere, and ten gigabytes of text encoder need not be read before every run."""


class BaseIdentity(BaseModel, frozen=True, extra="forbid"):
    """What of a base decides its latents and text embeddings."""

    vae: str = Field(description="16 hex digits over the VAE's files")
    text: str = Field(description="16 hex digits over the files of text encoder and tokenizer")
    max_tokens: int = Field(ge=1, description="tokens the transformer reads")


def base_folder(base: str | Path) -> Path:
    """The local folder of a base's parts; from a hub they are fetched first. Raises ValueError, one sentence."""
    source, revision = find_components(base)
    if Path(source).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise ValueError(f"there is no CogVideoX base in {source}: no such folder")
    from huggingface_hub import snapshot_download

    wanted = [f"{folder}/*" for folders in PARTS.values() for folder in folders]
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=[*wanted, TRANSFORMER_CONFIG]))
    except (OSError, ValueError) as error:
        raise ValueError(f"there is no folder {source}, and the hub does not give it: {first_line(error)}") from error


def identify(folder: Path) -> BaseIdentity:
    """The identity of the base in a local folder. Raises ValueError with one sentence when parts are missing."""
    digests = {name: _digest(folder, folders) for name, folders in PARTS.items()}
    return BaseIdentity(**digests, max_tokens=_max_tokens(folder))


def _max_tokens(folder: Path) -> int:
    path = folder / TRANSFORMER_CONFIG
    if not path.is_file():
        return DEFAULT_TOKENS
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON") from error
    return int(document.get("max_text_seq_length", DEFAULT_TOKENS))


def _digest(folder: Path, parts: tuple[str, ...]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        files = sorted(path for path in (folder / part).glob("*") if path.suffix in SUFFIXES)
        if not files:
            raise ValueError(f"{folder} is no CogVideoX base: it has no {part}")
        for path in files:
            size = path.stat().st_size
            hasher.update(f"{part}/{path.name} {size}\n".encode())
            _add_content(hasher, path, size)
    return hasher.hexdigest()[:16]


def _add_content(hasher: Any, path: Path, size: int) -> None:
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            hasher.update(file.read())
            return
        for number in range(BLOCKS):
            file.seek((size - BLOCK_BYTES) * number // (BLOCKS - 1))
            hasher.update(file.read(BLOCK_BYTES))
