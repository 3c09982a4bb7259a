"""Deletion: pasted tracks with either motion, the donor they share, and why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_work import (
    FPS,
    HEIGHT,
    WIDTH,
    block,
    clip_row,
    context_in,
    image_row,
    track_of,
    work_of,
)
from tiny_dataset import texture

from manifests.masks import Mask, MaskTrack, mean_iou
from manifests.records import ClipRow, DonorRow
from manifests.schema import to_parquet
from models.registry import ModelChoice, full_settings
from stages.deletion import Deletion, DeletionSettings
from stages.donors import donors_for
from stages.move import move_with_donor
from stages.paste import Placement
from stages.work import ClipWork, Track

SEED = 5
STAYS = [block(20 + index, 20) for index in range(12)]
"""A donor that moves one pixel per frame."""
LEAVES = [block(20, 20), *[np.zeros((HEIGHT, WIDTH), np.bool_)] * 11]
"""A donor that is seen in its first frame only."""
SKY = block(0, 0, WIDTH, 50)


def donor(name: str, masks: Sequence[Mask] = STAYS, **given: Any) -> DonorRow:
    row = {"source_id": f"source of {name}", "group": name, "split": "train", "kind": "video", "fps": FPS}
    coded = MaskTrack.from_masks(masks).to_bytes()
    return DonorRow(track_id=f"{name}-00", clip_id=name, tag=f"ball of {name}", masks=coded, **(row | given))


def clip_with_sky(clip: ClipRow | None = None, sky: Mask = SKY) -> ClipWork:
    """A clip of a still scene with an entity and a background region."""
    clip = clip or clip_row()
    scene = texture(1, HEIGHT, WIDTH)
    frames = [scene.copy() for _ in range(clip.num_frames)]
    entity = track_of([block(70, 50, 10, 10)] * clip.num_frames)
    return work_of(clip, frames, [entity, track_of([sky], 80, "background", "sky")])


def stage_with(folder: Path, bank: Sequence[DonorRow], **settings: Any) -> Deletion:
    (folder / "bank.parquet").write_bytes(to_parquet(DonorRow, bank))
    stage = Deletion(DeletionSettings.model_validate(settings))
    stage.setup(context_in(folder, seed=SEED, bank="bank.parquet"))
    return stage


def pasted(record: ClipWork, folder: Path, bank: Sequence[DonorRow], **settings: Any) -> list[Track]:
    """Run the stage; returns the pasted tracks."""
    stage_with(folder, bank, **settings).run([record])
    assert [track.number for track in record.tracks[:2]] == [0, 80]
    return record.tracks[2:]


def reasons(record: ClipWork) -> list[tuple[str, str]]:
    return [(reject.id.rpartition(" ")[2], reject.reason) for reject in record.rejects]


def in_order(record: ClipWork, *masks: Sequence[Mask]) -> list[DonorRow]:
    """Donors that are tried with these masks in this order."""
    names = [donor(f"donor{index}") for index in range(len(masks))]
    tried = donors_for(names, record.clip, SEED)
    return [donor(row.clip_id, shape) for row, shape in zip(tried, masks, strict=True)]


def test_both_motions_share_donor_and_place(tmp_path: Path) -> None:
    record = clip_with_sky()
    first, *others = in_order(record, STAYS, STAYS, STAYS)
    trajectory, background = pasted(record, tmp_path, [*others, first])
    assert not record.rejects
    assert (trajectory.number, background.number) == (90, 91)
    assert trajectory.pasting is not None
    assert background.pasting is not None
    assert (trajectory.pasting.motion, background.pasting.motion) == ("trajectory", "background")
    assert trajectory.pasting.donor_track_id == background.pasting.donor_track_id == first.track_id
    assert trajectory.tag == background.tag == first.tag
    dx, dy, scale = trajectory.pasting.dx, trajectory.pasting.dy, trajectory.pasting.scale
    assert (background.pasting.dx, background.pasting.dy, background.pasting.scale) == (dx, dy, scale)
    # The trajectory is the donor's own under the stored placement; the background of a still scene rests.
    place = Placement(dx, dy, scale, 1.0)
    donated = MaskTrack.from_bytes(first.masks)
    assert trajectory.masks == move_with_donor(donated, FPS, place, (HEIGHT, WIDTH), FPS, 12)
    pasted_first = trajectory.masks.mask(0)
    for index in range(12):
        np.testing.assert_array_equal(background.masks.mask(index), pasted_first)
    assert np.count_nonzero(pasted_first & SKY) >= 0.97 * np.count_nonzero(pasted_first)
    for track in (trajectory, background):
        assert track.role == "pasted"
        assert track.score >= 0.97
        assert track.box == tuple(track.masks.boxes()[0])


def test_a_motion_that_leaves_the_frame_takes_the_next_donor_alone(tmp_path: Path) -> None:
    record = clip_with_sky()
    first, second = in_order(record, LEAVES, STAYS)
    trajectory, background = pasted(record, tmp_path, [first, second])
    assert trajectory.pasting is not None
    assert background.pasting is not None
    assert background.pasting.donor_track_id == first.track_id
    assert trajectory.pasting.donor_track_id == second.track_id
    assert (trajectory.number, background.number) == (90, 91)
    assert not record.rejects


def test_one_motion_that_leaves_the_frame_with_every_donor_is_given_up(tmp_path: Path) -> None:
    record = clip_with_sky()
    (background,) = pasted(record, tmp_path, [donor("a", LEAVES), donor("b", LEAVES)])
    assert background.number == 91
    assert reasons(record) == [("trajectory", "leaves_frame")]


def test_a_mask_that_comes_to_lie_on_an_entity_takes_the_next_donor(tmp_path: Path) -> None:
    """A thing fills the right half from the sixth frame on; the donor that moves there would hide it."""
    right = [block(20 + 5 * index, 20) for index in range(12)]
    record = clip_with_sky(sky=block(0, 0, 40, 50))
    halves = [block(60, 0, 36, HEIGHT) if index > 5 else block(90, 60, 4, 4) for index in range(12)]
    record.tracks[0] = track_of(halves)
    first, second = in_order(record, right, STAYS)
    tracks = pasted(record, tmp_path, [first, second])
    trajectory = next(track for track in tracks if track.number == 90)
    assert trajectory.pasting is not None
    assert trajectory.pasting.donor_track_id == second.track_id
    thing = MaskTrack.from_masks(halves)
    assert (trajectory.masks.shared_areas(thing) <= 0.1 * trajectory.masks.areas()).all()
    # Without the other donor there is none, and the reason is said.
    record = clip_with_sky(sky=block(0, 0, 40, 50))
    record.tracks[0] = track_of(halves)
    tracks = pasted(record, tmp_path, [first])
    assert 90 not in [track.number for track in tracks]
    assert ("trajectory", "covers_entity") in reasons(record)
    record = clip_with_sky(sky=block(0, 0, 40, 50))
    record.tracks[0] = track_of(halves)
    assert 90 in [track.number for track in pasted(record, tmp_path, [first], max_covered=1)]


def test_no_more_donors_are_tried_than_allowed(tmp_path: Path) -> None:
    bank = in_order(clip_with_sky(), LEAVES, LEAVES, STAYS)
    for attempts, motions in ((2, ["background"]), (3, ["trajectory", "background"])):
        record = clip_with_sky()
        tracks = pasted(record, tmp_path, bank, max_attempts=attempts)
        assert [track.pasting.motion for track in tracks if track.pasting] == motions


def test_visibility_at_its_limit_is_enough(tmp_path: Path) -> None:
    half = [*[block(20, 20)] * 6, *[np.zeros((HEIGHT, WIDTH), np.bool_)] * 6]
    assert len(pasted(clip_with_sky(), tmp_path, [donor("a", half)], min_visible=0.5)) == 2
    assert len(pasted(clip_with_sky(), tmp_path, [donor("a", half)], min_visible=0.51)) == 1


@pytest.mark.parametrize(
    "unfit",
    [
        {"source_id": "source of 0123456789abcdef"},
        {"group": "group of 0123456789abcdef"},
        {"split": "eval"},
        {"kind": "image"},
        None,
    ],
)
def test_without_a_donor_the_reason_is_given_for_both_motions(tmp_path: Path, unfit: dict[str, str] | None) -> None:
    record = clip_with_sky()
    bank = [] if unfit is None else [donor("a", **unfit)]
    assert not pasted(record, tmp_path, bank)
    assert reasons(record) == [("trajectory", "no_donor"), ("background", "no_donor")]
    assert {reject.level for reject in record.rejects} == {"track"}
    assert not record.dropped


def test_without_a_bank_there_is_no_donor(tmp_path: Path) -> None:
    record = clip_with_sky()
    stage = Deletion(DeletionSettings())
    stage.setup(context_in(tmp_path))
    stage.run([record])
    assert reasons(record) == [("trajectory", "no_donor"), ("background", "no_donor")]


def test_a_region_too_small_for_any_donor_has_no_place(tmp_path: Path) -> None:
    record = clip_with_sky(sky=block(0, 0, 4, 4))
    assert not pasted(record, tmp_path, [donor("a"), donor("b")])
    assert reasons(record) == [("trajectory", "no_place"), ("background", "no_place")]


def test_without_a_background_region_there_is_one_reason(tmp_path: Path) -> None:
    record = clip_with_sky()
    del record.tracks[1]
    stage = Deletion(DeletionSettings())
    stage.setup(context_in(tmp_path))
    stage.run([record])
    assert reasons(record) == [("pasted", "no_background")]


def test_an_image_gets_one_still_track(tmp_path: Path) -> None:
    for lender in (donor("a"), donor("b", [block(20, 20)], kind="image", fps=None)):
        record = clip_with_sky(image_row())
        (still,) = pasted(record, tmp_path, [lender])
        assert still.number == 90
        assert still.pasting is not None
        assert (still.pasting.motion, still.pasting.donor_track_id) == ("still", lender.track_id)
        assert len(still.masks) == 1
        assert np.count_nonzero(still.masks.mask(0) & SKY) >= 0.97 * still.masks.areas()[0]
    empty = clip_with_sky(image_row())
    assert not pasted(empty, tmp_path, [])
    assert reasons(empty) == [("still", "no_donor")]


def test_a_large_entity_that_moves_does_not_pull_the_background_along(tmp_path: Path) -> None:
    record = over_a_moving_entity(bare=(30, 66))
    # A pixel of this frame is 1.6 % of its height.
    doubts = {"max_disagreement": 0.02, "max_frame_disagreement": 0.02, "min_covered": 0.5}
    (_, background) = pasted(record, tmp_path, in_order(record, STAYS), check=doubts)
    assert mean_iou(background.masks, background.masks.take([0] * 12)) > 0.9


def test_where_nothing_can_be_followed_the_motion_is_in_doubt(tmp_path: Path) -> None:
    record = over_a_moving_entity(bare=(0, WIDTH))
    (trajectory,) = pasted(record, tmp_path, in_order(record, STAYS))
    assert trajectory.pasting.motion == "trajectory"
    assert reasons(record) == [("background", "motion_in_doubt")]


def over_a_moving_entity(bare: tuple[int, int]) -> ClipWork:
    """A sky, bare in these columns and still texture in the others, over an entity that moves and fills the rest."""
    record = clip_with_sky(sky=block(bare[0], 0, bare[1] - bare[0], 26))
    moving = texture(2, HEIGHT, WIDTH + 40)
    for index, frame in enumerate(record.decoded()):
        frame[:28, slice(*bare)] = 120
        frame[28:] = moving[28:, 3 * index : 3 * index + WIDTH]
    record.tracks[0].masks = MaskTrack.from_masks([block(0, 28, WIDTH, HEIGHT - 28)] * 12)
    return record


def under_a_panning_camera(seed: int = 3) -> ClipWork:
    """Everything is background and moves two pixels per frame."""
    wide = texture(seed, HEIGHT, WIDTH + 40)
    record = clip_with_sky(sky=block(0, 0, WIDTH, HEIGHT))
    record.frames = [np.ascontiguousarray(wide[:, 2 * index : 2 * index + WIDTH]) for index in range(12)]
    record.tracks[0].masks = MaskTrack.empty((HEIGHT, WIDTH), 12)
    return record


@pytest.mark.parametrize(("flow", "named"), [("lucas_kanade", {}), ("fake_flow:FakeFlow", {"flow": "fake_flow@4"})])
def test_the_background_motion_follows_the_camera(tmp_path: Path, flow: str, named: dict[str, str]) -> None:
    record = under_a_panning_camera()
    (trajectory, background) = pasted(
        record, tmp_path, in_order(record, STAYS), flow=full_settings(ModelChoice(name=flow))
    )
    assert (trajectory.models, background.models) == ({}, named)
    first = background.masks.mask(0)
    for index in (3, 7, 11):
        expected = np.zeros_like(first)
        expected[:, : WIDTH - 2 * index] = first[:, 2 * index :]
        differing = np.count_nonzero(background.masks.mask(index) ^ expected)
        assert differing <= 0.15 * max(1, np.count_nonzero(expected))


def test_a_dense_flow_runs_once_per_pair_of_frames_whatever_is_tried(tmp_path: Path) -> None:
    bank = in_order(under_a_panning_camera(), STAYS, STAYS, STAYS)
    # Nothing is ever confirmed, so that every donor is tried and the whole frame asked as well.
    doubts = {"check": {"min_points": 10_000, "max_disagreement": 1e-12}}
    both_ways = 2 * 11
    stage = stage_with(tmp_path, bank, flow={"name": "fake_flow:FakeFlow"}, **doubts)
    for clips, seed in enumerate((3, 4), 1):
        record = under_a_panning_camera(seed)
        stage.run([record])
        assert ("background", "motion_in_doubt") in reasons(record)
        assert stage.flow.fields == clips * both_ways
    forgetful = {"name": "fake_flow:FakeFlow", "settings": {"cache_mb": 0}}
    stage = stage_with(tmp_path, bank, flow=forgetful, **doubts)
    stage.run([under_a_panning_camera()])
    assert stage.flow.fields >= len(bank) * 2 * both_ways
