"""Where a clip's first frame holds a thing of its own, judged without any learned weights.

The cues, all on a small work copy: flow that the camera's motion does not explain, brightness that does not line up
after the camera's motion is undone, colours that set a place apart from the frame's border, and nearness to the centre.
Motion leads and the other cues weigh it; where nothing moves (an image has one frame) they stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, PositiveInt

from models.border_cues import BorderSettings, Map, as_map, border_contrast, border_distance
from models.protocols import Image


class SaliencySettings(BaseModel, frozen=True, extra="forbid"):
    """How the cues are measured and weighed. Lengths are pixels of the work copy."""

    long_side: int = Field(
        default=427,
        ge=128,
        le=1280,
        description="long side of the work copy, px; all lengths here are meant for about 427",
    )
    steps: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 4, 7, 10),
        min_length=1,
        description="frames compared with the first, rising; short steps catch fast things, long steps slow ones",
    )
    fit_grid: int = Field(
        default=8, ge=2, description="spacing of the flow samples the camera's homography is fitted to, px"
    )
    fit_tolerance: float = Field(
        default=1.0, gt=0, description="flow error a background sample may have in that fit, px"
    )
    frame_rim: float = Field(
        default=0.18,
        gt=0,
        lt=0.5,
        description="share of each side that counts as rim: a fit that ignores the rim has locked on to a large object",
    )
    rim_agreement: float = Field(
        default=0.35, gt=0, lt=1, description="share of rim samples a homography must explain to be the camera's"
    )
    residual_floor: float = Field(
        default=2.0,
        gt=0,
        description="unexplained flow that counts as full motion in a steady clip, px; lower: noise moves",
    )
    residual_spread: float = Field(
        default=4.0,
        gt=0,
        description="the same in an unsteady clip, as a multiple of the 60th percentile of unexplained flow",
    )
    change_floor: float = Field(
        default=8.0,
        gt=0,
        description="grey levels of unexplained change that count as full in a clean clip; lower: grain moves",
    )
    change_spread: float = Field(
        default=3.0,
        gt=0,
        description="the same in a busy clip, as a multiple of the 75th percentile of unexplained change",
    )
    border: BorderSettings = Field(default=BorderSettings(), description="the cues of colour")
    centre_reach: float = Field(
        default=0.35,
        gt=0,
        description="distance from the centre where the centre prior has fallen to 1/e, share of the frame",
    )
    change_weight: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="how much unexplained flow is held back where nothing changes; flow alone spills over",
    )
    border_weight: float = Field(
        default=0.7, ge=0, le=1, description="how much moving regions of border colour are held back"
    )
    distance_weight: float = Field(
        default=0.4, ge=0, le=1, description="how much moving regions without a closed outline are held back"
    )
    centre_weight: float = Field(
        default=0.4, ge=0, le=1, description="how much moving regions far from the centre are held back"
    )
    full_motion: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="motion level (1 = full residual and change) scaled to 1; lower lets grain through",
    )
    full_distance: float = Field(
        default=30.0,
        gt=0,
        description="colour distance from the border scaled to 1, 8-bit Lab; lower makes things of grain",
    )


@dataclass(frozen=True)
class Saliency:
    """Maps of the first frame at work size, (H, W) float32 in [0, 1].

    `motion` is what moves on its own (zeros for a single frame), `still` what stands out by colour and place.
    """

    motion: Map
    still: Map


def work_copy(image: Image, long_side: int) -> Image:
    """`image` resized, up or down, so that its long side is `long_side` pixels."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def find_saliency(frames: Sequence[Image], settings: SaliencySettings) -> Saliency:
    """Saliency of frames[0] among work copies of the clip's first frames (one frame: still cues only)."""
    first = frames[0]
    border = border_contrast(first, settings.border)
    centre = centre_prior(first.shape[0], first.shape[1], settings.centre_reach)
    distance = border_distance(first, settings.border)
    residual, change = motion_residual(frames, settings)
    motion = _smooth(residual) * _held_back(_smooth(change), settings.change_weight)
    motion = motion * _held_back(border, settings.border_weight) * _held_back(centre, settings.centre_weight)
    motion = motion * _held_back(np.minimum(distance / settings.full_distance, 1), settings.distance_weight)
    still = _scaled(border * distance * centre, settings.full_distance)
    return Saliency(_scaled(motion, settings.full_motion), still)


def _held_back(cue: Map, weight: float) -> Map:
    return as_map(1 - weight + weight * cue)


def _scaled(values: Map, full: float) -> Map:
    """`values` over their near-maximum, or over `full` where they stay below it: a weak map stays weak."""
    return as_map(np.clip(values / max(float(np.percentile(values, 99.5)), full), 0, 1))


def motion_residual(frames: Sequence[Image], settings: SaliencySettings) -> tuple[Map, Map]:
    """(unexplained flow, unexplained change) of frames[0] against the later frames, once camera motion is undone.

    Both are (H, W) float32, 0 = as the camera moves, 1 = surely moving on its own; zeros for a single frame.
    """
    height, width = frames[0].shape[:2]
    residual, change = np.zeros((2, height, width), np.float32)
    steps = [step for step in settings.steps if step < len(frames)]
    if not steps:
        return residual, change
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first = _gray(frames[0])
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    flow = np.zeros((height, width, 2), np.float32)
    for step in steps:
        later = _gray(frames[step])
        flow = as_map(matcher.calc(first, later, flow.copy()))
        camera = _camera_homography(flow, settings)
        explained = cv2.perspectiveTransform(pixels.reshape(1, -1, 2), camera).reshape(height, width, 2) - pixels
        unexplained = np.linalg.norm(flow - explained, axis=2)
        full = settings.residual_floor + settings.residual_spread * np.percentile(unexplained, 60)
        residual += np.clip(unexplained / full, 0, 1.5)
        change += _change(first, later, camera, settings)
    return as_map(np.clip(residual / len(steps), 0, 1)), as_map(change / len(steps))


def _camera_homography(flow: Map, settings: SaliencySettings) -> npt.NDArray[np.float64]:
    """The homography of the background's flow: the frame's majority, or the rim's where the two disagree."""
    height, width = flow.shape[:2]
    half = settings.fit_grid // 2
    rows, columns = (
        axis.ravel() for axis in np.mgrid[half : height : settings.fit_grid, half : width : settings.fit_grid]
    )
    start = np.stack([columns, rows], 1).astype(np.float32)
    end = start + flow[rows, columns]
    margin_x, margin_y = width * settings.frame_rim, height * settings.frame_rim
    rim = (columns < margin_x) | (columns > width - margin_x) | (rows < margin_y) | (rows > height - margin_y)
    camera, rim_share = _fit_homography(start, end, rim, settings.fit_tolerance)
    if rim_share < settings.rim_agreement:
        rim_camera, agreement = _fit_homography(
            start[rim], end[rim], np.ones(int(rim.sum()), np.bool_), settings.fit_tolerance
        )
        if agreement > settings.rim_agreement:
            return rim_camera
    return camera


def _fit_homography(
    start: Map, end: Map, rim: npt.NDArray[np.bool_], tolerance: float
) -> tuple[npt.NDArray[np.float64], float]:
    """A robust homography and the share of the `rim` samples it explains (identity and 0 where none fits)."""
    if len(start) < 4:
        return np.eye(3), 0.0
    homography, inliers = cv2.findHomography(start, end, cv2.USAC_MAGSAC, tolerance)
    if homography is None or not np.isfinite(homography).all():
        return np.eye(3), 0.0
    return np.asarray(homography, np.float64), float(np.asarray(inliers).ravel()[rim].mean())


def _change(first: Image, later: Image, camera: npt.NDArray[np.float64], settings: SaliencySettings) -> Map:
    size = (first.shape[1], first.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpPerspective(later, camera, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.GaussianBlur(cv2.absdiff(aligned, first).astype(np.float32), (0, 0), 2)
    full = settings.change_floor + settings.change_spread * np.percentile(difference, 75)
    return as_map(np.clip(difference / full, 0, 1))


def centre_prior(height: int, width: int, reach: float) -> Map:
    """1 in the middle of the frame, falling to 1/e at `reach` of its sides, (height, width) float32."""
    down = ((np.arange(height) + 0.5) / height - 0.5)[:, None]
    across = ((np.arange(width) + 0.5) / width - 0.5)[None]
    return as_map(np.exp(-(down**2 + across**2) / reach**2))


def _gray(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _smooth(values: Map) -> Map:
    return as_map(cv2.GaussianBlur(values, (0, 0), 1.5))
