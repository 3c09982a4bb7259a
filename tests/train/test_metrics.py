from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from models.protocols import Image
from train.metrics import (
    background_preservation,
    bootstrap_interval,
    masked_error,
    temporal_consistency,
    text_alignment,
    thinned,
)

RNG = np.random.default_rng(3)
VIDEO = RNG.integers(0, 256, (4, 20, 30, 3), np.uint8)
MASKS = np.zeros((4, 20, 30), np.bool_)
MASKS[:, 5:12, 8:20] = True


class MeanColourClip:
    """Features are mean colours; a caption's score is the red it sees, so that what is shown can be told."""

    def __init__(self) -> None:
        self.shown: list[Image] = []

    def embed(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        return np.stack([image.reshape(-1, 3).mean(axis=0) for image in images]).astype(np.float32)

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        self.shown += images
        return [float(image[..., 0].mean()) for image in images]


def test_identity_preserves_everything() -> None:
    assert background_preservation(VIDEO, VIDEO, MASKS) == 0
    assert masked_error(VIDEO, VIDEO, MASKS) == 0


def test_an_edit_inside_the_mask_leaves_the_background() -> None:
    edited = VIDEO.copy()
    edited[MASKS] = 7
    assert background_preservation(VIDEO, edited, MASKS) == 0
    assert masked_error(VIDEO, edited, MASKS) == pytest.approx(np.abs(VIDEO[MASKS].astype(float) - 7).mean())


def test_a_shifted_gradient_has_the_known_value() -> None:
    """Columns 0, 4, 8, …: shifted right by one, every pixel outside differs by 4 (the first column repeats)."""
    row = (4 * np.arange(30)).astype(np.uint8)
    video = np.broadcast_to(row[None, None, :, None], (4, 20, 30, 3)).copy()
    shifted = np.concatenate([video[:, :, :1], video[:, :, :-1]], axis=2)
    outside = ~MASKS[0]
    expected = 4 * outside[:, 1:].sum() / outside.sum()
    assert background_preservation(video, shifted, MASKS) == pytest.approx(expected)


def test_against_an_independent_computation() -> None:
    other = RNG.integers(0, 256, VIDEO.shape, np.uint8)
    values = [
        abs(int(VIDEO[f, y, x, c]) - int(other[f, y, x, c]))
        for f in range(4)
        for y in range(20)
        for x in range(30)
        for c in range(3)
        if not MASKS[f, y, x]
    ]
    assert background_preservation(VIDEO, other, MASKS) == pytest.approx(sum(values) / len(values))


def test_the_region_decides_and_not_its_size() -> None:
    edited = np.clip(VIDEO.astype(int) + 10, 0, 255).astype(np.uint8)
    flat = np.full_like(VIDEO, 100)
    for masks in (MASKS, np.zeros_like(MASKS)):
        assert background_preservation(flat, flat + 10, masks) == 10
    assert background_preservation(VIDEO, edited, np.ones_like(MASKS)) is None
    assert masked_error(VIDEO, edited, np.zeros_like(MASKS)) is None


def test_sizes_must_fit() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        background_preservation(VIDEO, VIDEO[:3], MASKS)


def test_text_alignment_sees_the_region_only() -> None:
    clip = MeanColourClip()
    video = np.zeros_like(VIDEO)
    video[MASKS, 0] = 200
    score = text_alignment(clip, video, MASKS, "red")
    assert {image.shape[0] for image in clip.shown} == {15}, "12 pixels and a tenth on both sides"
    # 12×7 of the 15×15 pixels are the region; the window's grey edge shows where it leaves the frame.
    assert score == pytest.approx(np.mean([image[..., 0].mean() for image in clip.shown]))
    assert all((image[..., 0] == 200).sum() == 84 for image in clip.shown)
    masks = MASKS.copy()
    masks[1:] = False
    assert len(MeanColourClip().shown) == 0
    few = MeanColourClip()
    text_alignment(few, video, masks, "red")
    assert len(few.shown) == 1, "frames without a mask do not count"
    assert text_alignment(clip, video, np.zeros_like(MASKS), "red") is None


def test_temporal_consistency_is_the_mean_cosine() -> None:
    still = np.repeat(VIDEO[:1], 5, axis=0)
    assert temporal_consistency(MeanColourClip(), still, 30) == pytest.approx(1)
    changing = np.zeros((3, 4, 4, 3), np.uint8)
    changing[0, ..., 0] = changing[1, ..., 0] = changing[1, ..., 1] = changing[2, ..., 1] = 100
    assert temporal_consistency(MeanColourClip(), changing, 30) == pytest.approx(np.sqrt(0.5))
    assert temporal_consistency(MeanColourClip(), VIDEO[:1], 30) is None


def test_at_a_lower_rate_frames_are_further_apart() -> None:
    assert thinned(8, 30, 7.5) == [0, 4]
    assert thinned(9, 30, 7.5) == [0, 4, 8]
    assert thinned(5, 6, 7.5) == [0, 1, 2, 3, 4]
    assert thinned(25, 25, 7.5) == [0, 3, 7, 10, 13, 17, 20, 23]
    flicker = np.zeros((9, 4, 4, 3), np.uint8)
    flicker[::4] = (200, 0, 0)
    flicker[1::4] = flicker[2::4] = flicker[3::4] = (0, 200, 0)
    assert temporal_consistency(MeanColourClip(), flicker, 30, 7.5) == pytest.approx(1)
    assert temporal_consistency(MeanColourClip(), flicker, 30) == pytest.approx(0.5)


def test_bootstrap_interval_holds_the_mean_and_narrows() -> None:
    few, many = RNG.normal(5, 1, 10), RNG.normal(5, 1, 1000)
    low, high = bootstrap_interval(list(few))
    assert low < few.mean() < high
    narrow = bootstrap_interval(list(many))
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 / np.sqrt(1000), rel=0.15)
    assert bootstrap_interval(list(few)) == (low, high)
    assert bootstrap_interval([3.0]) == (3.0, 3.0)


def test_bootstrap_draws_whole_clusters() -> None:
    videos = RNG.normal(5, 1, 12)
    repeated, names = np.repeat(videos, 4), [f"video {number}" for number in range(12) for _ in range(4)]
    alone = bootstrap_interval(list(videos))
    assert bootstrap_interval(list(repeated), clusters=names)[0] == pytest.approx(alone[0], abs=0.1)
    narrow = bootstrap_interval(list(repeated))
    wide = bootstrap_interval(list(repeated), clusters=names)
    assert wide[1] - wide[0] == pytest.approx(2 * (narrow[1] - narrow[0]), rel=0.2), "copies are no new evidence"
    assert bootstrap_interval([1.0, 1.0, 4.0], clusters=["a", "a", "b"]) == (1, 4)
