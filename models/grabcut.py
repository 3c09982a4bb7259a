"""Masks of detections without any weights: GrabCut from a rough seed, then an outline that follows the image's edges.

A seed drawn from motion is too wide more often than too narrow, because flow spills over the outline. So only its
thickest part is trusted, a narrow strip around it may join, and the colours decide in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.guided_filter import GuidedFilter
from models.protocols import Box, Detection, Image, ModelInfo
from models.reflection import ReflectionSettings, without_reflection
from models.saliency import work_copy

REVISION = "2"
_FEWEST_SAMPLES = 16
"""Pixels either colour model needs: GrabCut fits five Gaussians to each."""
_GRABCUT_SEED = 1
"""GrabCut starts its colour models with OpenCV's global generator; a fixed state makes masks repeatable."""


class GrabCutSettings(BaseModel, frozen=True, extra="forbid"):
    """How a seed becomes a mask."""

    long_side: int = Field(
        default=427,
        ge=128,
        le=1280,
        description="long side of the copy GrabCut works on, px; time grows with its square",
    )
    fine_side: int = Field(
        default=854,
        ge=128,
        le=2560,
        description="long side at which the outline is settled, px; lower leaves stairs in large frames",
    )
    iterations: int = Field(default=2, ge=1, le=20, description="GrabCut rounds; more cost time and change little")
    padding: float = Field(
        default=0.25,
        ge=0,
        le=2,
        description="surroundings that teach the background's colours, share of the seed's box side",
    )
    core_depth: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="seed pixels deeper than this share of its greatest depth surely belong; lower keeps motion halos",
    )
    growth: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="how far the mask may leave the seed, share of the square root of its area; more lets it run away",
    )
    min_kept: float = Field(
        default=0.4,
        gt=0,
        lt=1,
        description="a mask below this share of the seed is not believed and the seed taken instead",
    )
    ellipse: tuple[float, float] = Field(
        default=(0.42, 0.46),
        description="half axes of the ellipse a box without a seed probably holds, shares of its sides",
    )
    ellipse_core: tuple[float, float] = Field(
        default=(0.12, 0.15),
        description="half axes of the ellipse it surely holds; without one GrabCut may find nothing",
    )
    edge_radius: int = Field(
        default=4, ge=1, le=32, description="how far the outline is drawn to image edges, px of the fine copy"
    )
    edge_variance: float = Field(
        default=1e-3,
        gt=0,
        description="colour variance (colours in 0..1) that counts as an edge; lower follows texture",
    )
    reflection: ReflectionSettings = Field(
        default=ReflectionSettings(), description="mirror images below a thing, which are cut off"
    )
    min_piece: float = Field(
        default=0.1, ge=0, le=1, description="pieces below this share of the largest are specks and dropped"
    )
    max_hole: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="holes below this share of the mask are mistakes and filled; larger ones are real",
    )


class GrabCutSegmenter:
    """A mask per detection, from colours learned in and around its seed, or its box where it has no seed."""

    Settings = GrabCutSettings

    def __init__(self, settings: GrabCutSettings) -> None:
        self.settings = settings
        self.info = ModelInfo("grabcut", REVISION)

    def segment(self, image: Image, detections: Sequence[Detection]) -> list[Mask]:
        """One mask (H, W) bool of `image`'s size per detection; with `refine` False the seed itself.

        Raises ValueError when a seed has another size, or when a detection that is not to be refined has none.
        """
        return [self._mask(image, detection) for detection in detections]

    def _mask(self, image: Image, detection: Detection) -> Mask:
        seed = detection.seed
        if seed is not None and seed.shape != image.shape[:2]:
            raise ValueError(f"a seed of {seed.shape} does not fit an image of {image.shape[:2]}")
        if not detection.refine:
            if seed is None:
                raise ValueError(f"the detection of '{detection.tag}' is not to be refined but has no seed")
            return seed.copy()
        work = work_copy(image, self.settings.long_side)
        trimap = (
            _box_trimap(detection.box, image, work, self.settings) if seed is None else self._seed_trimap(seed, work)
        )
        rough = np.asarray(np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)))
        if not rough.any():
            return np.zeros(image.shape[:2], np.bool_) if seed is None else seed.copy()
        cut = _cut(work, trimap, self.settings)
        if np.count_nonzero(cut) < self.settings.min_kept * np.count_nonzero(rough):
            cut = rough
        return self._outlined(without_reflection(work, cut, self.settings.reflection), image)

    def _seed_trimap(self, seed: Mask, work: Image) -> npt.NDArray[np.uint8]:
        """What GrabCut may decide: nothing far from the seed or deep in it, everything between."""
        size = (work.shape[1], work.shape[0])
        small = (cv2.resize(seed.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5).astype(np.uint8)
        reach = max(2, round(self.settings.growth * float(np.sqrt(np.count_nonzero(small)))))
        strip = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        # A rim of zeros, so that a seed cut by the frame is deepest inside and not at the frame's edge.
        depth = cv2.distanceTransform(np.pad(small, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        trimap = np.full(small.shape, cv2.GC_BGD, np.uint8)
        trimap[cv2.dilate(small, strip) > 0] = cv2.GC_PR_BGD
        trimap[small > 0] = cv2.GC_PR_FGD
        trimap[(small > 0) & (depth > self.settings.core_depth * depth.max())] = cv2.GC_FGD
        return trimap

    def _outlined(self, cut: Mask, image: Image) -> Mask:
        """A work-size mask at the image's size, its outline drawn to the image's edges on the way."""
        height, width = image.shape[:2]
        fine = work_copy(image, min(self.settings.fine_side, max(height, width)))
        size = (fine.shape[1], fine.shape[0])
        soft = np.asarray(cv2.resize(cut.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)
        window = _window(soft > 0, 0.0, 3 * self.settings.edge_radius)
        guide = np.moveaxis(fine[window], -1, 0) * np.float32(1 / 255)
        edges = GuidedFilter(guide, self.settings.edge_radius, self.settings.edge_variance)
        soft[window] = edges.apply(edges.fit(np.ascontiguousarray(soft[window])))
        full = np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)) > 0.5
        return _tidy(full, self.settings)


def _box_trimap(box: Box, image: Image, work: Image, settings: GrabCutSettings) -> npt.NDArray[np.uint8]:
    """Of a box alone: an ellipse that probably belongs, a small one that surely does, nothing outside the box."""
    scale_x, scale_y = work.shape[1] / image.shape[1], work.shape[0] / image.shape[0]
    centre = (round((box[0] + box[2]) / 2 * scale_x), round((box[1] + box[3]) / 2 * scale_y))
    sides = ((box[2] - box[0]) * scale_x, (box[3] - box[1]) * scale_y)
    trimap = np.full(work.shape[:2], cv2.GC_BGD, np.uint8)
    left, top = max(0, round(box[0] * scale_x)), max(0, round(box[1] * scale_y))
    trimap[top : max(top, round(box[3] * scale_y)), left : max(left, round(box[2] * scale_x))] = cv2.GC_PR_BGD
    for shares, label in ((settings.ellipse, cv2.GC_PR_FGD), (settings.ellipse_core, cv2.GC_FGD)):
        axes = (max(1, round(shares[0] * sides[0])), max(1, round(shares[1] * sides[1])))
        cv2.ellipse(trimap, centre, axes, 0, 0, 360, label, -1)
    return trimap


def _cut(work: Image, trimap: npt.NDArray[np.uint8], settings: GrabCutSettings) -> Mask:
    """GrabCut in a padded window; all False where either side has too few pixels to learn from."""
    window = _window(trimap != cv2.GC_BGD, settings.padding, 8)
    labels = trimap[window].copy()
    cut = np.zeros(trimap.shape, np.bool_)
    inside = np.count_nonzero(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    if min(inside, labels.size - inside) < _FEWEST_SAMPLES:
        return cut
    models = np.zeros((2, 1, 65), np.float64)
    cv2.setRNGSeed(_GRABCUT_SEED)
    picture = np.ascontiguousarray(work[window])
    cv2.grabCut(picture, labels, (0, 0, 1, 1), models[0], models[1], settings.iterations, cv2.GC_INIT_WITH_MASK)
    cut[window] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return _tidy(cut, settings)


def _window(mask: Mask, padding: float, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the mask's box, widened by `padding` of its sides and `margin` pixels."""
    spans = []
    for axis in (1, 0):
        filled = np.flatnonzero(mask.any(axis=axis))
        first, last = int(filled[0]), int(filled[-1]) + 1
        wider = int((last - first) * padding) + margin
        spans.append(slice(max(0, first - wider), last + wider))
    return spans[0], spans[1]


def _tidy(mask: Mask, settings: GrabCutSettings) -> Mask:
    """`mask` without specks and small holes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count == 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    large = areas >= settings.min_piece * areas[1:].max()
    large[0] = False
    kept = np.asarray(large[labels], np.bool_)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] < settings.max_hole * np.count_nonzero(kept)
    hole[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    return kept | np.asarray(hole[labels], np.bool_)
