"""Prune: what the shards hold as well need not lie in the folder twice."""

from __future__ import annotations

from manifests.commits import read_commits, read_run
from manifests.lock import run_lock
from manifests.storage import Store, open_store
from pipeline.annotate_phase import clip_items
from pipeline.drive import RunError
from pipeline.ingest_phase import ingest_items


def prune(url: str) -> int:
    """Remove ``clips/*.tar`` of a complete dataset; returns the bytes freed.

    The far smaller ``masks/*.tar`` stay: parts that are appended later draw their donors from them. Raises RunError
    when parts are missing or the folder holds no run.
    """
    store = open_store(url)
    if read_run(store) is None:
        raise RunError(f"{url} holds no dataset")
    with run_lock(store):
        if not _is_complete(store):
            raise RunError("parts are still missing: run the job to its end before pruning")
        tars = [
            file
            for commit in read_commits(store, "ingest").values()
            if (file := commit.file("clips.tar")) is not None and store.exists(file.path)
        ]
        for file in tars:
            store.remove(file.path)
    return sum(file.size for file in tars)


def _is_complete(store: Store) -> bool:
    """Whether every listed source is read, every clip laid out and every part composed (so annotated before)."""
    laid_out = {part for commit in read_commits(store, "layout").values() for part in commit.facts["ingest_parts"]}
    return not (ingest_items(store) or read_commits(store, "ingest").keys() - laid_out or clip_items(store, "compose"))
