"""Captions of a real run against the truth of the scenes, their grammar and their variety."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from quality_material import Annotated, Built
from quality_statements import TERMS, Known, Statement, statements
from quality_tables import Cell, Table, Target

from manifests.records import TrackRow

MATCH = 0.3
"""IoU of the first masks from which a track is of a true entity; others cannot be judged."""
LEAST_RIGHT = 0.95
PAINTED = "colour as painted"
Judged = tuple[str, TrackRow, Statement]
"""Clip, track, and what its captions state."""


def caption_tables(built: Built) -> list[Table]:
    """All tables on the captions of a run."""
    described = [(clip, track) for clip in built.clips for track in clip.of_role("entity") if track.caption_long]
    judged = [(clip.scene.group, item) for clip, track in described for item in _judged(clip, track)]
    captions = [track.caption_long or "" for _, track in described]
    truth = _truth(judged)
    unknown = sum(clip.true_entity(track, MATCH) is None for clip, track in described)
    truth.notes.append(f"{len(described) - unknown} tracks judged; {unknown} more show no entity of their scene")
    return [
        truth,
        _wrong([item for _, item in judged]),
        grammar_table(captions),
        _variety([track for _, track in described]),
    ]


def _judged(clip: Annotated, track: TrackRow) -> Iterator[Judged]:
    index = clip.true_entity(track, MATCH)
    if index is None:
        return
    known = Known(clip.scene.truth, index)
    for caption in (track.caption_medium or "", track.caption_long or ""):
        for statement in statements(caption, known):
            yield clip.scene.name, track, statement


def _truth(judged: Sequence[tuple[str, Judged]]) -> Table:
    """Statements by what they are about, and the share that is right of each group of scenes."""
    groups = sorted({group for group, _ in judged})
    columns = [f"{what} {group}" for group in groups for what in ("statements", "right")]
    table = Table("Statements of medium and long captions", ("about", *columns))
    kinds = sorted({statement.kind for _, (_, _, statement) in judged} - {PAINTED})
    for kind in [PAINTED, *kinds, "all"]:
        counted = kinds if kind == "all" else [kind]
        row: list[Cell] = [kind]
        for group in groups:
            right = [said.right for name, (_, _, said) in judged if name == group and said.kind in counted]
            share = sum(right) / len(right) if right else None
            row += [len(right), share]
            if kind == "all" and share is not None:
                table.targets.append(Target(f"{group}: share of all statements right", share, LEAST_RIGHT))
        table.rows.append(tuple(row))
    table.notes.append(f"'{PAINTED}' is not part of all: 'colour' also takes what the paint looks like in its light")
    return table


def _wrong(judged: Sequence[Judged]) -> Table:
    table = Table("Wrong statements", ("clip", "track", "about", "said", "truth"))
    table.rows = [
        (name, track.track_id[-2:], said.kind, said.words, said.truth)
        for name, track, said in judged
        if not said.right and said.kind != PAINTED
    ]
    return table


def faults(caption: str) -> list[str]:
    """What is wrong with the grammar of a long caption."""
    sentences = re.split(r"(?<=\.)\s+", caption)
    checks = {
        "not 3 to 5 sentences": 3 <= len(sentences) <= 5,
        "a sentence without capital or full stop": all(re.match(r"[A-Z].*[^ .]\.$", s) for s in sentences),
        "a before a vowel or an before a consonant": not re.search(r"\b(a [aeio]|an [^aeiou])", caption, re.IGNORECASE),
        "a word twice": not re.search(r"\b(\w+) \1\b", caption, re.IGNORECASE),
        "stray space or brace": not re.search(r"  | \.|[{}]|\bNone\b", caption),
        "verb in the wrong number": not re.search(rf"{_SUBJECT} (are|have|move|go|cover|fill|take)\b", caption),
        "a sentence without a verb": all(re.search(_VERB, sentence) for sentence in sentences),
    }
    return [fault for fault, fine in checks.items() if not fine]


_SUBJECT = r"(?<!of the )\b([Oo]bject|[Ii]t)"
_VERB = re.compile(
    r"\b(is|has|are|have|can|starts?|begins?|appears?|shows?|covers?|takes?|fills?|makes?|moves?|goes|travels?|keeps?"
    r"|stays?|remains?|hardly|becomes?|gets?|looks?|runs?|reaches|touches|extends?)\b"
)


def grammar_table(captions: Sequence[str]) -> Table:
    """Faults of long captions, and how many sentences they have."""
    found = Counter(fault for caption in captions for fault in faults(caption))
    lengths = Counter(len(re.split(r"(?<=\.)\s+", caption)) for caption in captions)
    table = Table("Grammar of the long captions", ("found", "captions"))
    table.rows = [*((f"{n} sentences", lengths[n]) for n in sorted(lengths)), *sorted(found.items())]
    table.targets = [Target("captions with a fault", float(sum(bool(faults(c)) for c in captions)), 0, most=True)]
    return table


def _variety(tracks: Sequence[TrackRow]) -> Table:
    """How many different texts and sentence frames there are: colours, places and numbers taken out."""
    table = Table("Variety of the captions", ("text", "captions", "different", "different frames"))
    for name in ("caption_medium", "caption_long"):
        texts = [getattr(track, name) for track in tracks]
        table.rows.append((name, len(texts), len(set(texts)), len({_frame(text) for text in texts})))
    openings = Counter(_frame(re.split(r"(?<=\.)\s+", track.caption_long or "")[0]) for track in tracks)
    table.rows.append(("opening sentence", len(tracks), None, len(openings)))
    most = max(openings.values(), default=0) / max(1, len(tracks))
    table.targets = [Target("share of the most frequent opening", most, 0.34, most=True)]
    return table


def _frame(text: str) -> str:
    text = re.sub(rf"(light |dark )?\b({TERMS})\b", "COLOUR", text)
    text = re.sub(r"\b(upper|lower|left|right|up|down|side|part|upwards|downwards)\b", "SIDE", text)
    return re.sub(r"(less than|about) [a-z0-9 ]+? of|\b(tiny|small|large|tall|wide|round|patterned)\b", "SIZE", text)
