"""Measuring: speeds of a thing, of the background under it, and of one against the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_work import FPS, HEIGHT, WIDTH, block, clip_row, context_in, image_row, track_of, work_of
from tiny_dataset import texture

from manifests.masks import MaskTrack
from models.protocols import Image
from models.registry import ModelChoice, full_settings
from stages.measure import Measure, MeasureSettings, centres_of, union_masks
from stages.work import ClipWork

COUNT = 12
DIAGONAL = float(np.hypot(HEIGHT, WIDTH))
PER_FRAME = FPS / DIAGONAL
"""Diagonals per second of one pixel per frame."""


def panned(speed: int, square_x: list[int], y: int = 20) -> tuple[list[Image], list[np.ndarray]]:
    """Frames of a texture that moves by `speed` pixels per frame, with a square at the given places, and its masks."""
    wide = texture(3, HEIGHT, WIDTH + abs(speed) * COUNT)
    frames = []
    for index, x in enumerate(square_x):
        left = -speed * index if speed < 0 else wide.shape[1] - WIDTH - speed * index
        frame = np.ascontiguousarray(wide[:, left : left + WIDTH])
        frame[y : y + 16, x : x + 16] = (230, 20, 20)
        frames.append(frame)
    return frames, [block(x, y) for x in square_x]


def measured(record: ClipWork, **settings: Any) -> ClipWork:
    stage = Measure(MeasureSettings.model_validate(settings))
    stage.setup(context_in(Path()))
    stage.run([record])
    return record


@pytest.mark.parametrize(("camera", "square", "relative"), [(-3, 4, 7), (3, 4, 1), (3, 3, 0), (0, 4, 4)])
def test_three_speeds_of_a_square_under_a_panning_camera(camera: int, square: int, relative: int) -> None:
    places = [20 + square * index for index in range(COUNT)]
    frames, masks = panned(camera, places)
    record = measured(work_of(clip_row(num_frames=COUNT), frames, [track_of(masks)]))
    (track,) = record.tracks
    assert track.foreground_motion == pytest.approx(square * PER_FRAME, abs=1e-6)
    assert track.background_motion == pytest.approx(abs(camera) * PER_FRAME, abs=0.05 * PER_FRAME)
    assert track.relative_motion == pytest.approx(relative * PER_FRAME, abs=0.05 * PER_FRAME)
    # The path is told in the first frame: where the square would be had the camera stood still.
    assert track.path is not None
    steps = np.diff(track.path, axis=0) * [WIDTH, HEIGHT]
    np.testing.assert_allclose(steps, np.tile([square - camera, 0], (COUNT - 1, 1)), atol=0.15)
    np.testing.assert_allclose(track.path[0], [(20 + 8) / WIDTH, (20 + 8) / HEIGHT], atol=1e-6)


def test_another_flow_measures_the_same_and_is_named() -> None:
    frames, masks = panned(3, [20 + 4 * index for index in range(COUNT)])
    usual, other = (work_of(clip_row(num_frames=COUNT), frames, [track_of(masks)]) for _ in range(2))
    # Settings reach a stage with every default spelled out.
    measured(usual, flow=full_settings(ModelChoice(name="lucas_kanade")))
    measured(other, flow={"name": "fake_flow:FakeFlow"})
    assert usual.tracks[0].models == {}
    assert other.tracks[0].models == {"flow": "fake_flow@4"}
    assert other.tracks[0].background_motion == pytest.approx(3 * PER_FRAME, abs=0.1 * PER_FRAME)


def test_a_hidden_square_has_no_place_and_does_not_count() -> None:
    frames, masks = panned(0, [20] * COUNT)
    masks[4] = np.zeros_like(masks[4])
    record = measured(work_of(clip_row(num_frames=COUNT), frames, [track_of(masks)]))
    (track,) = record.tracks
    assert track.path is not None
    assert np.isnan(track.path).any(axis=1).tolist() == [index == 4 for index in range(COUNT)]
    assert track.foreground_motion == 0


def test_a_clip_shorter_than_the_span_has_no_speed() -> None:
    frames, masks = panned(0, [20, 24, 28])
    record = measured(work_of(clip_row(num_frames=3), frames, [track_of(masks)]))
    (track,) = record.tracks
    assert (track.foreground_motion, track.background_motion, track.relative_motion) == (None, None, None)
    assert track.path is not None
    assert np.isfinite(track.path).all()


def test_images_and_background_regions_are_not_measured() -> None:
    frames, masks = panned(0, [20] * COUNT)
    image = measured(work_of(image_row(), frames[:1], [track_of(masks[:1])]))
    video = work_of(
        clip_row(num_frames=COUNT), frames, [track_of(masks), track_of([block(0, 40, 96, 24)], 80, "background")]
    )
    measured(video)
    for track in (image.tracks[0], video.tracks[1]):
        assert (track.path, track.foreground_motion) == (None, None)
    assert video.tracks[0].path is not None


def test_union_covers_what_any_track_covers_and_leaves_the_tracks_alone() -> None:
    tracks = [MaskTrack.from_masks([block(0, 0), block(8, 0)]), MaskTrack.from_masks([block(4, 4), block(60, 40)])]
    unions = union_masks(tracks)
    for index, union in enumerate(unions):
        np.testing.assert_array_equal(union, tracks[0].mask(index) | tracks[1].mask(index))
    assert len(unions) == 2
    assert tracks[0].areas().tolist() == [256, 256]


def test_centres_are_those_of_the_boxes() -> None:
    centres = centres_of(MaskTrack.from_masks([block(10, 20, 6, 4), np.zeros((HEIGHT, WIDTH), np.bool_)]))
    np.testing.assert_array_equal(centres, [[13, 22], [np.nan, np.nan]])
