"""Which phases have work left, told from a dataset's folder before any of it is done."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.commits import read_commits
from manifests.storage import Store
from pipeline.annotate_phase import clip_items
from pipeline.config import WORK_PHASES
from pipeline.ingest_phase import ingest_items


def phases_left(store: Store, phases: Sequence[str], more: bool) -> tuple[str, ...]:
    """Those of `phases` that have parts to do, or may have when the ones before are through.

    `more`: sources or clips are about to be added.
    """
    if more or ingest_items(store):
        first = "ingest"
    elif _not_laid_out(store) or clip_items(store, "annotate"):
        first = "annotate"
    elif clip_items(store, "compose"):
        first = "compose"
    else:
        return ()
    left = WORK_PHASES[WORK_PHASES.index(first) :]
    return tuple(phase for phase in phases if phase in left)


def _not_laid_out(store: Store) -> bool:
    """Whether clips were found that are in no part yet."""
    taken = {part for commit in read_commits(store, "layout").values() for part in commit.facts.get("ingest_parts", ())}
    return any(part not in taken for part in read_commits(store, "ingest"))
