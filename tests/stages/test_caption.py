"""Captioning: what the captioner is shown, and what happens to a thing it has no words for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fake_models import FakeCaptioner, choice, frame_numbers
from small_work import block, clip_row, context_in, image_row, numbered_frames, track_of, work_of

from models.protocols import Captions
from stages.caption import Caption, CaptionSettings
from stages.work import ClipWork


def captioned(
    record: ClipWork, folder: Path, speechless: tuple[str, ...] = (), seed: int = 5, **settings: Any
) -> FakeCaptioner:
    captioner = choice("FakeCaptioner", speechless=speechless)
    stage = Caption(CaptionSettings.model_validate({"captioner": captioner, **settings}))
    stage.setup(context_in(folder, seed=seed))
    stage.run([record])
    assert isinstance(stage.captioner, FakeCaptioner)
    return stage.captioner


def clip_of_three() -> ClipWork:
    masks = [block(4 * index, 8) for index in range(12)]
    tracks = [track_of(masks, number, tag=tag) for number, tag in enumerate(("dog", "thing", "cat"))]
    tracks.append(track_of([block(0, 40)], 80, "background", "grass"))
    return work_of(clip_row(), numbered_frames(12), tracks)


def test_each_entity_gets_its_three_captions(tmp_path: Path) -> None:
    record = clip_of_three()
    captioned(record, tmp_path)
    dog, _, cat, grass = record.tracks
    assert dog.captions == Captions("a dog", "a fine dog", "A fine dog is here.")
    assert cat.captions is not None
    assert cat.captions.short == "a cat"
    assert dog.models == {"captioner": "fake_captioner@3"}
    assert (grass.captions, grass.models) == (None, {})


def test_a_thing_without_words_fails_alone(tmp_path: Path) -> None:
    record = clip_of_three()
    captioned(record, tmp_path, speechless=("thing",))
    assert [track.tag for track in record.tracks] == ["dog", "cat", "grass"]
    assert all(track.captions for track in record.of_role("entity"))
    (reject,) = record.rejects
    assert (reject.id, reject.level, reject.stage) == (f"{record.id}-01", "track", "caption")
    assert (reject.state, reject.reason, reject.message) == ("failed", "no_caption", "there is no word for a thing")
    assert not record.dropped


def test_views_are_evenly_spaced_from_the_first_frame_to_the_last(tmp_path: Path) -> None:
    record = clip_of_three()
    path = np.linspace(0, 1, 24, dtype=np.float32).reshape(12, 2)
    record.tracks[0].path = path
    dog, thing, _ = captioned(record, tmp_path, seed=9).views
    assert frame_numbers(dog.frames) == [0, 4, 7, 11]
    for mask, index in zip(dog.masks, (0, 4, 7, 11), strict=True):
        np.testing.assert_array_equal(mask, block(4 * index, 8))
    assert (dog.key, dog.seed, dog.tag, dog.seconds) == (f"{record.id}-00", 9, "dog", 1.0)
    np.testing.assert_array_equal(dog.path, path)
    assert thing.path.shape == (12, 2)
    assert np.isnan(thing.path).all()


def test_more_views_than_frames_show_each_frame_once(tmp_path: Path) -> None:
    short = work_of(clip_row(num_frames=3), numbered_frames(3), [track_of([block(0, 0)] * 3)])
    assert frame_numbers(captioned(short, tmp_path, views=9).views[0].frames) == [0, 1, 2]
    image = work_of(image_row(), numbered_frames(1), [track_of([block(0, 0)])])
    (view,) = captioned(image, tmp_path).views
    assert len(view.frames) == 1
    assert view.seconds == 0


def test_pictures_and_masks_are_shrunk_alike(tmp_path: Path) -> None:
    frames = [np.zeros((64, 96, 3), np.uint8)]
    frames[0][16:48, 24:72] = 200
    record = work_of(image_row(), frames, [track_of([block(24, 16, 48, 32)])])
    (view,) = captioned(record, tmp_path, long_side=64).views
    assert view.frames[0].shape == (43, 64, 3)
    assert view.masks[0].dtype == np.bool_
    bright = view.frames[0][..., 0] > 100
    assert np.count_nonzero(bright ^ view.masks[0]) <= 0.05 * np.count_nonzero(bright)
    (whole,) = captioned(record, tmp_path, long_side=96).views
    assert whole.frames[0] is frames[0]
