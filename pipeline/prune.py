"""Prune: what the shards hold as well need not lie in the folder twice."""

from __future__ import annotations

from manifests.commits import read_commits
from manifests.lock import run_lock
from manifests.storage import open_store
from pipeline.annotate_phase import clip_items
from pipeline.binding import read_run
from pipeline.ingest_phase import ingest_items
from pipeline.run import RunError


def prune(url: str) -> int:
    """Remove ``clips/*.tar`` and ``masks/*.tar`` of a complete dataset; returns the bytes freed.

    Raises RunError when parts are missing or the folder holds no run.
    """
    store = open_store(url)
    if read_run(store) is None:
        raise RunError(f"{url} holds no dataset")
    with run_lock(store):
        if ingest_items(store) or clip_items(store, "annotate") or clip_items(store, "compose"):
            raise RunError("parts are still missing: run the job to its end before pruning")
        tars = [
            file
            for phase, name in (("ingest", "clips.tar"), ("annotate", "masks.tar"))
            for commit in read_commits(store, phase).values()
            if (file := commit.file(name)) is not None and store.exists(file.path)
        ]
        for file in tars:
            store.remove(file.path)
    return sum(file.size for file in tars)
