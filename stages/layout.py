"""Layout: found clips, in order, into parts of one kind; and the split of every group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import BaseModel, Field

from manifests.ids import draw_fraction
from manifests.records import ClipRow, FoundRow

KINDS = ("video", "image")


class LayoutSettings(BaseModel, frozen=True, extra="forbid"):
    """Size of parts and of the evaluation split."""

    video_part_size: int = Field(
        default=2, ge=1, description="clips per video part (= shard); small parts fill few cores"
    )
    image_part_size: int = Field(default=32, ge=1, description="clips per image part (= shard)")
    eval_fraction: float = Field(default=0.05, ge=0, lt=1, description="share of the groups held out for evaluation")
    eval_min_groups: int = Field(
        default=8,
        ge=2,
        description="with fewer groups nothing is held out: a split of one or two groups has no donors for deletion",
    )

    def part_size(self, kind: str) -> int:
        """Clips per part of a kind."""
        return self.video_part_size if kind == "video" else self.image_part_size


@dataclass(frozen=True)
class Found:
    """A found clip and the ingest part that holds it."""

    row: FoundRow
    ingest_part: int


def split_groups(
    groups: Iterable[str], known: Mapping[str, str], settings: LayoutSettings, seed: int
) -> dict[str, str]:
    """train or eval for every group. A group once assigned keeps its split; at least two eval groups if there are any.

    Two, because a deletion sample needs a donor of another group in its own split.
    """
    splits = dict(known)
    new = sorted(set(groups) - set(splits), key=lambda group: (draw_fraction(seed, group, "split"), group))
    enough = settings.eval_fraction > 0 and len(splits) + len(new) >= settings.eval_min_groups
    for group in new:
        held_out = enough and draw_fraction(seed, group, "split") < settings.eval_fraction
        splits[group] = "eval" if held_out else "train"
    missing = 2 - sum(split == "eval" for split in splits.values())
    if enough and missing > 0:
        for group in [group for group in new if splits[group] == "train"][:missing]:
            splits[group] = "eval"
    return splits


def lay_out(
    found: Sequence[Found], splits: Mapping[str, str], settings: LayoutSettings, first_part: int
) -> list[ClipRow]:
    """Clip rows in part order: all new video parts, then all new image parts, numbered from `first_part` without gaps."""
    rows: list[ClipRow] = []
    part = first_part
    for kind in KINDS:
        clips = [item for item in found if item.row.kind == kind]
        size = settings.part_size(kind)
        for start in range(0, len(clips), size):
            for position, item in enumerate(clips[start : start + size]):
                values = asdict(item.row)
                for name in ("member", "offset", "size"):
                    del values[name]
                split = splits[item.row.group]
                rows.append(ClipRow(**values, part=part, position=position, split=split, ingest_part=item.ingest_part))
            part += 1
    return rows
