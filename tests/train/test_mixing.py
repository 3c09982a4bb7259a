from __future__ import annotations

from collections import Counter

import pytest

from train.mixing import Mixing, MixingSettings, RankBatches, Slot

COUNTS = {("image", "add_modify"): 30, ("image", "delete"): 7, ("video", "add_modify"): 12, ("video", "delete"): 5}


def mixing(batch_size: int = 4, seed: int = 1, counts: dict[tuple[str, str], int] = COUNTS, **given: float) -> Mixing:
    return Mixing(MixingSettings.model_validate(given), counts, batch_size, seed)


def test_batches_hold_one_kind_ten_to_one() -> None:
    kinds = []
    for number in range(110):
        batch = mixing().batch(number)
        assert len(batch) == 4
        assert len({slot.kind for slot in batch}) == 1
        kinds.append(batch[0].kind)
    for block in range(10):
        assert Counter(kinds[11 * block : 11 * block + 11]) == {"image": 10, "video": 1}
    # In a random order: the video batch is not always at the same place.
    assert len({kinds[11 * block : 11 * block + 11].index("video") for block in range(10)}) > 3


def test_add_modify_and_delete_three_to_one() -> None:
    slots = [slot for number in range(88) for slot in mixing().batch(number)]
    for kind in ("image", "video"):
        assert Counter(slot.task for slot in slots if slot.kind == kind)["add_modify"] == 3 * sum(
            slot.task == "delete" for slot in slots if slot.kind == kind
        )


def test_every_sample_comes_once_per_pass() -> None:
    mix = mixing(batch_size=5)
    seen: dict[tuple[str, str], list[int]] = {}
    for number in range(60):
        for slot in mix.batch(number):
            seen.setdefault((slot.kind, slot.task), []).append(mix.row(slot))
    for stratum, rows in seen.items():
        count = COUNTS[stratum]
        for first in range(0, len(rows) - count + 1, count):
            assert sorted(rows[first : first + count]) == list(range(count))
    first, second = seen["image", "delete"][:7], seen["image", "delete"][7:14]
    assert first != second, "each pass has its own order"


def test_turns_are_counted_without_gaps() -> None:
    mix = mixing(batch_size=3)
    turns: dict[tuple[str, str], list[int]] = {}
    for number in range(120):
        for slot in mix.batch(number):
            turns.setdefault((slot.kind, slot.task), []).append(slot.turn)
    assert all(values == list(range(len(values))) for values in turns.values())
    assert set(turns) == set(COUNTS)


def test_a_batch_is_a_function_of_its_number_alone() -> None:
    assert mixing().batch(77) == mixing().batch(77)
    forward = [mixing().batch(number) for number in range(20)]
    assert [mixing().batch(number) for number in reversed(range(20))] == forward[::-1]
    assert [mixing(seed=2).batch(number) for number in range(20)] != forward


def test_half_of_the_videos_are_keyframe_guided_and_no_image() -> None:
    slots = [slot for number in range(300) for slot in mixing(images=1, videos=1, batch_size=8).batch(number)]
    assert not any(slot.kive for slot in slots if slot.kind == "image")
    videos = [slot.kive for slot in slots if slot.kind == "video"]
    assert 0.45 < sum(videos) / len(videos) < 0.55
    assert not any(slot.kive for number in range(50) for slot in mixing(kive=0, videos=1, images=0).batch(number))


def test_what_is_not_there_is_left_out_and_named() -> None:
    counts = {("video", "add_modify"): 3}
    mix = mixing(counts=counts)
    assert {(slot.kind, slot.task) for number in range(30) for slot in mix.batch(number)} == {("video", "add_modify")}
    assert mix.missing() == [
        "add_modify samples of images",
        "delete samples of images",
        "delete samples of videos",
    ]
    assert mixing().missing() == []


def test_shares_of_zero_leave_out() -> None:
    slots = [slot for number in range(30) for slot in mixing(images=0, add_modify=0).batch(number)]
    assert {(slot.kind, slot.task) for slot in slots} == {("video", "delete")}


def test_nothing_to_train_on_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^the dataset has no sample of what is asked for \(image, add_modify\)$"):
        mixing(counts={("video", "delete"): 3}, videos=0, delete=0)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_every_batch_and_none_runs_out(ranks: int) -> None:
    mix = mixing(batch_size=8)
    pieces = [list(RankBatches(mix, 5, 25, rank, ranks)) for rank in range(ranks)]
    assert {len(piece) for piece in pieces} == {20}
    for step in range(20):
        assert [slot for piece in pieces for slot in piece[step]] == mix.batch(5 + step)


def test_resuming_goes_on_with_the_very_next_sample() -> None:
    whole = list(RankBatches(mixing(), 0, 30))
    assert list(RankBatches(mixing(), 0, 13)) + list(RankBatches(mixing(), 13, 30)) == whole


def test_an_uneven_share_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared by 3 ranks"):
        RankBatches(mixing(), 0, 1, 0, 3)


def test_another_sample_stands_in_for_a_broken_one() -> None:
    mix = mixing()
    slot = Slot("batch 0 slot 0", "image", "add_modify", 3, False)
    rows = [mix.row(slot, attempt) for attempt in range(6)]
    assert rows == [mixing().row(slot, attempt) for attempt in range(6)]
    assert len(set(rows)) > 3
    assert all(0 <= row < 30 for row in rows)


def test_another_mixture_goes_on_with_the_samples_that_follow() -> None:
    """VEGGIE's form: images first, then both kinds; every sample comes once before any comes again."""
    counts = {
        ("image", "add_modify"): 900,
        ("image", "delete"): 300,
        ("video", "add_modify"): 60,
        ("video", "delete"): 20,
    }
    images = Mixing(MixingSettings(videos=0), counts, 4, 3)
    both = Mixing(MixingSettings(images=1, videos=1), counts, 4, 3, 101, images.turns_until(101))
    last = Mixing(MixingSettings(images=3, videos=1), counts, 4, 3, 120, both.turns_until(120))
    slots = [slot for number in range(101) for slot in images.batch(number)]
    slots += [slot for number in range(101, 120) for slot in both.batch(number)]
    slots += [slot for number in range(120, 170) for slot in last.batch(number)]
    for stratum in counts:
        turns = [slot.turn for slot in slots if (slot.kind, slot.task) == stratum]
        assert turns == list(range(len(turns)))
        assert last.turns_until(170)[stratum] == len(turns)


def test_the_same_mixture_in_two_courses_is_one() -> None:
    whole = Mixing(MixingSettings(), COUNTS, 4, 3)
    second = Mixing(MixingSettings(), COUNTS, 4, 3, 17, whole.turns_until(17))
    assert [second.batch(number) for number in range(17, 60)] == [whole.batch(number) for number in range(17, 60)]
