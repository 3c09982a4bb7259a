"""Propagation: every frame's mask, and the cycle check that measures stability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_models import choice
from small_work import block, clip_row, context_in, image_row, numbered_frames, track_of, work_of

from stages.propagate import Propagate, PropagateSettings
from stages.work import ClipWork


def propagated(record: ClipWork, folder: Path, cycle_stride: int = 1, **tracker: Any) -> list[list[int]]:
    """Run the stage; returns the numbers of the frames the tracker was shown in each of its two passes."""
    settings = {"tracker": choice("FakeTracker", **tracker), "cycle_stride": cycle_stride}
    stage = Propagate(PropagateSettings.model_validate(settings))
    stage.setup(context_in(folder))
    stage.run([record])
    return stage.tracker.seen


def clip_with_things(frames: int = 10) -> ClipWork:
    tracks = [
        track_of([block(4, 4)]),
        track_of([block(0, 40, 90, 24)], 80, "background"),
        track_of([block(20, 30, 8, 8)], 2),
    ]
    return work_of(clip_row(num_frames=frames), numbered_frames(frames), tracks)


def test_every_entity_is_followed_and_the_background_keeps_its_one_mask(tmp_path: Path) -> None:
    record = clip_with_things()
    first, background, second = record.tracks
    assert propagated(record, tmp_path, speed=3) == [list(range(10)), list(range(9, -1, -1))]
    for index in range(10):
        np.testing.assert_array_equal(first.masks.mask(index), block(4 + 3 * index, 4))
        np.testing.assert_array_equal(second.masks.mask(index), block(20 + 3 * index, 30, 8, 8))
    assert (first.stability, second.stability) == (1.0, 1.0)
    assert first.models == {"tracker": "fake_tracker@2"}
    assert len(background.masks) == 1
    assert (background.stability, background.models) == (None, {})


def test_stability_is_the_iou_of_the_mask_that_comes_back(tmp_path: Path) -> None:
    record = clip_with_things()
    propagated(record, tmp_path, drift=4)
    # 16 and 8 pixels wide, 4 off: 12 of 20 and 4 of 12 columns are shared.
    assert [track.stability for track in record.of_role("entity")] == [round(12 / 20, 4), round(4 / 12, 4)]


def test_a_track_that_is_lost_at_the_end_is_not_stable(tmp_path: Path) -> None:
    record = clip_with_things()
    # Even when the tracker finds the first mask again: that is not where it went.
    propagated(record, tmp_path, vanish_at=9, guess=True)
    assert [track.stability for track in record.of_role("entity")] == [0.0, 0.0]
    assert record.tracks[0].masks.areas().tolist() == [256] * 9 + [0]


@pytest.mark.parametrize(
    ("stride", "back"), [(2, [9, 7, 5, 3, 1, 0]), (3, [9, 6, 3, 0]), (4, [9, 5, 1, 0]), (50, [9, 0])]
)
def test_the_way_back_with_a_stride_ends_at_the_first_frame(tmp_path: Path, stride: int, back: list[int]) -> None:
    record = clip_with_things()
    there_and_back = propagated(record, tmp_path, cycle_stride=stride, speed=3)
    assert there_and_back == [list(range(10)), back]
    assert record.tracks[0].stability == 1.0


def test_a_video_of_one_frame_is_its_own_way_back(tmp_path: Path) -> None:
    record = clip_with_things(frames=1)
    assert propagated(record, tmp_path) == [[0], [0]]
    assert record.tracks[0].stability == 1.0
    assert len(record.tracks[0].masks) == 1


def test_images_and_clips_without_entities_need_no_tracker(tmp_path: Path) -> None:
    image = work_of(image_row(), numbered_frames(1), [track_of([block(4, 4)])])
    bare = work_of(clip_row(), numbered_frames(3), [track_of([block(0, 40)], 80, "background")])
    assert propagated(image, tmp_path) == propagated(bare, tmp_path) == []
    assert image.tracks[0].stability is None
    assert image.tracks[0].models == {}


def test_a_tracker_that_skips_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tracker fake_tracker gave masks for 8 of 10 frames"):
        propagated(clip_with_things(), tmp_path, skips=2)
