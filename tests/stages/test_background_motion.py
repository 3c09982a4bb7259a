"""Where the background's motion is beyond doubt: in texture, and in bare places of a frame that moves as one."""

from __future__ import annotations

import numpy as np
import pytest
from small_work import block
from tiny_dataset import texture

from models.local_homography import HomographySettings
from models.motion_check import MotionCheckSettings
from models.point_flow import LucasKanade, to_gray
from stages import background_motion
from stages.background_motion import BackgroundMotion

HEIGHT, WIDTH, FRAMES, STEP = 160, 240, 10, 2
BARE = block(145, 25, 60, 40, (HEIGHT, WIDTH))
TEXTURED = block(60, 112, 50, 36, (HEIGHT, WIDTH))


def moving(sky_step: int, ground_step: int) -> list[np.ndarray]:
    """Grey frames of a sky with a gap in its clouds over textured ground, each moving by pixels a frame."""
    clouds, ground = (to_gray(texture(seed, HEIGHT, WIDTH + 100)) for seed in (1, 2))
    clouds[15:, 135:215] = 128
    frames = []
    for index in range(FRAMES):
        frame = clouds[:, sky_step * index : sky_step * index + WIDTH].copy()
        frame[80:] = ground[80:, ground_step * index : ground_step * index + WIDTH]
        frames.append(frame)
    return frames


def motion_of(frames: list[np.ndarray]) -> BackgroundMotion:
    return BackgroundMotion(frames, None, LucasKanade(), HomographySettings(), MotionCheckSettings())


@pytest.mark.parametrize("sky_step", [STEP, 0])
def test_texture_confirms_itself(sky_step: int) -> None:
    matrices = motion_of(moving(sky_step, STEP)).at(TEXTURED)
    assert matrices is not None
    assert matrices[-1][0, 2] == pytest.approx(-STEP * (FRAMES - 1), abs=0.5)


def test_a_bare_place_moves_as_the_whole_frame_or_is_in_doubt() -> None:
    matrices = motion_of(moving(STEP, STEP)).at(BARE)
    assert matrices is not None
    assert matrices[-1][0, 2] == pytest.approx(-STEP * (FRAMES - 1), abs=0.5)
    assert motion_of(moving(0, STEP)).at(BARE) is None


def test_a_bare_place_beyond_all_texture_is_in_doubt() -> None:
    frames = moving(STEP, STEP)
    for frame in frames:
        frame[:80] = 128
    assert motion_of(frames).at(BARE) is None


def test_the_whole_frame_is_measured_once_and_only_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = background_motion.global_homographies
    monkeypatch.setattr(
        background_motion, "global_homographies", lambda frames, *rest: (asked.append(1), plain(frames, *rest))[1]
    )
    motion = motion_of(moving(STEP, STEP))
    motion.at(TEXTURED)
    assert not asked
    for _ in range(3):
        motion.at(BARE)
    assert len(asked) == 1
