"""How good an edit is: BP, TA and TC as VIVID-10M defines them, and the error inside the mask where the truth is known.

Videos are uint8 RGB (frames, height, width, 3) at the size they are judged at, masks bool (frames, height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.boxes import extent
from models.protocols import Image
from stages.score import square_window

Video = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]

REGION_MARGIN = 0.1
"""Surroundings of the edited region that CLIP sees, share of its longer side."""
SLOW_FPS = 7.5
"""Frame rate the paper compares temporal consistency at."""


class Clip(Protocol):
    """Features of pictures and scores of picture and text, as `models.clip.ClipScorer` gives them."""

    def embed(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        """(images, features), not normalised."""
        ...

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        """100 · max(cos, 0) per pair."""
        ...


def background_preservation(original: Video, edited: Video, masks: Masks) -> float | None:
    """BP: mean absolute difference outside the mask, 0..255; lower is better. None where the mask covers everything.

    Both videos are masked and the sum is divided by the values outside the mask alone, so large masks do not flatter.
    """
    return _mean_difference(original, edited, ~_fitting(original, edited, masks))


def masked_error(truth: Video, edited: Video, masks: Masks) -> float | None:
    """Mean absolute difference to the truth inside the mask, 0..255 (a deletion's truth is the untouched clip)."""
    return _mean_difference(truth, edited, _fitting(truth, edited, masks))


def text_alignment(clip: Clip, edited: Video, masks: Masks, caption: str) -> float | None:
    """TA: mean CLIP score of edited region and caption over the frames with a mask; None where there is none."""
    regions = [
        square_window(frame, extent(mask), REGION_MARGIN)
        for frame, mask in zip(edited, masks, strict=True)
        if mask.any()
    ]
    if not regions:
        return None
    return float(np.mean(clip.score(regions, [caption] * len(regions))))


def temporal_consistency(clip: Clip, edited: Video, fps: float, at_fps: float | None = None) -> float | None:
    """TC: mean cosine of the CLIP features of consecutive frames, -1..1; None for a single frame.

    `at_fps` thins the video out to that rate before (never up).
    """
    frames = edited if at_fps is None else edited[thinned(len(edited), fps, at_fps)]
    if len(frames) < 2:
        return None
    features = clip.embed(list(frames)).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return float(np.mean(np.sum(features[1:] * features[:-1], axis=1)))


def thinned(count: int, fps: float, at_fps: float) -> list[int]:
    """Frame numbers of `count` frames at `fps`, thinned out to `at_fps` (the nearest frame to each moment)."""
    if at_fps >= fps:
        return list(range(count))
    moments = np.arange(0, count / fps - 1e-9, 1 / at_fps)
    return sorted({min(count - 1, int(np.floor(moment * fps + 0.5))) for moment in moments})


def bootstrap_interval(
    values: Sequence[float],
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` (at least one).

    `clusters` names what each value belongs to. Whole clusters are then drawn: edits of one source video resemble each
    other, and taken for independent they would make the interval too narrow. Of a single cluster there is nothing to
    draw from, and the interval shrinks to the mean.
    """
    data = np.asarray(values, np.float64)
    cluster = np.arange(len(data)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums, counts = np.bincount(cluster, data), np.bincount(cluster)
    chosen = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _fitting(one: Video, other: Video, masks: Masks) -> Masks:
    if one.shape != other.shape or masks.shape != one.shape[:3]:
        raise ValueError(f"videos of {one.shape} and {other.shape} with masks of {masks.shape} do not fit together")
    return masks


def _mean_difference(one: Video, other: Video, region: Masks) -> float | None:
    if not region.any():
        return None
    total, count = 0.0, 0
    # Frame by frame: the differences of a whole video would take four times its memory.
    for first, second, here in zip(one, other, region, strict=True):
        total += float(np.abs(first[here].astype(np.int16) - second[here]).sum())
        count += 3 * int(here.sum())
    return total / count
