"""Finding a model: a CogVideoX base by folder or hub name, a checkpoint, or a whole saved inpainting pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import CogVideoXTransformer3DModel

from train.checkpoint import (
    CONFIG_FILE,
    TRANSFORMER_FOLDER,
    CheckpointError,
    check_channels,
    first_line,
    is_checkpoint,
    load_full_transformer,
    load_weights,
    read_config,
)
from train.patch_embedding import expand_patch_embedding, inpaint_channels
from train.positions import keep_learned_positions

PIPELINE_FILE = "model_index.json"


def load_inpaint_transformer(
    model: str | Path,
    *,
    base: str | Path | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
) -> CogVideoXTransformer3DModel:
    """A transformer with the inpainting channels, in evaluation mode.

    Args:
        model: a CogVideoX base (its output is then still the base's), a checkpoint, or a saved VividInpaintPipeline.
        base: where a checkpoint's base lies, if not where the checkpoint says.
        revision: of a base on the hub.
        dtype: number format; that of the files when None.

    Raises ValueError (CheckpointError for checkpoints) with one sentence when it cannot be used.
    """
    if is_checkpoint(model):
        config = read_config(model)
        if config.mode == "full":
            return load_full_transformer(model, dtype).eval()
        source, source_revision = _base_of(model, base, revision)
        transformer = load_inpaint_transformer(source, revision=source_revision, dtype=dtype)
        load_weights(transformer, model)
        for parameter in transformer.parameters():
            # What learnt was stored in float32.
            parameter.data = parameter.data.to(transformer.proj_out.weight.dtype)
        return transformer.eval()
    transformer = _load_transformer(model, revision, dtype)
    order = _channel_order(model)
    if order is None:
        expand_patch_embedding(transformer)
    else:
        check_channels(order, str(model))
        if transformer.config.in_channels != inpaint_channels(transformer):
            raise CheckpointError(f"{model} has a transformer of {transformer.config.in_channels} input channels")
        keep_learned_positions(transformer)
    return transformer.eval()


def load_learning_transformer(model: str | Path, dtype: torch.dtype | None = None) -> CogVideoXTransformer3DModel:
    """`load_inpaint_transformer` for training, which brings an adapter of its own: of a LoRA its base alone."""
    revision = None
    if is_checkpoint(model) and read_config(model).mode == "lora":
        model, revision = _base_of(model, None, None)
    return load_inpaint_transformer(model, revision=revision, dtype=dtype)


def components_source(model: str | Path, base: str | Path | None = None) -> str:
    """Where the parts that are not trained (VAE, text encoder, tokenizer, scheduler) lie: a folder or hub name."""
    return find_components(model, base=base)[0]


def find_components(
    model: str | Path, *, base: str | Path | None = None, revision: str | None = None
) -> tuple[str, str | None]:
    """`components_source` with the revision to take there."""
    seen = set[str]()
    source = str(model)
    while is_checkpoint(source):
        if source in seen:
            raise CheckpointError(f"{model} names itself as its base")
        seen.add(source)
        source, revision = _base_of(source, base, revision)
        base = None
    return source, revision


def _base_of(checkpoint: str | Path, base: str | Path | None, revision: str | None) -> tuple[str, str | None]:
    """A checkpoint's base and the revision of it; what the caller names goes before what the checkpoint says."""
    config = read_config(checkpoint)
    source = str(base or config.base)
    if (source.startswith((".", "/", "~")) or source.count("/") != 1) and not Path(source).is_dir():
        raise CheckpointError(
            f"{checkpoint} needs its base, and there is no folder {source}; say where it lies with base=, "
            f"or in {Path(checkpoint) / CONFIG_FILE}"
        )
    return source, revision if base else revision or config.base_revision


def _channel_order(model: str | Path) -> list[str] | None:
    """The order a saved inpainting pipeline states; None for any other model."""
    index = Path(model) / PIPELINE_FILE
    if not index.is_file():
        return None
    try:
        document = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{index} is damaged: it is not JSON") from error
    if document.get("_class_name") != "VividInpaintPipeline":
        return None
    return str(document.get("channel_order", "unknown")).split(",")


def _load_transformer(
    model: str | Path, revision: str | None, dtype: torch.dtype | None
) -> CogVideoXTransformer3DModel:
    try:
        return CogVideoXTransformer3DModel.from_pretrained(
            str(model), subfolder=TRANSFORMER_FOLDER, revision=revision, dtype=dtype, use_safetensors=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{model} is no CogVideoX base that can be loaded: {first_line(error)}") from error
