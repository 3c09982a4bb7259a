"""Homographies: fitting one to weighted points, and taking points through one."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.point_flow import Points
from models.protocols import Matrix

_ROUNDS = 3
"""Refinements of the fit; it is at rest after two or three."""
_SMALLEST_DENOMINATOR = 1e-3
"""Points nearer to the horizon than this would count without bound."""


def map_points(points: Points, homography: Matrix) -> Points:
    """Points (n, 2) taken through a homography; none stay none."""
    if not len(points):
        return np.zeros((0, 2), np.float32)
    mapped = cv2.perspectiveTransform(np.asarray(points, np.float64).reshape(-1, 1, 2), homography)
    return np.asarray(mapped[:, 0], np.float32)


def fit_homography(
    source: Points, target: Points, weights: npt.NDArray[np.float64], perspective: bool, tolerance: float
) -> Matrix:
    """The homography that takes `source` to `target` (n, 2) with the least weighted error.

    Without `perspective` it is affine (3 points or more; otherwise 4 or more). Points that are off by more than
    `tolerance` pixels and 2.5 times the weighted median lose their say (Geman–McClure). The bottom right element is 1.
    """
    to_source, _ = _normalisation(source, weights)
    to_target, from_target = _normalisation(target, weights)
    known, wanted = _apply_similarity(to_source, source), _apply_similarity(to_target, target)
    design_x, design_y = _design(known, wanted, perspective)
    matrix: Matrix = np.eye(3)
    current = weights.copy()
    denominator = np.ones(len(source))
    for _ in range(_ROUNDS):
        # Dividing by the denominator turns the algebraic error into the distance in the picture.
        root = np.sqrt(current) / np.maximum(np.abs(denominator), _SMALLEST_DENOMINATOR)
        rows = np.concatenate([design_x * root[:, None], design_y * root[:, None]])
        values = np.concatenate([wanted[:, 0] * root, wanted[:, 1] * root])
        solution = np.linalg.lstsq(rows, values, rcond=None)[0]
        matrix = np.append(np.pad(solution, (0, 8 - solution.size)), 1.0).reshape(3, 3)
        denominator = known @ matrix[2, :2] + 1
        error = np.linalg.norm(map_points(source, from_target @ matrix @ to_source) - target, axis=1)
        limit = max(tolerance, 2.5 * _weighted_median(error, weights))
        current = weights / (1 + (error / limit) ** 2) ** 2
    full = from_target @ matrix @ to_source
    return np.asarray(full / full[2, 2], np.float64)


def _weighted_median(values: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]) -> float:
    order = np.argsort(values)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(values[order[min(int(middle), len(values) - 1)]])


def _design(
    known: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], perspective: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The linear equations of x and of y for the six or eight unknowns, row by row of the matrix."""
    ones, zeros = np.ones((len(known), 1)), np.zeros((len(known), 3))
    plane = np.concatenate([known, ones], axis=1)
    if not perspective:
        return np.concatenate([plane, zeros], axis=1), np.concatenate([zeros, plane], axis=1)
    return (
        np.concatenate([plane, zeros, -known * wanted[:, :1]], axis=1),
        np.concatenate([zeros, plane, -known * wanted[:, 1:]], axis=1),
    )


def _normalisation(points: Points, weights: npt.NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """A shift and scaling that brings the points to the order of 1, and its inverse: keeps the equations solvable."""
    centre = np.average(points, axis=0, weights=weights)
    spread = max(1.0, float(np.average(np.linalg.norm(points - centre, axis=1), weights=weights)))
    forth = np.array([[1 / spread, 0, -centre[0] / spread], [0, 1 / spread, -centre[1] / spread], [0, 0, 1]])
    back = np.array([[spread, 0, centre[0]], [0, spread, centre[1]], [0, 0, 1]])
    return forth, back


def _apply_similarity(matrix: Matrix, points: Points) -> npt.NDArray[np.float64]:
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float64)
