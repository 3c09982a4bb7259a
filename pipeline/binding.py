"""``run.json``: what a dataset's folder is bound to, and the epoch of the run that holds it."""

from __future__ import annotations

import contextlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from manifests.commits import RUN_FILE, read_run
from manifests.differences import differences
from manifests.storage import Store
from pipeline.config import Config, semantic_hash

FORMAT = 1
STAMPED = ("numpy", "opencv-python", "av", "pyarrow", "pycocotools", "scenedetect", "pillow")
"""Libraries whose version can change the bytes of the result."""
STAMPED_WITH_NETWORKS = ("onnxruntime", "timm", "torch", "torchvision", "transformers")
"""Stamped as well, where installed, when the configuration uses networks."""


class ConfigMismatch(Exception):
    """The folder was made with another semantic configuration. The text names the fields."""


def environment(networks: bool = False) -> dict[str, str]:
    """Versions and CPU type: byte-identical results are promised for equal ones, without networks."""
    versions = {name: version(name) for name in STAMPED}
    if networks:
        for name in STAMPED_WITH_NETWORKS:
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(name)
    return {"python": platform.python_version(), "cpu": _cpu_type(), **versions}


def _cpu_type() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


def bind(store: Store, config: Config, console: Console) -> int:
    """Bind a new folder to the configuration, or check that it is the one it is bound to; returns the new epoch.

    Raises ConfigMismatch with the differing fields. Another version of a library only warns.
    """
    semantic, versions = config.semantic(), environment(networks=bool(config.weights()))
    document = read_run(store)
    if document is None:
        document = {"format": FORMAT, "epoch": 0, "roots": {}}
    elif document["semantic_hash"] != semantic_hash(semantic):
        lines = differences(semantic, document["semantic"])
        shown = "; ".join(lines[:8]) + (f"; and {len(lines) - 8} more" if len(lines) > 8 else "")
        raise ConfigMismatch(
            f"{store.url} was made with another configuration ({shown}); use the same one or another folder"
        )
    else:
        for line in differences(versions, document["environment"]):
            console.print(
                f"other environment than at the last run, bytes may differ: {line}",
                style="yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    document |= {
        "epoch": document["epoch"] + 1,
        "profile": config.profile,
        "semantic_hash": semantic_hash(semantic),
        "semantic": semantic,
        "environment": versions,
        "config": config.model_dump(mode="json"),
    }
    store.replace(RUN_FILE, _dump(document))
    return int(document["epoch"])


def bind_roots(store: Store, roots: dict[str, str]) -> dict[str, str]:
    """Remember where each root lies (a moved root is taken over); returns all known roots."""
    document = read_run(store)
    assert document is not None, "bind comes first"
    merged: dict[str, str] = {**document["roots"], **roots}
    if merged != document["roots"]:
        store.replace(RUN_FILE, _dump({**document, "roots": merged}))
    return merged


def _dump(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
