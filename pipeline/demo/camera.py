"""Cameras: how the canvas is seen in every frame, as 3×3 matrices.

Far things and things standing on flat ground shift by different amounts when a camera travels sideways. On flat ground
the shift grows linearly below the horizon, so every layer (far scenery, ground, a prop at its foot) moves by a matrix
of its own and the truth stays exact: a shear for the ground, a shift for the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

Matrix = npt.NDArray[np.float64]
"""A 3×3 homography acting on (x, y, 1)."""


class CameraSpec(BaseModel, frozen=True, extra="forbid"):
    """What the camera does during the clip; all zero is a tripod."""

    pan: tuple[float, float] = Field(
        default=(0.0, 0.0),
        description="Sweep over the whole clip, in view widths and heights, centred on the composition.",
    )
    zoom: float = Field(default=1.0, gt=0.5, lt=2.0, description="Magnification reached at the end; 1 = none.")
    turn: float = Field(
        default=0.0, ge=-20, le=20, description="Roll about the optical axis reached at the end, degrees."
    )
    tilt: float = Field(
        default=0.0,
        ge=-0.2,
        le=0.2,
        description="Perspective reached at the end: how much wider one side grows than the other.",
    )
    shake: float = Field(default=0.0, ge=0, le=0.05, description="Amplitude of hand tremble, in view heights.")
    travel: float = Field(
        default=0.0,
        ge=-0.6,
        le=0.6,
        description="Sideways travel: how far the nearest ground shifts, in view widths. Other than 0 gives parallax.",
    )
    far: float = Field(
        default=0.15, ge=0, le=1, description="Shift of everything at the horizon, as a share of `travel`."
    )

    @property
    def parallax(self) -> bool:
        """Whether things at different depths move differently."""
        return self.travel != 0


def shift(x: float, y: float) -> Matrix:
    """A translation."""
    return np.asarray([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def apply(matrix: Matrix, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (N, 2) mapped by a homography."""
    projected = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(projected[:, :2] / projected[:, 2:], np.float64)


def _eased(progress: float) -> float:
    """Starts and stops gently: half uniform, half smooth."""
    return 0.5 * progress + 0.5 * progress * progress * (3.0 - 2.0 * progress)


def _tremble(seconds: float, phase: float) -> float:
    """A hand's slow sway with a faster tremor, about -1..1."""
    slow = np.sin(2 * np.pi * (0.43 * seconds + phase)) + 0.6 * np.sin(2 * np.pi * (0.91 * seconds + 2.3 * phase))
    return float(0.5 * slow + 0.22 * np.sin(2 * np.pi * (2.7 * seconds + 4.1 * phase)))


class Camera:
    """A camera over a view of `size` (height, width) pixels whose ground meets the sky at `horizon` (view fraction).

    Plane coordinates are pixels of the untouched composition: (0, 0) is the corner of a view that never moves.
    """

    def __init__(self, spec: CameraSpec, size: tuple[int, int], horizon: float) -> None:
        self.spec = spec
        self.size = size
        self.horizon_row = horizon * size[0]

    def view(self, progress: float, seconds: float) -> Matrix:
        """Plane → view at `progress` 0..1 and time `seconds`, without parallax."""
        spec, (height, width) = self.spec, self.size
        eased = _eased(progress)
        sway_x, sway_y = (_tremble(seconds, p) - _tremble(0.0, p) for p in (0.13, 0.71))
        x = width / 2 + spec.pan[0] * width * (eased - 0.5) + spec.shake * height * sway_x
        y = height / 2 + spec.pan[1] * height * (eased - 0.5) + spec.shake * height * sway_y
        angle = np.deg2rad(spec.turn * eased + 40.0 * spec.shake * (_tremble(seconds, 0.37) - _tremble(0.0, 0.37)))
        scale = spec.zoom**eased
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        similarity = np.asarray([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        perspective = np.eye(3)
        perspective[2, 0] = spec.tilt * eased / width
        return np.asarray(shift(width / 2, height / 2) @ perspective @ similarity @ shift(-x, -y), np.float64)

    def _travelled(self, progress: float) -> float:
        return self.spec.travel * self.size[1] * (0.5 - _eased(progress))

    def _nearness(self, row: float) -> float:
        """Share of the travel by which ground at a plane row shifts: `far` at the horizon, 1 at the view's bottom."""
        below = max(row - self.horizon_row, 0.0) / max(self.size[0] - self.horizon_row, 1.0)
        return self.spec.far + (1.0 - self.spec.far) * below

    def standing(self, progress: float, seconds: float, row: float) -> Matrix:
        """Plane → view of upright things whose foot stands on plane row `row` (pixels)."""
        return self.view(progress, seconds) @ shift(self._travelled(progress) * self._nearness(row), 0.0)

    def distant(self, progress: float, seconds: float) -> Matrix:
        """Plane → view of everything above the horizon."""
        return self.standing(progress, seconds, self.horizon_row)

    def ground(self, progress: float, seconds: float) -> Matrix:
        """Plane → view of the flat ground below the horizon."""
        travelled = self._travelled(progress)
        slope = (1.0 - self.spec.far) / max(self.size[0] - self.horizon_row, 1.0)
        shear = np.eye(3)
        shear[0, 1] = travelled * slope
        shear[0, 2] = travelled * (self.spec.far - slope * self.horizon_row)
        return self.view(progress, seconds) @ shear

    def reach(self, num_frames: int, duration: float) -> tuple[int, int, int, int]:
        """Pixels of picture needed beyond the view left, top, right and below so that no frame sees its edge."""
        height, width = self.size
        corners: npt.NDArray[np.float64] = np.asarray(
            [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)], np.float64
        )
        seen = [corners]
        for index in range(num_frames):
            progress = index / max(num_frames - 1, 1)
            time = (progress, progress * duration)
            matrices = (self.distant(*time), self.ground(*time))
            seen.extend(apply(np.asarray(np.linalg.inv(m), np.float64), corners) for m in matrices)
        points = np.concatenate(seen)
        low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
        margin = 3
        return (
            int(-low[0]) + margin,
            int(-low[1]) + margin,
            int(high[0]) - width + 1 + margin,
            int(high[1]) - height + 1 + margin,
        )
