"""A very small per-pixel classifier, trained on one clip's first mask: is this pixel the object or what surrounds it?

It sees colour at five scales, texture contrast and edge directions of a pixel, never its position, so that it finds the
object again wherever it moves. Samples are columns throughout: features are (FEATURES, n).
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from models.protocols import Image

Columns = npt.NDArray[np.float32]
"""(features, samples) float32."""
Vector = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FEATURES = 21
"""Lab at five scales (15), local contrast of lightness at two (2), gradient strength in four directions (4)."""
_LIGHTNESS_ROWS = [0, 3, 6, 9, 12]
"""Rows of `pixel_features` that a change of brightness moves."""
_INSIDE, _OUTSIDE = 0.7, 0.3
"""Soft mask values beyond which a pixel counts as object, or as not."""


class PixelMlpSettings(BaseModel, frozen=True, extra="forbid"):
    """Size and training of the classifier."""

    hidden: int = Field(
        default=32, ge=4, le=256, description="Width of both hidden layers; 64 costs twice and gains nothing."
    )
    steps: int = Field(
        default=500, ge=0, description="Training steps on the first frame; 300 already miss fine structure."
    )
    batch: int = Field(
        default=1024, ge=64, description="Pixels per step: half object, a third ring, the rest anywhere else."
    )
    learning_rate: float = Field(
        default=4e-3, gt=0, description="Adam step; a tenth of it in the last fifth of the training."
    )
    weight_decay: float = Field(
        default=1e-3, ge=0, description="Pull of the weights to 0; without it the logits saturate."
    )
    feature_noise: float = Field(
        default=0.02, ge=0, description="Gaussian noise on the features: stands for later frames."
    )
    lightness_jitter: float = Field(
        default=0.15,
        ge=0,
        description="Common shift of all lightness features in every other step: stands for shadows.",
    )
    refresh_steps: int = Field(
        default=6, ge=0, description="Steps per refresh on the memory of this and earlier frames."
    )
    refresh_learning_rate: float = Field(
        default=1e-3, gt=0, description="Adam step of a refresh; large ones forget frame 0."
    )
    memory_first: int = Field(
        default=1600, ge=2, description="Pixels of the first frame kept for ever: half of the memory."
    )
    memory_frame: int = Field(default=400, ge=2, description="Pixels taken from each refreshed frame.")
    memory_frames: int = Field(default=8, ge=1, description="Refreshed frames remembered; the oldest goes first.")


def pixel_features(image: Image) -> npt.NDArray[np.float32]:
    """Features of every pixel of an RGB image, (FEATURES, height, width), values of the order of 1."""
    height, width = image.shape[:2]
    lab = np.asarray(cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab), np.float32)
    lab *= 1 / np.array([50, 30, 30], np.float32)
    lab[..., 0] -= 1
    half, quarter, eighth = (_shrink(lab, factor) for factor in (2, 4, 8))
    lightness = np.ascontiguousarray(lab[..., 0])
    half_lightness = np.ascontiguousarray(half[..., 0])

    features = np.empty((FEATURES, height, width), np.float32)

    def put(row: int, values: npt.NDArray[np.float32]) -> None:
        full = values if values.shape[:2] == (height, width) else cv2.resize(values, (width, height))
        planes = full[..., None] if full.ndim == 2 else full
        features[row : row + planes.shape[2]] = planes.transpose(2, 0, 1)

    # Wide blurs are taken of a smaller copy: the same within their own width, at a tenth of the time.
    put(0, lab)
    put(3, _blur(lab, 1.5))
    put(6, _blur(half, 2.0))
    put(9, _blur(quarter, 2.25))
    put(12, _blur(eighth, 2.0))
    put(15, _contrast(lightness, 2.0))
    put(16, _contrast(half_lightness, 2.5))
    across, down = (np.asarray(cv2.Sobel(lightness, cv2.CV_32F, *order), np.float32) for order in ((1, 0), (0, 1)))
    for row, (slope, scale) in enumerate(
        ((across, 1.5), (down, 1.5), (across + down, 1.05), (across - down, 1.05)), start=17
    ):
        put(row, _blur(_shrink(np.abs(slope), 2), 1.5) * np.float32(scale))
    return features


def _shrink(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    height, width = image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _blur(image: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _contrast(plane: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Local standard deviation, times 4 to bring it to the order of 1."""
    mean = _blur(plane, sigma)
    variance = _blur(plane * plane, sigma) - mean * mean
    return np.sqrt(np.maximum(variance, 0)) * np.float32(4)


class _Network:
    """Two hidden layers of rectified units and one logit, trained with Adam on the logistic loss.

    All parameters lie in one vector, so that an Adam step is a handful of array operations.
    """

    _BLOCK = 4096
    """Columns pushed through at a time: the activations stay in the processor's cache."""

    def __init__(self, hidden: int, random: np.random.Generator) -> None:
        shapes = [(hidden, FEATURES), (hidden, hidden), (1, hidden), (hidden, 1), (hidden, 1), (1, 1)]
        sizes = [rows * columns for rows, columns in shapes]
        self._parameters = np.zeros(sum(sizes), np.float32)
        self._gradient = np.zeros_like(self._parameters)
        self._momentum = np.zeros_like(self._parameters)
        self._power = np.zeros_like(self._parameters)
        self._steps = 0
        views = _split(self._parameters, shapes)
        self._weights, self._biases = views[:3], views[3:]
        slots = _split(self._gradient, shapes)
        self._weight_slots, self._bias_slots = slots[:3], slots[3:]
        for weights, gain in zip(self._weights, (2.0, 2.0, 1.0), strict=True):
            scale = (gain / weights.shape[1]) ** 0.5
            weights[:] = random.normal(0, scale, weights.shape)

    def logits(self, columns: Columns) -> Vector:
        """One logit per column."""
        result = np.empty(columns.shape[1], np.float32)
        for start in range(0, columns.shape[1], self._BLOCK):
            stop = start + self._BLOCK
            result[start:stop] = self._forward(columns[:, start:stop])[-1][0]
        return result

    def _forward(self, columns: Columns) -> list[Columns]:
        """The input, both hidden activations and the logits (1, n)."""
        layers = [columns]
        for weights, bias in zip(self._weights[:2], self._biases[:2], strict=True):
            hidden = weights @ layers[-1]
            hidden += bias
            layers.append(np.maximum(hidden, 0, out=hidden))
        layers.append(self._weights[2] @ layers[-1] + self._biases[2])
        return layers

    def step(self, columns: Columns, labels: Vector, learning_rate: float, weight_decay: float) -> None:
        """One Adam step towards `labels` (0 or 1 per column)."""
        layers = self._forward(columns)
        probability = np.float32(1) / (np.float32(1) + np.exp(-np.clip(layers[-1], -30, 30)))
        error: Columns = (probability - labels) / np.float32(labels.size)
        for index in (2, 1, 0):
            np.matmul(error, layers[index].T, out=self._weight_slots[index])
            self._weight_slots[index] += np.float32(weight_decay) * self._weights[index]
            self._bias_slots[index][:] = error.sum(axis=1, keepdims=True)
            if index:
                error = self._weights[index].T @ error
                error *= layers[index] > 0
        self._adam(learning_rate)

    def _adam(self, learning_rate: float) -> None:
        self._steps += 1
        self._momentum += np.float32(0.1) * (self._gradient - self._momentum)
        self._power += np.float32(0.01) * (self._gradient * self._gradient - self._power)
        mean_scale = np.float32(learning_rate / (1 - 0.9**self._steps))
        power_scale = np.float32(1 / (1 - 0.99**self._steps))
        self._parameters -= mean_scale * self._momentum / (np.sqrt(power_scale * self._power) + np.float32(1e-6))


def _split(vector: Vector, shapes: list[tuple[int, int]]) -> list[Columns]:
    """Views of consecutive stretches of a vector."""
    views, start = [], 0
    for rows, columns in shapes:
        views.append(vector[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
    return views


class PixelClassifier:
    """The classifier of one object: trained on its first mask, refreshed with what was found later."""

    def __init__(self, features: Columns, soft: Vector, ring: Flags, settings: PixelMlpSettings) -> None:
        """Train on a first frame: `features` (FEATURES, n) of all pixels, the soft mask (n) and the ring around it (n).

        Raises ValueError when the mask holds no pixel that is surely object, or none that is surely not.
        """
        self._settings = settings
        self._random = np.random.default_rng(0)
        self._network = _Network(settings.hidden, self._random)
        if not self.can_learn(soft):
            raise ValueError("a classifier needs pixels inside and outside of the mask")
        self._inside = np.flatnonzero(soft > _INSIDE)
        self._outside = np.flatnonzero(soft < _OUTSIDE)
        near = np.flatnonzero(ring & (soft < _OUTSIDE))
        self._near = near if near.size else self._outside
        self._train(features)
        self._memory = [self._first_memory(features)]

    @staticmethod
    def can_learn(soft: npt.NDArray[np.float32]) -> bool:
        """Whether a soft mask holds pixels that are clearly object and pixels that are clearly not."""
        return bool((soft > _INSIDE).any() and (soft < _OUTSIDE).any())

    def _sample(self, size: int) -> tuple[Indices, Vector]:
        """Pixel numbers of the first frame, half of them of the object, with labels."""
        inside, near = size // 2, size // 3
        groups = ((self._inside, inside), (self._near, near), (self._outside, size - inside - near))
        picked = [group[self._random.integers(0, group.size, number)] for group, number in groups]
        return np.concatenate(picked), _half_labels(inside, size - inside)

    def _noise(self, size: int) -> Iterator[Columns]:
        """Endless noise for batches of `size`, cut from one stretch: drawing it anew would double the training time."""
        pool = self._random.standard_normal((FEATURES, 4 * size), np.float32)
        pool *= np.float32(self._settings.feature_noise)
        while True:
            start = int(self._random.integers(0, 3 * size))
            yield pool[:, start : start + size]

    def _train(self, features: Columns) -> None:
        settings = self._settings
        noise = self._noise(settings.batch)
        for step in range(settings.steps):
            pixels, labels = self._sample(settings.batch)
            columns = features[:, pixels] + next(noise)
            if step % 2:
                columns[_LIGHTNESS_ROWS] += np.float32(self._random.normal(0, settings.lightness_jitter))
            late = step >= 0.8 * settings.steps
            self._network.step(columns, labels, settings.learning_rate * (0.1 if late else 1), settings.weight_decay)

    def _first_memory(self, features: Columns) -> tuple[Columns, Vector]:
        pixels, labels = self._sample(self._settings.memory_first)
        return features[:, pixels], labels

    def logits(self, features: Columns) -> Vector:
        """One logit per column; above 0 means object."""
        return self._network.logits(features)

    def refresh(self, features: Columns, inside: Indices, outside: Indices) -> None:
        """Learn from a later frame: the columns numbered `inside` are surely object, `outside` surely not.

        Half of what is learned from stays the first frame, so that a wrong mask cannot take over.
        """
        settings = self._settings
        half = settings.memory_frame // 2
        picked = [group[self._random.integers(0, group.size, half)] for group in (inside, outside)]
        self._memory.append((features[:, np.concatenate(picked)], _half_labels(half, half)))
        if len(self._memory) > settings.memory_frames + 1:
            del self._memory[1]
        columns = np.concatenate([part[0] for part in self._memory], axis=1)
        labels = np.concatenate([part[1] for part in self._memory])
        for _ in range(settings.refresh_steps):
            picks = self._random.integers(0, labels.size, settings.batch)
            self._network.step(columns[:, picks], labels[picks], settings.refresh_learning_rate, settings.weight_decay)


def _half_labels(inside: int, outside: int) -> Vector:
    return np.concatenate([np.ones(inside, np.float32), np.zeros(outside, np.float32)])
