"""One object of the colour tracker: what its first frame taught, and how that corrects a mask carried on by motion."""

from __future__ import annotations

from math import ceil, floor

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.colour_histogram import ColourHistogramSettings, ColourModel, Histogram, colour_bins, count
from models.guided_filter import GuidedFilter, Plane, enlarge_fit
from models.mask_motion import Soft
from models.pixel_mlp import FEATURES, Columns, Flags, PixelClassifier, PixelMlpSettings, pixel_features
from models.protocols import Image

Window = tuple[slice, slice]
"""Rows and columns of the working copy."""

_CONTEXT = 24
"""Pixels kept around a window so that the widest blurs of the features see past its edge."""
_BAND = 6.0
"""Pixels beyond the reach that are still classified; farther out the answer cannot change the mask."""
_SURE = 0.9
"""Soft mask value from which on a pixel may teach the classifier; as background from 1 - 0.9 down."""
_MIN_SURE_PIXELS = 50
"""A refresh from fewer pixels than this would learn a mistake by heart."""
_HISTOGRAM_SURE = 0.8
"""The same for the histograms, which forget and so may be less strict."""


class TrackedObjectSettings(BaseModel, frozen=True, extra="forbid"):
    """How colours correct a carried mask. Distances are pixels of the working copy."""

    prior_blur: float = Field(
        default=2.0, gt=0, description="How far the carried edge may be wrong; small values freeze it."
    )
    prior_limit: float = Field(
        default=4.0, gt=0, description="Largest logit of the carried mask: what colour must outvote."
    )
    histogram_weight: float = Field(
        default=0.5, ge=0, description="Weight of the histogram's log ratio; 0 leaves it out."
    )
    classifier_weight: float = Field(
        default=0.5, ge=0, description="Weight of the classifier's logit; 0 leaves it out."
    )
    classifier_limit: float = Field(
        default=4.0, gt=0, description="Largest logit of the classifier, so that it cannot rule."
    )
    reach: float = Field(
        default=12.0, ge=0, description="Distance from the carried mask within which it may grow freely."
    )
    reach_slope: float = Field(
        default=0.5, ge=0, description="Logits lost per pixel beyond the reach: keeps look-alikes out."
    )
    ring: float = Field(
        default=25.0, ge=1, description="Width of the surroundings that the colour models contrast with."
    )
    far_weight: float = Field(default=0.1, ge=0, le=1, description="Histogram weight of a pixel beyond the ring.")
    guide_radius: int = Field(
        default=4, ge=1, le=32, description="Half window of the guided filter; wide ones lose thin parts."
    )
    guide_epsilon: float = Field(
        default=1e-3, gt=0, description="Colour variance (0..1 scale) below which edges are ignored."
    )
    edge_smoothing: float = Field(
        default=0.33,
        ge=0,
        description="Gaussian over the full-size soft mask; 0 gives edges frayed by texture and noise.",
    )
    part_share: float = Field(
        default=0.05, ge=0, le=1, description="Parts smaller than this share of the largest are dropped."
    )
    part_prior: float = Field(
        default=0.2, ge=0, le=1, description="Parts with a lower mean of the carried mask are dropped."
    )
    histogram: ColourHistogramSettings = ColourHistogramSettings()
    classifier: PixelMlpSettings = PixelMlpSettings()


class Evidence:
    """What the colours of one frame say, shared by all its objects: histogram cells, features, guided filter."""

    def __init__(self, image: Image, small: Image, window: Window, settings: TrackedObjectSettings) -> None:
        """`image` is the full frame and `small` its working copy, of which features and filter cover `window`."""
        self.image = image
        self.size = (int(small.shape[0]), int(small.shape[1]))
        self.bins = colour_bins(small, settings.histogram)
        self.bin_counts = count(self.bins, None, settings.histogram)
        self._origin = _padded(window, _CONTEXT, self.size)
        crop = np.ascontiguousarray(small[self._origin])
        self._features = pixel_features(crop)
        guide = crop.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        self.guide = GuidedFilter(guide, settings.guide_radius, settings.guide_epsilon)

    def local(self, window: Window) -> Window:
        """`window` in the coordinates of the guide."""
        rows, columns = (
            slice(part.start - origin.start, part.stop - origin.start)
            for part, origin in zip(window, self._origin, strict=True)
        )
        return rows, columns

    def columns(self, window: Window) -> Columns:
        """The features of the pixels of `window`, row by row."""
        rows, columns = self.local(window)
        return self._features[:, rows, columns].reshape(FEATURES, -1)


class TrackedObject:
    """An object's soft mask in the newest frame, and models of its colours."""

    def __init__(self, evidence: Evidence, soft: Soft, settings: TrackedObjectSettings) -> None:
        """Learn from the first frame; `evidence` must cover all of it, `soft` is the mask at working size."""
        self.soft = soft
        self._settings = settings
        solid = soft > 0.5
        near = _distance_from(solid) <= settings.ring
        around = (1 - soft) * self._weights(near)
        self._colours = ColourModel(
            count(evidence.bins, soft, settings.histogram),
            count(evidence.bins, around, settings.histogram),
            settings.histogram,
        )
        self._trust = _trust(self._colours.log_ratio()[evidence.bins], solid, near & ~solid)
        self._classifier: PixelClassifier | None = None
        if PixelClassifier.can_learn(soft):
            columns = evidence.columns((slice(0, soft.shape[0]), slice(0, soft.shape[1])))
            self._classifier = PixelClassifier(columns, soft.ravel(), near.ravel(), settings.classifier)

    def window(self) -> Window:
        """Where the object and its surroundings lie; the soft mask must be solid somewhere."""
        tight = _bounds(self.soft > 0.5)
        return _padded(tight, ceil(self._settings.ring), self.soft.shape)

    def correct(self, evidence: Evidence, refresh: bool) -> Mask:
        """Let the colours correct the carried soft mask; the full-size mask. `refresh` teaches the classifier too.

        `evidence` must cover `window()`.
        """
        window = self.window()
        here = evidence.local(window)
        prior = np.ascontiguousarray(self.soft[window])
        distance = _distance_from(prior > 0.5)
        near = distance <= self._settings.ring
        columns = evidence.columns(window)
        bins = evidence.bins[window]

        fit = evidence.guide.fit(_sigmoid(self._logits(prior, distance, bins, columns)), here)
        soft = self._without_stray_parts(np.clip(evidence.guide.apply(fit, here), 0, 1), prior)

        self._update_colours(bins, evidence.bin_counts, soft, near)
        if refresh:
            self._refresh_classifier(columns, soft.ravel(), near.ravel())
        self.soft = np.zeros(evidence.size, np.float32)
        self.soft[window] = soft
        return self._full_size(evidence, fit, soft, window)

    def _weights(self, near: Flags) -> Plane:
        return np.where(near, np.float32(1), np.float32(self._settings.far_weight))

    def _logits(self, prior: Soft, distance: Plane, bins: npt.NDArray[np.int32], columns: Columns) -> Plane:
        """Motion, histogram and classifier added up as independent evidence."""
        settings = self._settings
        logits: Plane = _logit(_blur(prior, settings.prior_blur), settings.prior_limit)
        ratio = self._colours.log_ratio()[bins]
        logits += np.float32(settings.histogram_weight * self._trust) * _blur(ratio, 1.0)
        if self._classifier is not None:
            limit = np.float32(settings.classifier_limit)
            within = np.flatnonzero(distance <= settings.reach + _BAND)
            verdict = np.full(prior.size, -limit, np.float32)
            verdict[within] = np.clip(self._classifier.logits(columns[:, within]), -limit, limit)
            logits += np.float32(settings.classifier_weight) * _blur(verdict.reshape(prior.shape), 0.8)
        logits -= np.float32(settings.reach_slope) * np.maximum(distance - np.float32(settings.reach), 0)
        return logits

    def _without_stray_parts(self, soft: Soft, prior: Soft) -> Soft:
        """Parts that are tiny, or that motion does not lead to, are pushed below the threshold."""
        number, labels, stats, _ = cv2.connectedComponentsWithStats((soft > 0.5).astype(np.uint8), connectivity=4)
        if number <= 2:
            return soft
        areas = stats[:, cv2.CC_STAT_AREA]
        mean_prior = np.bincount(labels.ravel(), prior.ravel(), number) / np.maximum(areas, 1)
        keep = (areas >= self._settings.part_share * areas[1:].max()) & (mean_prior > self._settings.part_prior)
        keep[0] = True
        return np.where(keep[labels], soft, np.minimum(soft, np.float32(0.2)))

    def _update_colours(self, bins: npt.NDArray[np.int32], frame_counts: Histogram, soft: Soft, near: Flags) -> None:
        settings = self._settings
        inside = np.where(soft > _HISTOGRAM_SURE, soft, np.float32(0))
        outside = np.where(soft < 1 - _HISTOGRAM_SURE, 1 - soft, np.float32(0)) * self._weights(near)
        # Beyond the window every pixel weighs the same: the whole frame's counts, less what the window holds of them.
        far = np.float32(settings.far_weight)
        around = count(bins, outside - far, settings.histogram) + far * frame_counts
        self._colours.update(count(bins, inside, settings.histogram), np.maximum(around, 0))

    def _refresh_classifier(self, columns: Columns, soft: npt.NDArray[np.float32], near: Flags) -> None:
        inside = np.flatnonzero(soft > _SURE)
        outside = np.flatnonzero((soft < 1 - _SURE) & near)
        if self._classifier is not None and min(inside.size, outside.size) > _MIN_SURE_PIXELS:
            self._classifier.refresh(columns, inside, outside)

    def _full_size(self, evidence: Evidence, fit: Plane, soft: Soft, window: Window) -> Mask:
        """The mask at the size of the frame, computed around the object only."""
        height, width = evidence.image.shape[:2]
        mask = np.zeros((height, width), np.bool_)
        solid = soft > 0.5
        if not solid.any():
            return mask
        scale_x, scale_y = width / evidence.size[1], height / evidence.size[0]
        rows, columns = _padded(_bounds(solid), self._settings.guide_radius, soft.shape)
        top, left = window[0].start + rows.start, window[1].start + columns.start
        bottom, right = window[0].start + rows.stop, window[1].start + columns.stop
        large = (
            slice(floor(top * scale_y), min(height, ceil(bottom * scale_y))),
            slice(floor(left * scale_x), min(width, ceil(right * scale_x))),
        )
        origin = (large[1].start - left * scale_x, large[0].start - top * scale_y)
        image = np.ascontiguousarray(evidence.image[large])
        refined = enlarge_fit(fit[:, rows, columns], soft[rows, columns], image, origin, (scale_x, scale_y))
        if self._settings.edge_smoothing:
            refined = _blur(refined, self._settings.edge_smoothing * max(scale_x, scale_y))
        mask[large] = refined > 0.5
        return mask


def _trust(ratio: Plane, solid: Flags, near: Flags) -> float:
    """How far the first frame's colours tell the object from its ring: 0.1 (not better than chance) to 1.2."""
    if not solid.any() or not near.any():
        return 0.1
    right = (float((ratio[solid] > 0).mean()) + float((ratio[near] < 0).mean())) / 2
    return min(max((right - 0.6) / 0.3, 0.1), 1.2)


def _bounds(solid: Flags) -> Window:
    """The tight rows and columns of the True pixels, of which there must be one."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _padded(window: Window, pad: int, size: tuple[int, ...]) -> Window:
    rows, columns = (
        slice(max(0, part.start - pad), min(length, part.stop + pad)) for part, length in zip(window, size, strict=True)
    )
    return rows, columns


def _blur(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _logit(probability: Plane, limit: float) -> Plane:
    inner = np.clip(probability, 1e-3, 1 - 1e-3)
    logits: Plane = np.log(inner / (1 - inner))
    return logits.clip(-limit, limit)


def _sigmoid(logits: Plane) -> Plane:
    return np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -30, 30)))


def _distance_from(solid: Flags) -> Plane:
    """Distance of every pixel to the nearest True one; far everywhere when there is none."""
    return np.asarray(cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3), np.float32)
