"""The result of a training as a folder: what was learnt, what it was learnt on, and a card that says so.

inpaint.json                        what the weights mean: base, channel order, sizes
pytorch_lora_weights.safetensors    mode lora: the update, as diffusers and peft write and read it
patch_embed.safetensors             mode lora: the whole patch embedder
transformer/                        mode full: the transformer, as diffusers writes it
README.md                           model card
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.loaders import CogVideoXLoraLoaderMixin
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from train.conditioning import CHANNEL_ORDER, MASKED_FILL
from train.lora import ADAPTER, AdaptationSettings
from train.model_card import model_card
from train.positions import keep_learned_positions
from train.provenance import Provenance

CONFIG_FILE = "inpaint.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
PATCH_EMBED_FILE = "patch_embed.safetensors"
TRANSFORMER_FOLDER = "transformer"
FORMAT_VERSION = 1

_PATCH_EMBED_KEYS = ("patch_embed.proj.weight", "patch_embed.proj.bias")


class CheckpointError(ValueError):
    """The folder is no checkpoint, or not one that can be used here. The text is one sentence."""


class CheckpointConfig(BaseModel, frozen=True, extra="forbid"):
    """What the weights of a checkpoint mean."""

    format_version: int = Field(default=FORMAT_VERSION, description="version of this folder's layout")
    mode: Literal["lora", "full"] = Field(description="lora: an update of the base; full: a whole transformer")
    base: str = Field(description="folder or hub name of the base, as it was given")
    base_revision: str | None = Field(default=None, description="revision of the base on the hub")
    base_fingerprint: str = Field(description="digest of a layer that a LoRA leaves alone; another base is refused")
    channel_order: tuple[str, ...] = Field(default=CHANNEL_ORDER, description="order of the input channels")
    masked_fill: float = Field(default=MASKED_FILL, description="what masked pixels become, in the range -1..1")
    height: int = Field(ge=16, description="pixels, as trained")
    width: int = Field(ge=16, description="pixels, as trained")
    num_frames: int = Field(ge=1, description="longest window trained on")
    lora_rank: int | None = Field(default=None, description="rank of the update; null in mode full")
    lora_alpha: int | None = Field(default=None, description="scale of the update times its rank; null in mode full")
    step: int = Field(default=0, ge=0, description="training steps done")
    provenance: Provenance | None = Field(default=None, description="dataset and settings; null: not recorded")


def describe(
    transformer: CogVideoXTransformer3DModel,
    settings: AdaptationSettings,
    *,
    base: str,
    base_revision: str | None = None,
    height: int,
    width: int,
    num_frames: int,
    provenance: Provenance | None = None,
) -> CheckpointConfig:
    """The configuration of a training that starts from `transformer` (expanded, not yet wrapped or sharded)."""
    lora = settings.mode == "lora"
    return CheckpointConfig(
        mode=settings.mode,
        base=base,
        base_revision=base_revision,
        base_fingerprint=fingerprint(transformer),
        height=height,
        width=width,
        num_frames=num_frames,
        lora_rank=settings.rank if lora else None,
        lora_alpha=settings.alpha if lora else None,
        provenance=provenance,
    )


def fingerprint(transformer: CogVideoXTransformer3DModel) -> str:
    """16 hex digits over the output projection in bfloat16: the same whether a base is loaded so or in float32."""
    weight = transformer.proj_out.weight.detach().to("cpu", torch.bfloat16).contiguous()
    return hashlib.sha256(weight.view(torch.int16).numpy().tobytes()).hexdigest()[:16]


def is_checkpoint(folder: str | Path) -> bool:
    """Whether the folder was written by `save_checkpoint`."""
    return (Path(folder) / CONFIG_FILE).is_file()


def read_config(folder: str | Path) -> CheckpointConfig:
    """What a checkpoint's weights mean. Raises CheckpointError when this release cannot use them."""
    path = Path(folder) / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(f"{folder} has checkpoint format {version}, and this release reads {FORMAT_VERSION}")
        config = CheckpointConfig.model_validate(document)
    except OSError as error:
        raise CheckpointError(f"{folder} is no checkpoint: {CONFIG_FILE} cannot be read") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path} is damaged: {where}: {first['msg']}") from error
    except (json.JSONDecodeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: it is not a JSON object") from error
    check_channels(config.channel_order, str(folder))
    if config.masked_fill != MASKED_FILL:
        raise CheckpointError(f"{folder} was trained with masked pixels at {config.masked_fill}, not {MASKED_FILL}")
    return config


def check_channels(order: Sequence[str], where: str) -> None:
    """Raise CheckpointError unless the input channels lie in the order this release gives them."""
    if tuple(order) != CHANNEL_ORDER:
        raise CheckpointError(
            f"{where} takes its channels in the order {', '.join(order)}, and here it is {', '.join(CHANNEL_ORDER)}"
        )


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends without an error, and vanishes otherwise.

    A folder of that name is replaced; one left by a killed run is removed at the next attempt. Its files get the
    permissions that the umask leaves.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, replaced = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    for leftover in (partial, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        # safetensors lets nobody but the owner read, whatever the umask; the new folder follows it.
        readers = partial.stat().st_mode & 0o666
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                path.chmod(readers)
            _sync(path)
        _sync(partial)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(
    folder: str | Path,
    transformer: CogVideoXTransformer3DModel,
    config: CheckpointConfig,
    *,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint whole or not at all."""
    with atomic_folder(Path(folder)) as partial:
        write_checkpoint(partial, transformer, config, state_dict=state_dict)


def write_checkpoint(
    folder: Path,
    transformer: CogVideoXTransformer3DModel,
    config: CheckpointConfig,
    *,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the files of a checkpoint into an existing folder (a trainer adds its own beside them).

    Args:
        folder: where to.
        transformer: the model, unwrapped, with its adapter in mode lora.
        config: from `describe`, with the present step.
        state_dict: the weights where the model's own are sharded (FSDP) or averaged (EMA); names as in the model.
    """
    weights = dict(transformer.state_dict() if state_dict is None else state_dict)
    if config.mode == "full":
        _holding(weights, transformer).save_pretrained(folder / TRANSFORMER_FOLDER)
        _forget_origin(folder / TRANSFORMER_FOLDER / "config.json")
    else:
        metadata = transformer.peft_config[ADAPTER].to_dict()
        # A set there, in another order in every process.
        metadata["target_modules"] = sorted(metadata["target_modules"])
        CogVideoXLoraLoaderMixin.save_lora_weights(
            folder,
            transformer_lora_layers=get_peft_model_state_dict(transformer, state_dict=weights, adapter_name=ADAPTER),
            # Without it alpha is lost, and an update of another alpha than rank comes back at the wrong scale.
            transformer_lora_adapter_metadata=metadata,
        )
        patch_embed = {key: weights[key].detach().cpu().contiguous() for key in _PATCH_EMBED_KEYS if key in weights}
        save_file(patch_embed, folder / PATCH_EMBED_FILE, {"channel_order": ",".join(config.channel_order)})
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(config), encoding="utf-8")


def _holding(weights: dict[str, Tensor], transformer: CogVideoXTransformer3DModel) -> CogVideoXTransformer3DModel:
    """A transformer of these weights: `save_pretrained` writes a model's own, and the name of its class, which
    sharding changes.
    """
    with torch.device("meta"):
        plain = CogVideoXTransformer3DModel.from_config(transformer.config)
    plain.load_state_dict(weights, assign=True)
    return plain


def _forget_origin(config: Path) -> None:
    """Take out where the base lay on this machine, which diffusers writes."""
    document = json.loads(config.read_text(encoding="utf-8"))
    document.pop("_name_or_path", None)
    config.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_weights(transformer: CogVideoXTransformer3DModel, folder: str | Path) -> CheckpointConfig:
    """Put a checkpoint's weights into an expanded base, in place, and return what they mean.

    In mode lora an adapter that is there (resuming) takes the update, else one is made. Raises CheckpointError when
    the checkpoint does not fit the transformer.
    """
    config = read_config(folder)
    if config.mode == "full":
        try:
            transformer.load_state_dict(load_full_transformer(folder).state_dict())
        except RuntimeError as error:
            raise CheckpointError(f"{folder} is not of this transformer's layers and sizes") from error
        return config
    if transformer.dtype != torch.float16 and fingerprint(transformer) != config.base_fingerprint:
        raise CheckpointError(f"{folder} was trained on another base ({config.base}) than the one it is loaded onto")
    try:
        _load_patch_embedding(transformer, Path(folder) / PATCH_EMBED_FILE)
        _load_update(transformer, Path(folder), config)
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {first_line(error)}") from error
    return config


def _load_patch_embedding(transformer: CogVideoXTransformer3DModel, path: Path) -> None:
    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get("channel_order", "unknown")
    check_channels(said.split(","), str(path))
    outcome = transformer.load_state_dict(load_file(path), strict=False)
    if outcome.unexpected_keys:
        raise CheckpointError(f"{path} holds weights that are not the patch embedder's: {outcome.unexpected_keys[0]}")


def _load_update(transformer: CogVideoXTransformer3DModel, folder: Path, config: CheckpointConfig) -> None:
    state, metadata = CogVideoXLoraLoaderMixin.lora_state_dict(
        str(folder), weight_name=LORA_FILE, use_safetensors=True, return_lora_metadata=True
    )
    live = getattr(transformer, "peft_config", {}).get(ADAPTER)
    if live is None:
        CogVideoXLoraLoaderMixin.load_lora_into_transformer(state, transformer, adapter_name=ADAPTER, metadata=metadata)
        return
    if (live.r, live.lora_alpha) != (config.lora_rank, config.lora_alpha):
        raise CheckpointError(
            f"{folder} has a LoRA of rank {config.lora_rank} and alpha {config.lora_alpha}, "
            f"not {live.r} and {live.lora_alpha}"
        )
    update = {key.removeprefix("transformer."): value for key, value in state.items()}
    outcome = set_peft_model_state_dict(transformer, update, adapter_name=ADAPTER)
    lacking = [key for key in outcome.missing_keys if f".{ADAPTER}." in key]
    if lacking or outcome.unexpected_keys:
        raise CheckpointError(f"{folder} updates other layers than these: {[*lacking, *outcome.unexpected_keys][0]}")


def load_full_transformer(folder: str | Path, dtype: torch.dtype | None = None) -> CogVideoXTransformer3DModel:
    """The transformer of a checkpoint of mode full. Raises CheckpointError when its files are damaged."""
    try:
        transformer = CogVideoXTransformer3DModel.from_pretrained(
            folder, subfolder=TRANSFORMER_FOLDER, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {first_line(error)}") from error
    keep_learned_positions(transformer)
    return transformer


def first_line(error: Exception) -> str:
    """What a library complains of, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
