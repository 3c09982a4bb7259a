"""`vivid doctor`: what a profile's models need, what of it is on this machine, and where they would run."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any

from manifests.statistics import format_table
from models.placement import Dtype, Placement, cuda_devices, place
from models.registry import ModelChoice, ModelResources, model_class, weights_of
from models.weights import Weights, list_with, weights_folders
from pipeline.config import Config
from pipeline.weights_command import size_text, weight_state

DTYPE_BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOATS = {"F64", "F32", "F16", "BF16"}
STORED_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
TENSOR_FILES = (".safetensors", ".pt", ".pth", ".bin", ".onnx")
LIBRARIES = ("torch", "torchvision", "transformers", "timm", "onnxruntime", "diffusers", "peft", "accelerate")


def examine(config: Config) -> tuple[str, bool]:
    """A page for the terminal, and whether everything the profile requires is there."""
    resources = ModelResources(devices=config.devices)
    rows, sound = [], True
    for where, choice in config.models().items():
        cells, ready = _row(choice, resources)
        rows.append((where.removeprefix("stages."), choice.name, *cells))
        sound = sound and ready
    columns = ("stage", "model", "weight", "state", "revision", "on disk", "device", "memory")
    machine = [f"{name:<10} {text}" for name, text in _machine()]
    absent = [name for name in config.weights() if list_with(name).missing(name)]
    if absent:
        machine.append(f"{'to fetch':<10} vivid weights {' '.join(absent)}")
    verdict = f"profile {config.profile}: {'all there' if sound else 'not all there'}"
    return "\n".join((format_table(columns, rows), *machine, verdict)), sound


def _row(choice: ModelChoice, resources: ModelResources) -> tuple[list[str], bool]:
    name = weights_of(choice)
    if name is None:
        state, ready = _service_state(choice)
        return ["", state, "", "", "", ""], ready
    weights = list_with(name)
    state, ready = weight_state(weights, name)
    try:
        placement = place(resources.device(choice.name))
    except ValueError as error:
        return [name, state, weights.revision(name), size_text(weights, name), str(error), ""], False
    memory = memory_text(model_class(choice.name), weights.find(name), placement) if ready else ""
    device = f"{placement.device} {placement.dtype}"
    return [name, state, weights.revision(name), size_text(weights, name), device, memory], ready


def _service_state(choice: ModelChoice) -> tuple[str, bool]:
    """State of a model without weights: one that asks a server may be told by it."""
    cls = model_class(choice.name)
    check = getattr(cls, "check", None)
    if check is None:
        return "needs none", True
    try:
        check(cls.Settings.model_validate(choice.settings))
    except ValueError as error:
        return str(error), False
    return "answers", True


def memory_text(cls: Any, weights: Weights, placement: Placement) -> str:
    """Memory of the parameters, and of the work where the model class states what was measured (`working_bytes`)."""
    parameters = sum(parameter_bytes(path, placement.dtype) for path in weights.paths.values())
    exact = all(path.suffix == ".safetensors" for path in weights.paths.values() if path.suffix in TENSOR_FILES)
    working = getattr(cls, "working_bytes", None)
    work = f"{working / 2**20:,.0f} MiB" if working else "unknown"
    return f"{'' if exact else '≤ '}{parameters / 2**20:,.1f} MiB + work {work}"


def parameter_bytes(path: Path, dtype: Dtype) -> int:
    """Bytes that the tensors of a file take once loaded.

    From the header of a safetensors file; of other files all is taken for float32 parameters, which is an upper bound.
    """
    if path.suffix == ".safetensors":
        return sum(
            prod(tensor["shape"]) * (DTYPE_BYTES[dtype] if tensor["dtype"] in FLOATS else _stored(tensor["dtype"]))
            for name, tensor in _header(path).items()
            if name != "__metadata__"
        )
    return path.stat().st_size * DTYPE_BYTES[dtype] // 4 if path.suffix in TENSOR_FILES else 0


def _stored(dtype: str) -> int:
    return STORED_BYTES.get(dtype, 1)


def _header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: 8 bytes of length, then JSON. Empty when it is no such file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < path.stat().st_size else b"{}"
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return header


def _machine() -> list[tuple[str, str]]:
    """What else matters, by name."""
    import av
    import ray

    codecs = ".".join(str(number) for number in av.library_versions["libavcodec"])
    return [
        ("weights", ", then ".join(str(folder) for folder in weights_folders())),
        ("python", platform.python_version()),
        ("libraries", ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)),
        ("CUDA", _cuda()),
        ("av", f"{av.__version__} (libavcodec {codecs})"),
        ("ray", ray.__version__),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def _cuda() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return "not asked: the profile does without torch"
    if not cuda_devices():
        return "no device"
    found = [torch.cuda.get_device_properties(index) for index in range(cuda_devices())]
    return ", ".join(f"{device.name} {device.total_memory / 2**30:.0f} GiB" for device in found)
