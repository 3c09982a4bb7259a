"""Layout: found clips, in order, into parts of one kind; and the split of every group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import BaseModel, Field

from manifests.ids import draw_fraction
from manifests.records import ClipRow, FoundRow
from stages.near_duplicates import NearDuplicateSettings

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
    near_duplicates: NearDuplicateSettings = Field(
        default=NearDuplicateSettings(), description="clips that repeat one of another source"
    )

    def part_size(self, kind: str) -> int:
        """Clips per part of a kind."""
        return self.video_part_size if kind == "video" else self.image_part_size


@dataclass(frozen=True)
class Found:
    """A found clip and the ingest part that holds it."""

    row: FoundRow
    ingest_part: int


def in_layout_order(found: Sequence[Found]) -> list[Found]:
    """The clips as parts take them: videos first, then images, each as they were found."""
    return sorted(found, key=lambda item: KINDS.index(item.row.kind))


def split_groups(
    found: Sequence[Found], known: Mapping[str, str], settings: LayoutSettings, seed: int
) -> dict[str, str]:
    """train or eval for every group; a group once assigned keeps its split.

    If anything is held out, at least two groups with a video are: a deletion sample needs a donor of another group in
    its own split.
    """
    splits = dict(known)
    with_video = {item.row.group for item in found if item.row.kind == "video"} | set(known)
    order = {item.row.group: draw_fraction(seed, item.row.group, "split") for item in found}
    new = sorted(set(order) - set(known), key=lambda group: (order[group], group))
    if settings.eval_fraction == 0 or len(known) + len(new) < settings.eval_min_groups:
        return splits | dict.fromkeys(new, "train")
    splits |= {group: "eval" if order[group] < settings.eval_fraction else "train" for group in new}
    held_out = sum(split == "eval" and group in with_video for group, split in splits.items())
    spare = [group for group in new if splits[group] == "train" and group in with_video]
    return splits | dict.fromkeys(spare[: max(0, 2 - held_out)], "eval")


def lay_out(
    found: Sequence[Found], splits: Mapping[str, str], settings: LayoutSettings, first_part: int
) -> list[ClipRow]:
    """Clip rows in part order: new video parts, then new image parts, numbered from `first_part` without gaps."""
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
