"""Putting things into a frame: opacity, soft shadows, mirror images, motion blur and film grain."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.demo.camera import Matrix, shift
from pipeline.demo.shapes import Rgba
from pipeline.demo.textures import Field

Frame = npt.NDArray[np.uint8]
"""uint8 RGB (height, width, 3)."""
Patch = npt.NDArray[np.uint8]
"""Premultiplied uint8 RGBA (height, width, 4)."""
Corner = tuple[int, int]
"""Column and row of a patch's first pixel in the frame; may lie outside."""
Window = tuple[slice, slice]


def overlap(frame_size: tuple[int, int], patch_size: tuple[int, int], corner: Corner) -> tuple[Window, Window] | None:
    """Where a patch at `corner` meets a frame: the window in the frame and in the patch; None when it does not."""
    x0, y0 = max(corner[0], 0), max(corner[1], 0)
    x1 = min(corner[0] + patch_size[1], frame_size[1])
    y1 = min(corner[1] + patch_size[0], frame_size[0])
    if x0 >= x1 or y0 >= y1:
        return None
    inside = (slice(y0 - corner[1], y1 - corner[1]), slice(x0 - corner[0], x1 - corner[0]))
    return (slice(y0, y1), slice(x0, x1)), inside


def to_patch(rgba: Rgba, gain: npt.NDArray[np.float32]) -> Patch:
    """A float picture (alpha 0..1) as a patch, its colours multiplied by `gain` (3,)."""
    scale = np.asarray((*gain, 255.0), np.float64)
    return np.asarray(cv2.multiply(rgba, scale, dtype=cv2.CV_8U), np.uint8)


def lay(frame: Frame, patch: Patch, corner: Corner) -> None:
    """A patch laid over the frame in place."""
    windows = overlap((frame.shape[0], frame.shape[1]), (patch.shape[0], patch.shape[1]), corner)
    if windows is None:
        return
    target, source = windows
    piece = patch[source]
    through = cv2.cvtColor(255 - piece[..., 3], cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(frame[target], through, scale=1 / 255)
    frame[target] = cv2.add(behind, cv2.cvtColor(piece, cv2.COLOR_RGBA2RGB))


def hide(earlier: Patch, place: Corner, patch: Patch, corner: Corner) -> None:
    """Take from an earlier patch's opacity, in place, what a later one lays over it."""
    between = (corner[0] - place[0], corner[1] - place[1])
    windows = overlap((earlier.shape[0], earlier.shape[1]), (patch.shape[0], patch.shape[1]), between)
    if windows is not None:
        through = 255 - patch[windows[1]][..., 3]
        earlier[windows[0]][..., 3] = cv2.multiply(earlier[windows[0]][..., 3], through, scale=1 / 255)


def visible(patch: Patch, corner: Corner, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where in a frame of `size` a patch makes up half of a pixel or more."""
    mask = np.zeros(size, np.bool_)
    windows = overlap(size, (patch.shape[0], patch.shape[1]), corner)
    if windows is not None:
        mask[windows[0]] = patch[windows[1]][..., 3] >= 128
    return mask


def darken(frame: Frame, shadow: Field, corner: Corner) -> None:
    """The frame dimmed in place by 1 - shadow (0..1)."""
    windows = overlap((frame.shape[0], frame.shape[1]), (shadow.shape[0], shadow.shape[1]), corner)
    if windows is None:
        return
    target, source = windows
    through = cv2.convertScaleAbs(1.0 - shadow[source], alpha=255)
    frame[target] = cv2.multiply(frame[target], cv2.cvtColor(through, cv2.COLOR_GRAY2RGB), scale=1 / 255)


def smeared(patch: Rgba, velocity: tuple[float, float], shutter: float) -> Rgba:
    """Motion blur: the patch averaged along `velocity` (pixels a frame) over the share `shutter` of the frame time."""
    dx, dy = velocity[0] * shutter, velocity[1] * shutter
    if np.hypot(dx, dy) < 1.0:
        return patch
    half = int(np.ceil(max(abs(dx), abs(dy)) / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for place in np.linspace(-0.5, 0.5, 2 * half + 3):
        x, y = half + place * dx, half + place * dy
        left, top = int(x), int(y)
        kernel[top : top + 2, left : left + 2] += np.outer((1 - y + top, y - top), (1 - x + left, x - left))
    return np.asarray(cv2.filter2D(patch, -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT), np.float32)


def padded(rgba: Rgba, corner: Corner, margin: int) -> tuple[Rgba, Corner]:
    """The picture with an empty border of `margin` pixels."""
    grown = cv2.copyMakeBorder(rgba, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    return np.asarray(grown, np.float32), (corner[0] - margin, corner[1] - margin)


def _moved(picture: npt.NDArray[np.uint8], corner: Corner, mapping: Matrix, margin: int) -> tuple[Patch, Corner]:
    """A picture at `corner` under an affine map of view pixels, on a picture that leaves `margin` pixels free."""
    height, width = picture.shape[:2]
    square = np.asarray([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)], np.float64)
    place = mapping @ shift(*corner)
    points = (square @ place.T)[:, :2]
    low = np.floor(points.min(axis=0)).astype(int) - margin
    high = np.ceil(points.max(axis=0)).astype(int) + margin
    onto = shift(-float(low[0]), -float(low[1])) @ place
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    moved = cv2.warpAffine(picture, onto[:2], size, flags=cv2.INTER_LINEAR)
    return np.asarray(moved, np.uint8), (int(low[0]), int(low[1]))


def lying(away: float) -> Matrix:
    """Upright units laid flat on the ground as a shadow that falls back and to the side `away` (-1 left, 1 right)."""
    return np.asarray([[1.0, -0.55 * away, 0.0], [0.0, 0.2, 0.012], [0.0, 0.0, 1.0]])


def cast_shadow(
    patch: Patch, corner: Corner, mapping: Matrix, softness: float, strength: float
) -> tuple[Field, Corner]:
    """The patch's opacity under `mapping` (view → view, affine), blurred by `softness` pixels, as a dimming 0..1."""
    shadow, place = _moved(patch[..., 3].copy(), corner, mapping, int(np.ceil(2.5 * softness)) + 1)
    blurred = cv2.GaussianBlur(shadow.astype(np.float32), (0, 0), max(softness, 0.3))
    return np.asarray(blurred * np.float32(strength / 255.0), np.float32), place


def mirror_image(
    patch: Patch, corner: Corner, mapping: Matrix, ripple: float, seconds: float, opacity: float
) -> tuple[Patch, Corner]:
    """The patch mirrored in water by `mapping`: broken into strips that sway by `ripple` pixels, faint and dim."""
    margin = int(np.ceil(ripple)) + 2
    mirrored, place = _moved(patch, corner, mapping, margin)
    height, width = mirrored.shape[:2]
    rows = np.arange(height, dtype=np.float32)
    # Fixed to the water, not to the patch, so that ripples do not travel with what they mirror.
    phase = (rows + place[1]) * np.float32(2 * np.pi / max(5.0 * ripple, 4.0)) + np.float32(2 * np.pi * 0.9 * seconds)
    sway = (ripple * np.sin(phase) * (0.3 + 0.7 * rows / max(height, 1))).astype(np.float32)
    columns = np.arange(width, dtype=np.float32)[None, :] + sway[:, None]
    swayed = cv2.remap(mirrored, columns, np.repeat(rows[:, None], width, axis=1), cv2.INTER_LINEAR)
    return (swayed * (np.asarray((0.72, 0.78, 0.84, 1.0), np.float32) * np.float32(opacity))).astype(np.uint8), place


class Grain:
    """Sensor noise: one tile, cut at another place for every frame."""

    _slack = 61

    def __init__(self, size: tuple[int, int], sigma: float, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        noise = rng.standard_normal((size[0] + self._slack, size[1] + self._slack), np.float32)
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.6), np.float32)
        noise *= np.float32(sigma / noise.std())
        self._tile = np.repeat(np.rint(noise).astype(np.int16)[..., None], 3, axis=2)

    def on(self, frame: Frame) -> Frame:
        """The frame with grain."""
        y, x = (int(value) for value in self._rng.integers(0, self._slack, 2))
        tile = self._tile[y : y + self._size[0], x : x + self._size[1]]
        return np.asarray(cv2.add(frame, tile, dtype=cv2.CV_8U), np.uint8)
