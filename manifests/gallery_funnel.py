"""The funnel of a dataset on the gallery's page: how many things pass each step, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.dataset import Dataset
from manifests.gallery_data import Reason
from manifests.gallery_html import Html, element, joined
from manifests.reasons import reason_words


@dataclass(frozen=True)
class Step:
    """One level of the funnel. `kept` of `seen` things go on; `detail` breaks the kept ones down.

    `rest` things were left out without a reject row of their own.
    """

    name: str
    level: str | None
    kept: int
    seen: int
    detail: str
    rest: int = 0


def funnel_steps(dataset: Dataset) -> list[Step]:
    """The funnel: sources → clips → tracks → mask variants → samples."""
    with dataset.connect() as db:

        def counts(sql: str) -> dict[str, int]:
            return {str(key): int(count) for key, count in db.execute(f"{sql} GROUP BY 1 ORDER BY 1").fetchall()}

        states = counts("SELECT state, count(*) FROM sources")
        sources = counts("SELECT coalesce(kind, ''), count(*) FROM sources WHERE state = 'kept'")
        left_out = counts("SELECT level || ' ' || phase, count(*) FROM rejects")
        clips = sum(counts("SELECT kind, count(*) FROM clips").values())
        used = counts("SELECT kind, count(DISTINCT clip_id) FROM samples")
        roles = counts("SELECT role, count(*) FROM tracks")
        variants = counts("SELECT task, count(DISTINCT track_id || mask_variant) FROM samples")
        tasks = counts("SELECT task, count(*) FROM samples")
        splits = counts("SELECT split, count(*) FROM samples")
        rest = counts(_UNEXPLAINED)

    def dropped(level: str) -> int:
        return sum(count for key, count in left_out.items() if key.startswith(f"{level} "))

    samples, tracks, masks = sum(tasks.values()), sum(roles.values()), sum(variants.values())
    # A damaged source may be kept for its good part, so its state counts, not its reject row.
    seen_sources = sum(states.values()) + left_out.get("source listing", 0)
    seen_clips = clips + left_out.get("clip ingest", 0)
    return [
        Step("Sources", "source", states.get("kept", 0), seen_sources, _list(sources, _KINDS), rest.get("source", 0)),
        Step("Clips", "clip", sum(used.values()), seen_clips, _list(used, _KINDS), rest.get("clip", 0)),
        Step("Tracks", "track", tracks, tracks + dropped("track"), _list(roles, _ROLES)),
        Step("Mask variants", "sample", masks, masks + dropped("sample"), _list(variants, _TASKS)),
        Step("Samples", None, samples, samples, f"{_list(tasks, _TASKS)}; {_list(splits, _SPLITS)}"),
    ]


_UNEXPLAINED = (
    "SELECT level, count(*) FROM (SELECT 'source' AS level, source_id AS id FROM sources WHERE state <> 'kept' "
    "UNION ALL SELECT 'clip', clip_id FROM clips WHERE clip_id NOT IN (SELECT clip_id FROM samples)) "
    "WHERE id NOT IN (SELECT id FROM rejects)"
)
_REST = {"source": "no clip of it was kept", "clip": "not processed yet"}
_KINDS = {"video": ("video", "videos"), "image": ("image", "images")}
_ROLES = {"entity": ("entity", "entities"), "background": ("background", "backgrounds"), "pasted": ("pasted", "pasted")}
_TASKS = {"add_modify": ("add / modify", "add / modify"), "delete": ("deletion", "deletion")}
_SPLITS = {"train": ("train", "train"), "eval": ("eval", "eval")}


def _list(counts: dict[str, int], names: dict[str, tuple[str, str]]) -> str:
    """Counts with their names, one and many, in the order of the names."""
    return ", ".join(f"{counts[key]:,} {names[key][counts[key] != 1]}" for key in names if key in counts)


def masthead(name: str, steps: Sequence[Step]) -> Html:
    """Title, links to the sections and the funnel's numbers."""
    links = (("left-out", "Left out"), ("clips", "Clips"), ("examples", "Examples"), ("distributions", "Distributions"))
    nav = element("nav", *(element("a", text, href=f"#{anchor}") for anchor, text in links))
    tiles = [
        element(
            "li",
            element("span", step.name, class_="name"),
            element("strong", f"{step.kept:,}"),
            element("span", f"of {step.seen:,}" if step.seen != step.kept else "all kept", class_="of")
            if step.level
            else "",
            element("span", step.detail, class_="detail"),
        )
        for step in steps
    ]
    return element(
        "header",
        element("p", "Dataset for video local editing", class_="kicker"),
        element("div", element("h1", name), nav, class_="title"),
        element("ol", *tiles, class_="funnel"),
        class_="masthead",
    )


def funnel_table(steps: Sequence[Step], reasons: Sequence[Reason]) -> Html:
    """What was left out at every step and why, in numbers."""
    titles = ("step", "reason", "decided by", "left out", "share of the step")
    head = element("tr", *(element("th", title) for title in titles))
    bodies = []
    for step in steps:
        own = [reason for reason in reasons if reason.level == step.level]
        rows = [_reason_row(step, reason) for reason in own]
        if step.rest and step.level:
            rows.append(_row(step, _REST[step.level], "", step.rest))
        if rows:
            bodies.append(element("tbody", *rows))
    if not bodies:
        return element("p", "Nothing was left out.")
    return element("table", element("thead", head), *bodies, class_="reasons")


def _reason_row(step: Step, reason: Reason) -> Html:
    link = element("a", reason_words(reason.reason), href=f"#{anchor(reason)}")
    return _row(
        step, joined([link, " ", element("code", reason.reason), failed_badge(reason)]), reason.stage, reason.count
    )


def _row(step: Step, what: str, stage: str, count: int) -> Html:
    share = min(count / step.seen, 1.0) if step.seen else 0.0
    bar = element("span", element("i", style=f"width:{share:.1%}"), class_="bar")
    return element(
        "tr",
        element("th", step.name, scope="row"),
        element("td", what),
        element("td", stage),
        element("td", f"{count:,}", class_="number"),
        element("td", bar, f"{share:.1%}", class_="share"),
    )


def failed_badge(reason: Reason) -> Html:
    """Sets failures off from what was left out on purpose."""
    return element("span", "failed", class_="badge failed") if reason.state == "failed" else Html("")


def anchor(reason: Reason) -> str:
    """The page's anchor of a reason's examples."""
    return "-".join(("out", reason.level, reason.stage, reason.state, reason.reason))
