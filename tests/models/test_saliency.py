"""What moves on its own, in front of still and moving cameras."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.saliency import SaliencySettings, centre_prior, find_saliency, motion_residual, work_copy

SETTINGS = SaliencySettings()


def texture(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(0, 45, (height // 6, width // 6, 3)).astype(np.float32)
    return np.clip(120 + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def moving_patch(camera_step: int = 0, patch_step: int = 3, num_frames: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of a textured patch crossing a textured scene that pans, and the patch in the first frame."""
    scene, patch = texture(240, 640, 1), texture(70, 80, 2)
    patch[..., 0] = 255 - patch[..., 0] // 3
    frames = []
    for index in range(num_frames):
        frame = scene[:, camera_step * index : camera_step * index + 427].copy()
        left = 160 + patch_step * index
        frame[90:160, left : left + 80] = patch
        frames.append(frame)
    mask = np.zeros((240, 427), np.bool_)
    mask[90:160, 160:240] = True
    return frames, mask


@pytest.mark.parametrize("camera_step", [0, 4])
def test_what_moves_against_the_camera_is_salient(camera_step: int) -> None:
    frames, mask = moving_patch(camera_step)
    motion = find_saliency(frames, SETTINGS).motion
    assert motion[mask].mean() > 0.6
    far = cv2.dilate(mask.astype(np.uint8), np.ones((81, 81))) == 0
    assert motion[far].mean() < 0.05


def test_a_panning_camera_alone_moves_nothing() -> None:
    scene = texture(240, 640, 4)
    frames = [scene[:, 5 * index : 5 * index + 427].copy() for index in range(6)]
    residual, change = motion_residual(frames, SETTINGS)
    inside = np.s_[20:-20, 20:-60]
    assert residual[inside].mean() < 0.05
    assert change[inside].mean() < 0.1
    assert find_saliency(frames, SETTINGS).motion[inside].max() < 0.2


def test_one_frame_has_no_motion_but_colours() -> None:
    image = np.full((240, 427, 3), (60, 140, 70), np.uint8)
    image[80:160, 170:260] = (200, 50, 40)
    saliency = find_saliency([image], SETTINGS)
    assert not saliency.motion.any()
    assert saliency.still[90:150, 180:250].mean() > 0.7
    assert saliency.still[:60].max() < 0.05


def test_steps_beyond_the_last_frame_are_left_out() -> None:
    frames, _ = moving_patch(num_frames=5)
    short = SaliencySettings(steps=(1, 2, 4))
    assert np.array_equal(motion_residual(frames, SETTINGS)[0], motion_residual(frames, short)[0])


@pytest.mark.parametrize(
    ("size", "expected"), [((720, 1280), (240, 427)), ((96, 64), (427, 285)), ((30, 900), (32, 427))]
)
def test_work_copies_have_one_long_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert work_copy(np.zeros((*size, 3), np.uint8), 427).shape == (*expected, 3)


def test_the_centre_prior_falls_from_the_middle() -> None:
    prior = centre_prior(101, 201, 0.35)
    assert prior[50, 100] == pytest.approx(1, abs=1e-3)
    assert prior[50, 100 + 70] == pytest.approx(np.exp(-1), abs=0.02)
    assert prior[0, 0] == prior.min()


@pytest.mark.parametrize("steps", [(), (0, 1), (-1,)])
def test_steps_must_be_later_frames(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps"):
        SaliencySettings(steps=steps)
