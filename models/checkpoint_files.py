"""Checkpoints in torch's own format (`.pt`, `.pth`): nothing in them is run, and what does not fit is named."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.weights import WeightsError

State = Mapping[str, Tensor]
"""Tensors of a network by name."""


def read_tensors(path: Path, under: str | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU: all of the file, or what stands `under` a name in it.

    Raises WeightsError, one sentence with the path, when the file is damaged or holds anything else.
    """
    try:
        # Mapped, not read: two thirds of RAM's 5.6 GB are parts for training. Only the zip format can be mapped.
        with warnings.catch_warnings(action="ignore"):
            document = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # Depending on where the damage is, torch raises any of a dozen kinds of errors.
    except Exception as error:
        raise WeightsError(f"the checkpoint {path} cannot be read: {reason(error)}") from error
    state = document.get(under) if under and isinstance(document, dict) else document
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise WeightsError(f"the checkpoint {path} has no tensors by name" + (f" under '{under}'" if under else ""))
    return dict(state)


def check_fit(given: State, wanted: State, what: str) -> None:
    """Compare a checkpoint's tensors with those of the network they are for: all of them and no others.

    Raises WeightsError that begins with `what` and names the first of each fault.
    """
    faults = {
        "lacks": sorted(wanted.keys() - given.keys()),
        "has the unknown": sorted(given.keys() - wanted.keys()),
        "has in another shape": sorted(
            f"{name} ({_shape(given[name])} for {_shape(wanted[name])})"
            for name in wanted.keys() & given.keys()
            if given[name].shape != wanted[name].shape
        ),
    }
    found = [f"{fault} {_first(names)}" for fault, names in faults.items() if names]
    if found:
        raise WeightsError(f"{what} does not fit its network: it {'; it '.join(found)}")


def reason(error: Exception) -> str:
    """What a reader of weights complains of, as the end of a sentence."""
    if isinstance(error, pickle.UnpicklingError):
        # Its own text advises to run whatever the file holds.
        return "it is damaged, or holds other things than tensors, which are never loaded"
    if isinstance(error, EOFError):
        return "it is empty or cut off"
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
