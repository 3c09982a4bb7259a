"""`vivid plan`: what a run of N clips would take, scaled from a finished dataset."""

from __future__ import annotations

from typing import Any

MIB, GIB = 2**20, 2**30


def plan_text(summary: dict[str, Any], clips: int, actors: int = 1) -> str:
    """A page for the terminal. Raises ValueError when the dataset holds no clip to scale from."""
    measured = sum(summary["clips"].values())
    if not measured:
        raise ValueError("the dataset has no clips to scale from")
    factor = clips / measured
    lines = [f"{clips:,} clips, scaled from {measured:,} ({_kinds(summary)}); times are those of one actor"]
    seconds = dict(sorted(summary["stage_seconds"].items(), key=lambda item: -item[1]))
    for stage, value in seconds.items():
        lines.append(f"  {stage:<12} {value / measured:>9.3f} s per clip {value * factor / 3600:>12,.1f} hours")
    total = sum(seconds.values())
    lines.append(f"  {'all':<12} {total / measured:>9.3f} s per clip {total * factor / 3600:>12,.1f} hours")
    if actors > 1:
        lines.append(f"  with {actors} actors: {total * factor / 3600 / actors:,.1f} hours when none ever waits")
    for folder, size in summary["bytes"].items():
        lines.append(f"  {folder:<12} {size / measured / MIB:>8.2f} MiB per clip {size * factor / GIB:>10,.1f} GiB")
    samples = sum(summary["samples"].values())
    lines.append(f"  {'samples':<12} {samples / measured:>9.2f} per clip {samples * factor:>16,.0f}")
    lines.append("not in it: start of workers, loading of models, waiting for a store; other clips take other times")
    return "\n".join(lines)


def _kinds(summary: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in summary["clips"].items())
