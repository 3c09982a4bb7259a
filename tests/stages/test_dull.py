from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from media_files import moving_frames, write_video

from stages.clip_builder import FoundClip, thumbnail
from stages.dull import Dull, DullSettings, find_dull
from stages.normalise import NormaliseSettings, normalise
from stages.probe import probe

SETTINGS = DullSettings()
FPS = 10
WIDTH, HEIGHT = 256, 144


def picture(seed=0):
    """A grey picture with detail at several scales."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, 2 * n), np.float32), (WIDTH, HEIGHT), interpolation=3) for n in (3, 8, 24)]
    return (30 + 190 * np.clip(sum(layers) / 3, 0, 1)).astype(np.float32)


def clip(frames, fps=Fraction(FPS)):
    """A found clip of these grey frames."""
    thumbnails = np.stack([thumbnail(np.clip(frame, 0, 255).astype(np.uint8)) for frame in frames])
    kind = "video" if fps else "image"
    return FoundClip(0, 0, kind, WIDTH, HEIGHT, fps, len(frames), b"", "0" * 16, 0.0, 0.0, thumbnails)


def reason(frames, fps=Fraction(FPS)):
    found = find_dull(clip(frames, fps), SETTINGS)
    return found and found.reason


def with_disc(background, x, radius, contrast=60):
    """A frame with a lighter or darker disc at column `x`, which need not be whole."""
    cover = np.zeros(background.shape, np.uint8)
    cv2.circle(cover, (round(16 * x), 16 * 70), round(16 * radius), 255, -1, cv2.LINE_AA, 4)
    return background + cover / 255 * (contrast if background[70, 100] < 128 else -contrast)


def faded(first, second, hold, fade):
    """Two slides, one dissolving into the other."""
    between = [first + (second - first) * (step + 1) / (fade + 1) for step in range(fade)]
    return [first] * hold + between + [second] * hold


def test_what_moves_is_kept():
    panned = [np.roll(picture(), 3 * number, axis=1) for number in range(50)]
    assert reason(panned) is None


def test_black_is_dark_everywhere():
    rng = np.random.default_rng(0)
    black = [np.abs(rng.normal(4, 6, (HEIGHT, WIDTH))) for _ in range(50)]
    assert find_dull(clip(black), SETTINGS) == Dull("black", 1.0, 0.9)
    with_lamp = [with_disc(frame, 60 + number, 3, 120) for number, frame in enumerate(black)]
    assert reason(with_lamp) is None


def test_fading_in_from_black_is_kept():
    panned = [np.roll(picture(), 3 * number, axis=1) for number in range(50)]
    faded_in = [frame * min(1, number / 15) for number, frame in enumerate(panned)]
    assert reason(faded_in) is None
    assert find_dull(clip([frame * 0 for frame in panned[:46]] + panned[46:]), SETTINGS) == Dull("black", 0.92, 0.9)


def test_one_plain_area_is_blank():
    rng = np.random.default_rng(0)
    sky = np.tile(np.linspace(180, 188, HEIGHT)[:, None], (1, WIDTH)).astype(np.float32)
    blank = [sky + rng.normal(0, 3, sky.shape) + number % 3 for number in range(50)]
    assert find_dull(clip(blank), SETTINGS) == Dull("blank", 1.0, 0.9)
    with_bird = [with_disc(frame, 40 + 3 * number, 4) for number, frame in enumerate(blank)]
    assert reason(with_bird) is None


@pytest.mark.parametrize("grain", [0, 2, 5])
def test_frozen_is_found_under_grain(grain):
    rng = np.random.default_rng(0)
    frames = [picture() + rng.normal(0, grain, (HEIGHT, WIDTH)) for _ in range(60)]
    assert find_dull(clip(frames), SETTINGS) == Dull("frozen", 1.0, 0.98)


@pytest.mark.parametrize(("radius", "way"), [(2, 8), (3, 6), (6, 10)])
def test_a_slow_small_thing_before_a_still_camera_is_not_frozen(radius, way):
    rng = np.random.default_rng(0)
    frames = [
        with_disc(picture(), 100 + way * number / 100, radius) + rng.normal(0, 3, (HEIGHT, WIDTH))
        for number in range(100)
    ]
    assert reason(frames) is None


def test_a_short_event_in_a_still_scene_is_not_frozen():
    still = picture()
    crossing = [with_disc(still, 20 + 40 * step, 5) for step in range(5)]
    assert reason([still] * 45 + crossing + [still] * 45) is None


def test_a_flash_or_a_stray_last_frame_does_not_hide_a_frozen_clip():
    still = picture()
    assert reason([still] * 60 + [still + 40] + [still] * 60) == "frozen"
    assert reason([still] * 60 + [picture(1)]) == "frozen"
    assert reason([still] * 40 + [picture(1)] * 2) is None


@pytest.mark.parametrize("fade", [0, 5, 10])
def test_slides_with_and_without_fades_are_a_slide_show(fade):
    found = find_dull(clip(faded(picture(0), picture(1), 25, fade)), SETTINGS)
    assert found is not None
    assert (found.reason, found.threshold) == ("slide_show", 0.7)
    # The first steps of a fade are too faint to tell from the slide.
    assert 50 / (50 + fade) <= found.value <= 54 / (50 + fade)


def test_slides_of_one_picture_that_little_differs_are_none():
    """A chess board: long stillness, then a piece stands elsewhere."""
    frames = [with_disc(picture(), 40 + 30 * move, 5) for move in range(5) for _ in range(12)]
    assert reason(frames) is None


def test_brief_stops_are_no_slides():
    """Animation held for half a second."""
    assert reason([picture(seed) for seed in range(12) for _ in range(5)]) is None


def test_a_slow_zoom_into_a_photograph_is_kept():
    photo = picture()
    frames = []
    for number in range(100):
        scale = 1 + 0.12 * number / 100
        matrix = np.float32([[scale, 0, (1 - scale) * WIDTH / 2], [0, scale, (1 - scale) * HEIGHT / 2]])
        frames.append(cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT)))
    assert reason(frames) is None


def test_an_image_is_dull_only_when_it_is_empty():
    assert reason([picture()], fps=None) is None
    assert reason([picture() * 0 + 5], fps=None) == "black"
    assert reason([picture() * 0 + 130], fps=None) == "blank"


def test_thresholds_come_from_the_settings():
    frames = [np.roll(picture(), 3 * number, axis=1) for number in range(30)]
    assert find_dull(clip(frames), DullSettings(black_luma=255)).reason == "black"
    assert find_dull(clip(frames), DullSettings(blank_contrast=255)).reason == "blank"
    assert find_dull(clip(frames), DullSettings(still_change=255)).reason == "frozen"
    slides = faded(picture(0), picture(1), 8, 0)
    assert reason(slides) is None
    assert find_dull(clip(slides), DullSettings(slide_seconds=0.8)).reason == "slide_show"


def test_the_message_is_one_sentence():
    assert Dull("frozen", 0.991, 0.98).message == "99% of the frames show the same still picture, at least 98%."


NORMALISE = NormaliseSettings(min_short_side=96, max_short_side=384, min_duration=1)


@pytest.mark.parametrize("crf", [18, 38])
def test_encoded_clips_are_judged_alike(tmp_path, crf):
    # A spot of 8×8 pixels: of the two pixels of a tiny clip, strong compression changes the mean.
    moving = moving_frames(40, width=512, height=384)
    rng = np.random.default_rng(0)
    grainy = [np.clip(moving[0] + rng.normal(0, 2, moving[0].shape), 0, 255).astype(np.uint8) for _ in range(40)]
    for frames, expected in (
        (moving, None),
        ([moving[0]] * 40, "frozen"),
        (grainy, "frozen"),
        ([frame // 20 for frame in moving], "black"),
    ):
        path = write_video(tmp_path / "a.mp4", frames, codec_options={"crf": str(crf)})
        (found,) = normalise(path, probe(path, NORMALISE.media), NORMALISE)
        dull = find_dull(found, SETTINGS)
        assert (dull and dull.reason) == expected


def test_real_clips_are_not_dull(shared_data):
    settings = NormaliseSettings(min_short_side=96, max_short_side=96, max_duration=5)
    path = shared_data / "clips" / "05_default_juggle.mp4"
    found = list(normalise(path, probe(path, settings.media), settings))
    assert [find_dull(piece, SETTINGS) for piece in found if isinstance(piece, FoundClip)] == [None, None]
