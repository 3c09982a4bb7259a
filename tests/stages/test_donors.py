"""The donor bank: who is in it, and who may lend to whom."""

from __future__ import annotations

import random

from small_work import clip_row, image_row

from manifests.records import DonorRow
from stages.donors import DonorSettings, donors_for, draw_bank, lendable


def donor(name: str, split: str = "train", kind: str = "video", group: str = "g", source: str = "s") -> DonorRow:
    return DonorRow(f"{name}-00", name, source, group, split, kind, "ball", 12.0, b"")


def crowd(count: int) -> list[DonorRow]:
    """As many donors of each split and kind."""
    return [
        donor(f"{split}{kind}{index:03d}", split, kind)
        for split in ("train", "eval")
        for kind in ("video", "image")
        for index in range(count)
    ]


def test_a_bank_does_not_depend_on_the_order_of_candidates() -> None:
    candidates = crowd(30)
    bank = draw_bank(candidates, DonorSettings(bank_size=10), 1)
    for seed in range(3):
        shuffled = random.Random(seed).sample(candidates, len(candidates))
        assert draw_bank(shuffled, DonorSettings(bank_size=10), 1) == bank
    assert [row.track_id for row in bank] == sorted(row.track_id for row in bank)


def test_the_seed_decides_who_is_in_the_bank() -> None:
    banks = [draw_bank(crowd(30), DonorSettings(bank_size=10), seed) for seed in range(4)]
    names = [{row.track_id for row in bank} for bank in banks]
    assert all(names[i] != names[j] for i in range(4) for j in range(i))
    # A sample, not the first ones by name.
    assert any(int(row.clip_id[-3:]) >= 20 for row in banks[0])


def test_the_size_is_a_cap_per_split_and_kind() -> None:
    few = [donor(f"few{index}", "eval", "image") for index in range(3)]
    many = [row for row in crowd(20) if (row.split, row.kind) != ("eval", "image")]
    bank = draw_bank(few + many, DonorSettings(bank_size=8), 0)
    counts = {
        (split, kind): sum((row.split, row.kind) == (split, kind) for row in bank)
        for split in ("train", "eval")
        for kind in ("video", "image")
    }
    assert counts == {("train", "video"): 8, ("train", "image"): 8, ("eval", "video"): 8, ("eval", "image"): 3}
    # Whoever is drawn from one pool has nothing to do with the others.
    alone = draw_bank([row for row in many if (row.split, row.kind) == ("train", "video")], DonorSettings(), 0)
    assert len(alone) == 20
    assert {row for row in bank if (row.split, row.kind) == ("train", "video")} == set(
        draw_bank(alone, DonorSettings(bank_size=8), 0)
    )


def test_no_donor_of_the_same_source_or_group_or_of_the_other_split() -> None:
    clip = clip_row(source_id="own", group="family")
    fine = donor("fine", group="other", source="other")
    bank = [
        donor("same source", group="other", source="own"),
        donor("same group", group="family", source="sibling"),
        donor("other split", split="eval", group="other", source="other"),
        donor("an image", kind="image", group="other", source="other"),
        fine,
    ]
    assert lendable(bank, clip) == [fine]


def test_an_image_may_borrow_from_videos_and_images() -> None:
    bank = [donor("a"), donor("b", kind="image"), donor("c", split="eval")]
    assert [row.track_id for row in lendable(bank, image_row())] == ["a-00", "b-00"]


def test_every_clip_has_its_own_order() -> None:
    bank = [donor(f"d{index:02d}") for index in range(20)]
    orders = [
        [row.track_id for row in donors_for(bank, clip_row(clip_id), seed)]
        for clip_id, seed in (("a", 1), ("a", 1), ("b", 1), ("a", 2))
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]
    assert all(sorted(order) == [row.track_id for row in bank] for order in orders)
    reversed_bank = [row.track_id for row in donors_for(bank[::-1], clip_row("a"), 1)]
    assert reversed_bank == orders[0]
