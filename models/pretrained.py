"""Loading the parts of a `transformers` model from a weight's folder: local, complete, and without remote code."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from transformers.utils import logging as library_log

from models.checkpoint_files import reason
from models.placement import Placement
from models.weights import Weights, WeightsError


def load_network(cls: Any, weights: Weights, placement: Placement) -> Any:
    """The network, for inference, on its device. Raises WeightsError when the files do not hold all of it."""
    with _quiet_library():
        network, found = _from_folder(
            cls,
            weights,
            dtype=getattr(torch, placement.dtype),
            use_safetensors=any(name.endswith(".safetensors") for name in weights.paths),
            weights_only=True,
            # Reported like what is missing, and refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    wrong = sorted([*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])])
    if wrong:
        raise WeightsError(
            f"the weight '{weights.name}' is no {cls.__name__}: {len(wrong)} of its parameters are missing or of "
            f"another shape, first {wrong[0]}"
        )
    return network.eval().to(placement.device)


def load_processor(cls: Any, weights: Weights) -> Any:
    """A tokenizer or image processor. Raises WeightsError when its files are not there or broken."""
    return _from_folder(cls, weights)


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Without the library's bar for every load, and its table of what does not match: here that is an error."""
    level = library_log.get_verbosity()
    library_log.set_verbosity(logging.ERROR)
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        library_log.set_verbosity(level)


def _from_folder(cls: Any, weights: Weights, **choices: Any) -> Any:
    try:
        return cls.from_pretrained(weights.folder, local_files_only=True, **choices)
    # The readers of safetensors and tokenizers raise bare exceptions of their own.
    except Exception as error:
        raise WeightsError(f"the weight '{weights.name}' cannot be read as {cls.__name__}: {reason(error)}") from error
