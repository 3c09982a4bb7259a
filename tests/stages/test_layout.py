from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError
from small_work import clip_row

from manifests.ids import draw_fraction
from manifests.records import FoundRow
from stages.layout import Found, LayoutSettings, in_layout_order, lay_out, split_groups


def found(name: str, part: int = 0, **given: Any) -> Found:
    values = asdict(clip_row(name, **given))
    for column in ("part", "position", "split", "ingest_part"):
        del values[column]
    return Found(FoundRow(**values, member=f"{name}.mp4", offset=0, size=1), part)


def videos(count: int) -> list[Found]:
    return [found(f"clip{number}", group=f"group{number}") for number in range(count)]


def test_videos_are_laid_out_before_images_each_in_the_order_found() -> None:
    mixed = [found("a", kind="image"), found("b"), found("c", kind="image"), found("d")]
    assert [item.row.clip_id for item in in_layout_order(mixed)] == ["b", "d", "a", "c"]
    rows = lay_out(mixed, {item.row.group: "train" for item in mixed}, LayoutSettings(), 0)
    assert [row.clip_id for row in rows] == ["b", "d", "a", "c"]


def test_parts_hold_one_kind_and_are_numbered_without_gaps() -> None:
    clips = [*videos(5), *(found(f"image{number}", kind="image") for number in range(3))]
    settings = LayoutSettings(video_part_size=2, image_part_size=2)
    rows = lay_out(clips, {item.row.group: "train" for item in clips}, settings, first_part=7)
    assert [(row.part, row.position) for row in rows] == [
        (7, 0),
        (7, 1),
        (8, 0),
        (8, 1),
        (9, 0),
        (10, 0),
        (10, 1),
        (11, 0),
    ]
    kinds = {part: {row.kind for row in rows if row.part == part} for part in range(7, 12)}
    assert all(len(kind) == 1 for kind in kinds.values())


def test_rows_keep_what_was_found_and_where_it_lies() -> None:
    (row,) = lay_out([found("a", 3, keyframe_hash="1" * 16)], {"group of a": "eval"}, LayoutSettings(), 0)
    assert row == clip_row("a", keyframe_hash="1" * 16, split="eval", ingest_part=3)


def test_few_groups_are_all_for_training() -> None:
    splits = split_groups(videos(7), {}, LayoutSettings(eval_fraction=0.9, eval_min_groups=8), seed=0)
    assert splits == {f"group{number}": "train" for number in range(7)}


def test_the_split_is_drawn_from_seed_and_group() -> None:
    settings = LayoutSettings(eval_fraction=0.3)
    splits = split_groups(videos(200), {}, settings, seed=4)
    assert splits == {
        group: "eval" if draw_fraction(4, group, "split") < 0.3 else "train"
        for group in (f"group{n}" for n in range(200))
    }
    assert splits == split_groups(videos(200)[::-1], {}, settings, seed=4)
    assert splits != split_groups(videos(200), {}, settings, seed=5)


def test_two_groups_with_a_video_are_held_out_at_least() -> None:
    clips = [*videos(9), found("still", kind="image", group="image group")]
    splits = split_groups(clips, {}, LayoutSettings(eval_fraction=1e-9), seed=0)
    held_out = {group for group, split in splits.items() if split == "eval"}
    smallest = sorted((f"group{n}" for n in range(9)), key=lambda group: draw_fraction(0, group, "split"))[:2]
    assert held_out == set(smallest)
    assert set(split_groups(clips, {}, LayoutSettings(eval_fraction=0), seed=0).values()) == {"train"}


def test_a_group_keeps_its_split() -> None:
    known = {f"group{number}": "eval" if number < 5 else "train" for number in range(10)}
    splits = split_groups(videos(20), known, LayoutSettings(eval_fraction=0.1), seed=0)
    assert {group: splits[group] for group in known} == known


def test_settings_have_bounds() -> None:
    for bad in ({"video_part_size": 0}, {"eval_fraction": 1}, {"near_duplicates": {"max_distance": 12}}):
        with pytest.raises(ValidationError):
            LayoutSettings.model_validate(bad)
