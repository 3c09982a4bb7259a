"""``run.json`` of a set of latents: what it is bound to, and the epoch of the run that holds it."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from rich.console import Console

from manifests.commits import RUN_FILE, read_run
from manifests.differences import differences
from manifests.storage import Store
from pipeline.binding import ConfigMismatch, environment
from train.latent_settings import ENCODER_VERSION, LatentSettings

FORMAT = 1


def environment_with_base() -> dict[str, str]:
    """Versions and CPU type that may change the bytes."""
    return {**environment(networks=True), "diffusers": version("diffusers")}


def bind_latents(store: Store, base: str, identity: dict[str, Any], settings: LatentSettings, console: Console) -> int:
    """Bind a new set to a base and settings, or check that it is bound to them; returns the new epoch.

    Raises ConfigMismatch with the differing fields. Another version of a library only warns.
    """
    semantic = {"version": ENCODER_VERSION, "base": identity, "settings": settings.model_dump(mode="json")}
    versions = environment_with_base()
    document = read_run(store)
    if document is None:
        document = {"format": FORMAT, "epoch": 0}
    elif lines := differences(semantic, document["semantic"]):
        raise ConfigMismatch(
            f"{store.url} was made with other settings ({'; '.join(lines)}); use the same ones or another --name"
        )
    else:
        for line in differences(versions, document["environment"]):
            console.print(
                f"other environment than at the last run, latents may differ: {line}",
                style="yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    document |= {"epoch": document["epoch"] + 1, "base": base, "semantic": semantic, "environment": versions}
    store.replace(RUN_FILE, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
    return int(document["epoch"])
