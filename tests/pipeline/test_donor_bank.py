"""The bank's commits: drawn over all annotated parts, serving those that none served before."""

from __future__ import annotations

from pathlib import Path

import pytest
from committed_parts import EPOCH, captioned_entity, commit_annotate, commit_clips, commit_layout, row_of

from manifests.commits import read_commits, read_rows
from manifests.masks import MaskTrack
from manifests.records import DonorRow
from manifests.storage import Store, open_store
from pipeline.annotate_phase import AnnotatePhase, clip_items
from pipeline.donor_bank import banks_by_part, commit_bank
from pipeline.phase import PartItem
from stages.donors import DonorSettings

SETTINGS = DonorSettings()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Clips a and b are annotated in part 0, c in part 1."""
    store = open_store(tmp_path / "out")
    commit_clips(store, [row_of("a"), row_of("b", split="eval", fps=25.0), row_of("c", 1)])
    for part in (0, 1):
        commit_annotate(store, part)
    return store


def banked(store: Store, number: int) -> list[DonorRow]:
    return read_rows(store, read_commits(store, "donors")[number], "bank", DonorRow)


def test_a_bank_holds_the_entities_with_their_masks_and_what_decides_who_may_borrow(store: Store) -> None:
    assert commit_bank(store, EPOCH, SETTINGS, 0)
    bank = banked(store, 0)
    assert [row.track_id for row in bank] == [f"{letter * 16}-00" for letter in "abc"]
    for row in bank:
        assert MaskTrack.from_bytes(row.masks) == captioned_entity(12).masks
        assert (row.source_id, row.group) == (f"source of {row.clip_id}", f"group of {row.clip_id}")
        assert (row.kind, row.tag) == ("video", "ball")
    assert [(row.split, row.fps) for row in bank] == [("train", 12.0), ("eval", 25.0), ("train", 12.0)]
    (commit,) = read_commits(store, "donors").values()
    assert commit.counts == {"donors": 3}
    assert banks_by_part(store) == {part: (0, commit.file("bank").path) for part in (0, 1)}  # type: ignore[union-attr]


def test_appended_parts_draw_a_bank_of_their_own_and_the_old_one_stays(store: Store) -> None:
    assert commit_bank(store, EPOCH, SETTINGS, 0)
    assert not commit_bank(store, EPOCH, SETTINGS, 0)
    before = banks_by_part(store)
    commit_layout(store, 1, [row_of("a", 2)], [], retried=["a" * 16])
    commit_annotate(store, 2)
    assert commit_bank(store, EPOCH, SETTINGS, 0)
    assert [row.track_id for row in banked(store, 1)] == [f"{letter * 16}-00" for letter in "abc"]
    after = banks_by_part(store)
    assert {part: after[part] for part in before} == before
    assert after[2][0] == 1


def test_a_bank_of_nobody_has_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    commit_clips(store, [row_of("a")])
    (item,) = clip_items(store, "annotate")
    AnnotatePhase().finish(store, EPOCH, PartItem(0, item.records))
    assert commit_bank(store, EPOCH, SETTINGS, 0)
    assert banks_by_part(store) == {0: (0, None)}


def test_nothing_annotated_needs_no_bank(tmp_path: Path) -> None:
    assert not commit_bank(open_store(tmp_path / "out"), EPOCH, SETTINGS, 0)
