"""Scoring of captions: what the scorer is shown, what is stored, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError
from small_work import block, clip_row, context_in, image_row, numbered_frames, track_of, work_of

from models.protocols import Captions, Image, ModelInfo
from stages.score import GREY, Score, ScoreSettings, square_window
from stages.work import ClipWork, Track


class ScorerSettings(BaseModel, frozen=True, extra="forbid"):
    scores: dict[str, float] = {}


class FakeScorer:
    """Scores a text as it is told to."""

    Settings = ScorerSettings
    batched = True
    info = ModelInfo("fake_scorer", "4")

    def __init__(self, settings: ScorerSettings) -> None:
        self.settings = settings
        self.calls: list[tuple[list[Image], list[str]]] = []

    def score(self, images: Sequence[Image], texts: Sequence[str]) -> list[float]:
        self.calls.append((list(images), list(texts)))
        return [self.settings.scores.get(text, 50.0) for text in texts]


class ScorerOfOne(FakeScorer):
    """Gains nothing from several at once."""

    batched = False


def scored(
    records: Sequence[ClipWork],
    folder: Path,
    scorer: str = "FakeScorer",
    scores: dict[str, float] | None = None,
    **settings: Any,
) -> FakeScorer:
    chosen = {"name": f"test_score:{scorer}", "settings": {"scores": scores or {}}}
    stage = Score(ScoreSettings.model_validate({"scorer": chosen, **settings}))
    stage.setup(context_in(folder))
    stage.run(records)
    return stage.scorer  # type: ignore[return-value]


def captioned(track: Track) -> Track:
    track.captions = Captions(f"a {track.tag}", f"a fine {track.tag}", f"A fine {track.tag} is here.")
    return track


def clip_of_two() -> ClipWork:
    """A dog of 16 × 16 that moves by 4 pixels a frame, a cat that comes in the third frame and grows, and grass."""
    dog = [block(4 * index, 8) for index in range(6)]
    cat = [block(0, 0, 0, 0)] * 2 + [block(40, 20, 6 + 2 * index, 10) for index in range(4)]
    tracks = [captioned(track_of(masks, number, tag=tag)) for number, tag, masks in ((0, "dog", dog), (1, "cat", cat))]
    tracks.append(track_of([block(0, 40)], 80, "background", "grass"))
    return work_of(clip_row(num_frames=6), numbered_frames(6), tracks)


def test_the_score_of_the_chosen_caption_is_stored(tmp_path: Path) -> None:
    record = clip_of_two()
    scorer = scored([record], tmp_path, scores={"a fine dog": 31.41592653, "a fine cat": 0.0})
    dog, cat, grass = record.tracks
    assert (dog.caption_score, cat.caption_score, grass.caption_score) == (31.4159, 0.0, None)
    assert dog.models == {"scorer": "fake_scorer@4"}
    assert grass.models == {}
    assert [texts for _, texts in scorer.calls] == [["a fine dog", "a fine cat"]]
    assert not record.rejects
    for caption, text in (("short", "a dog"), ("long", "A fine dog is here.")):
        assert scored([clip_of_two()], tmp_path, caption=caption).calls[0][1][0] == text


def test_tracks_below_the_threshold_are_left_out_with_both_numbers(tmp_path: Path) -> None:
    record = clip_of_two()
    scored([record], tmp_path, scores={"a fine dog": 20.0, "a fine cat": 19.9951}, min_score=20)
    assert [track.tag for track in record.tracks] == ["dog", "grass"]
    (reject,) = record.rejects
    assert (reject.id, reject.level, reject.stage, reject.state) == (f"{record.id}-01", "track", "score", "filtered")
    assert (reject.reason, reject.value, reject.threshold) == ("min_score", 19.9951, 20)
    assert reject.message == "its medium caption fits its picture with a score of 19.9951"
    assert not record.dropped


def test_the_scorer_sees_the_entity_alone_on_grey(tmp_path: Path) -> None:
    record = clip_of_two()
    record.decoded()[0][:] = np.arange(96, dtype=np.uint8)[:, None]
    mask = block(20, 8)
    mask[8:12, 20:24] = False
    record.tracks = [captioned(track_of([mask] * 6, tag="dog"))]
    ((shown,), _), *_ = scored([record], tmp_path, margin=0.25).calls
    assert shown.shape == (24, 24, 3)
    expected = np.full((24, 24), GREY, np.uint8)
    expected[4:20, 4:20] = np.arange(20, 36)
    expected[4:8, 4:8] = GREY
    np.testing.assert_array_equal(shown, np.repeat(expected[..., None], 3, axis=2))
    ((shown,), _), *_ = scored([record], tmp_path, margin=0.25, surroundings="kept").calls
    np.testing.assert_array_equal(shown[..., 0], np.tile(np.arange(16, 40), (24, 1)))


def test_the_first_frame_with_a_mask_or_the_largest_mask_is_shown(tmp_path: Path) -> None:
    def frames_shown(view: str) -> list[int]:
        images, _ = scored([clip_of_two()], tmp_path, view=view).calls[0]
        return [int(image[image.shape[0] // 2, image.shape[1] // 2, 0]) for image in images]

    assert frames_shown("first") == [0, 2]
    assert frames_shown("largest") == [0, 5]


def test_an_image_is_scored_like_a_clip(tmp_path: Path) -> None:
    record = work_of(image_row(), numbered_frames(1), [captioned(track_of([block(0, 0)], tag="cup"))])
    scorer = scored([record], tmp_path, scores={"a fine cup": 27.0}, margin=0)
    assert record.tracks[0].caption_score == 27
    assert scorer.calls[0][0][0].shape == (16, 16, 3)


def test_several_clips_are_scored_at_once_or_one_by_one_as_the_scorer_likes(tmp_path: Path) -> None:
    records = [clip_of_two() for _ in range(3)]
    assert [len(texts) for _, texts in scored(records, tmp_path).calls] == [6]
    assert [len(texts) for _, texts in scored(records, tmp_path, "ScorerOfOne").calls] == [2, 2, 2]


def test_without_entities_or_masks_nothing_is_scored(tmp_path: Path) -> None:
    record = clip_of_two()
    unseen = captioned(track_of([block(0, 0), block(0, 0, 0, 0)], tag="ghost"))
    unseen.masks = unseen.masks.take([1, 1])
    record.tracks = [unseen, record.tracks[2]]
    scorer = scored([record], tmp_path, min_score=90)
    assert scorer.calls == []
    assert len(record.tracks) == 2
    assert unseen.caption_score is None


def test_scoring_before_captioning_says_so(tmp_path: Path) -> None:
    record = clip_of_two()
    record.tracks[1].captions = None
    with pytest.raises(ValueError, match=f"the track {record.id}-01 has no captions to score"):
        scored([record], tmp_path)


@pytest.mark.parametrize(
    ("box", "margin", "side", "corner"),
    [((10, 20, 14, 22), 0.0, 4, (10, 19)), ((10, 20, 14, 22), 0.5, 8, (8, 17)), ((0, 0, 1, 1), 0.1, 2, (-1, -1))],
)
def test_the_window_is_a_square_around_the_box(
    box: tuple[int, int, int, int], margin: float, side: int, corner: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    padded = np.pad(image, ((99, 99), (99, 99), (0, 0)), constant_values=GREY)
    x, y = corner
    np.testing.assert_array_equal(
        square_window(image, box, margin), padded[99 + y : 99 + y + side, 99 + x : 99 + x + side]
    )


def test_a_window_larger_than_the_frame_is_grey_around_it() -> None:
    window = square_window(np.zeros((64, 96, 3), np.uint8), (0, 0, 96, 64), 0.1)
    assert window.shape == (116, 116, 3)
    assert np.count_nonzero(window == 0) == 64 * 96 * 3
    assert not window[26:90, 10:106].any()


def test_settings_have_bounds() -> None:
    for wrong in ({"min_score": 101}, {"caption": "fixed"}, {"margin": -1}, {"view": "last"}):
        with pytest.raises(ValidationError):
            ScoreSettings.model_validate(wrong)
