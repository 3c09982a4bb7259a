"""What a run says at its end: the funnel and the last line."""

from __future__ import annotations

from typing import Any

from manifests.reasons import has_words, reason_words


def funnel_text(summary: dict[str, Any]) -> str:
    """The funnel as lines: what there is at each level, then every reason something was left out."""
    lines = [
        _line("sources", summary["sources"]),
        _line("clips", summary["clips"]),
        _line("tracks", summary["tracks"]),
        _line("samples", summary["samples"]),
    ]
    if summary["rejects"]:
        lines.append("left out:")
        lines += [
            f"  {row['count']:>6} {row['level']:<6} {row['state']:<8} {row['stage']}: {_reason(row['reason'])}"
            for row in summary["rejects"]
        ]
    other = summary["other_tags"]
    if other["total"]:
        words = ", ".join(f"{name} {count}" for name, count in other["most_frequent"].items())
        lines.append(f"tags of neither vocabulary: {other['total']} ({other['distinct']} words; most often {words})")
    return "\n".join(lines)


def _reason(code: str) -> str:
    """The code, which queries ask for, with its words."""
    return f"{code} ({reason_words(code)})" if has_words(code) else code


def _line(level: str, counts: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{level:<8} {sum(counts.values()):>7}" + (f"  ({parts})" if parts else "")


def failed_count(summary: dict[str, Any]) -> int:
    """Records that failed (not: were filtered)."""
    return sum(int(row["count"]) for row in summary["rejects"] if row["state"] == "failed")


def _can_be_retried(row: dict[str, Any]) -> bool:
    """Whether `vivid retry` takes such records: whole sources and clips, but not entries that were never listed."""
    return row["state"] == "failed" and row["level"] in ("source", "clip") and row["stage"] != "listing"


def last_line(summary: dict[str, Any], out: str, committed: int, seconds: float) -> str:
    """One sentence: what is in the folder, what failed, what this run did."""
    samples, clips = sum(summary["samples"].values()), summary["clips_with_samples"]
    failed = failed_count(summary)
    did = f"{committed} parts in {seconds:.1f} s" if committed else f"nothing to do ({seconds:.1f} s)"
    again = f"; `vivid retry {out}` tries them again" if any(map(_can_be_retried, summary["rejects"])) else ""
    bad = f", {failed} failed (see `vivid inspect {out}`{again})" if failed else ""
    return f"{out}: {samples} samples from {clips} clips in {summary['shards']} shards{bad}; {did}"
