"""What is looked at before any work starts: weights, devices, endpoints. A run that cannot end well never begins.

Only phases with work left are looked at: a finished dataset asks for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console

from models.placement import cuda_devices, place
from models.registry import ModelChoice, ModelResources, model_class, weights_of
from models.weights import list_with, weights_folders
from pipeline.config import Config

CPU_TIMES: dict[str, str | None] = {
    "ram": None,
    "grounding_dino": "grounding_dino 17 s per image",
    "sam2": None,
    "sam2_tracker": "sam2_tracker 7.5 s per frame (hiera-tiny with two objects; the large one takes longer)",
    "raft": "raft 1.7 s per pair of 480p frames (the small one)",
    "internvl": None,
    "clip": None,
}
"""Networks that are slow without a GPU, with the CPU time one core was measured to take; None: not measured."""


class ModelsNotReady(ValueError):
    """A model of the configuration cannot work. The text is one sentence."""


def on_this_machine(address: str | None) -> bool:
    """Whether the work is done here, and not on a cluster whose nodes have devices of their own."""
    return not (address or os.environ.get("RAY_ADDRESS"))


def check_models(config: Config, phases: Sequence[str], console: Console, *, here: bool) -> None:
    """Check all that the phases' models need; with `here`, this machine's devices too, and warn of a slow one.

    Raises ModelsNotReady at the first that cannot work.
    """
    _check_presence(config, phases)
    resources, slow = ModelResources(devices=config.devices), []
    for where, choice in config.models(phases).items():
        with console.status(f"checking {choice.name}"):
            _check(where, choice, resources, here)
        if choice.name in CPU_TIMES and resources.device(choice.name).device in ("auto", "cpu"):
            slow.append(choice.name)
    if here and slow and not cuda_devices():
        console.print(cpu_warning(slow), style="yellow", highlight=False, markup=False, soft_wrap=True)


def _check_presence(config: Config, phases: Sequence[str]) -> None:
    absent = [name for name in config.weights(phases) if list_with(name).missing(name)]
    if len(absent) > 1:
        raise ModelsNotReady(
            f"the weights {', '.join(absent)} are not on this machine (or not all of their files): fetch them with "
            f"`vivid weights {' '.join(absent)}`, or name a mirror in VIVID_WEIGHTS; looked in "
            + " and ".join(str(folder) for folder in weights_folders())
        )


def _check(where: str, choice: ModelChoice, resources: ModelResources, here: bool) -> None:
    try:
        cls, weight = model_class(choice.name), weights_of(choice)
        if weight is not None:
            list_with(weight).check(weight)
            if here:
                place(resources.device(choice.name))
        check = getattr(cls, "check", None)
        if check is not None:
            check(cls.Settings.model_validate(choice.settings))
    except ValueError as error:
        raise ModelsNotReady(f"{where} ({choice.name}): {error}") from error


def cpu_warning(names: Sequence[str]) -> str:
    """What to expect of networks without a GPU."""
    used = list(dict.fromkeys(names))
    measured = "; ".join(text for name in used if (text := CPU_TIMES[name]))
    unmeasured = ", ".join(name for name in used if CPU_TIMES[name] is None)
    return (
        f"no CUDA device here: {', '.join(used)} run on the CPU in float32, which is for trying out"
        + (f"; measured CPU time: {measured}" if measured else "")
        + (f"; not measured: {unmeasured}" if unmeasured else "")
    )
