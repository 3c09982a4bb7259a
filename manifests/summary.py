"""The funnel of a dataset: how many things exist at each level, what was left out and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from manifests.commits import read_commits
from manifests.dataset import Dataset
from manifests.storage import Store

SUMMARY_FILE = "summary.json"
MOST_FREQUENT = 20
"""Tags of neither vocabulary that the summary names."""


def summarise(dataset: Dataset) -> dict[str, Any]:
    """Counts per level, task, kind and split, reject reasons, parts per phase, bytes, and seconds per stage."""
    with dataset.connect() as db:

        def counts(sql: str) -> dict[str, int]:
            return {str(key): int(value) for key, value in db.execute(sql).fetchall()}

        summary: dict[str, Any] = {
            "sources": counts("SELECT state, count(*) FROM sources GROUP BY 1 ORDER BY 1"),
            "clips": counts("SELECT kind, count(*) FROM clips GROUP BY 1 ORDER BY 1"),
            "clips_with_samples": _one(db.execute("SELECT count(DISTINCT clip_id) FROM samples").fetchone()),
            "tracks": counts("SELECT role, count(*) FROM tracks GROUP BY 1 ORDER BY 1"),
            "samples": counts("SELECT task, count(*) FROM samples GROUP BY 1 ORDER BY 1"),
            "samples_by_kind": counts("SELECT kind, count(*) FROM samples GROUP BY 1 ORDER BY 1"),
            "samples_by_split": counts("SELECT split, count(*) FROM samples GROUP BY 1 ORDER BY 1"),
            "rejects": [
                dict(zip(("level", "state", "stage", "reason", "count"), row, strict=True))
                for row in db.execute(
                    "SELECT level, state, stage, reason, count(*) FROM rejects GROUP BY ALL "
                    "ORDER BY min(list_position(['source', 'clip', 'track', 'sample'], level)), 5 DESC, 2, 3, 4"
                ).fetchall()
            ],
        }
    commits = [commit for phase in dataset.commits.values() for commit in phase.values()]
    summary["shards"] = sum(file.name == "shard" for commit in commits for file in commit.files)
    summary["parts"] = {phase: len(parts) for phase, parts in dataset.commits.items()}
    summary["bytes"] = {
        folder: sum(file.size for commit in commits for file in commit.files if file.path.startswith(f"{folder}/"))
        for folder in ("clips", "masks", "shards", "manifests")
    }
    summary["other_tags"] = _other_tags(dataset)
    seconds: dict[str, float] = {}
    for commit in commits:
        for stage, value in commit.timings.items():
            seconds[stage] = round(seconds.get(stage, 0.0) + value, 3)
    summary["stage_seconds"] = seconds
    return summary


def _other_tags(dataset: Dataset) -> dict[str, Any]:
    """How often the tagger said a word of neither vocabulary, and the most frequent of them."""
    counts: Counter[str] = Counter()
    for commit in dataset.commits["annotate"].values():
        counts.update(commit.facts.get("other_tags", {}))
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
    return {"total": counts.total(), "distinct": len(counts), "most_frequent": dict(frequent)}


def _one(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0


def write_summary(store: Store) -> dict[str, Any]:
    """Write ``summary.json`` and return what it says."""
    summary = summarise(Dataset(store))
    store.replace(SUMMARY_FILE, (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def failed_ids(store: Store) -> tuple[list[str], list[str]]:
    """Sources and clips whose newest word is ``failed``, in a fixed order: what `vivid retry` takes again."""
    dataset = Dataset(store)
    if not any(read_commits(store, phase) for phase in ("ingest", "annotate", "compose")):
        return [], []
    # A damaged source whose clips before the damage were kept counts as kept: it would give the same clips again.
    sources = dataset.query("SELECT source_id FROM sources WHERE state = 'failed' ORDER BY 1")
    clips = dataset.query(
        "SELECT id FROM rejects WHERE level = 'clip' AND state = 'failed' AND phase IN ('annotate', 'compose') "
        "ORDER BY 1"
    )
    return [str(row[0]) for row in sources[1]], [str(row[0]) for row in clips[1]]
