"""Captions of synthetic views against what the views show."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from models.attributes import AttributeCaptioner, AttributeSettings, describe
from models.phrasing import share_words
from models.protocols import Captions, EntityView, NoCaptions
from models.registry import ModelChoice, make_model

SETTINGS = AttributeSettings()
COLOURS = {
    "black": (15, 15, 15),
    "white": (248, 248, 248),
    "grey": (130, 130, 130),
    "red": (210, 20, 30),
    "orange": (245, 130, 20),
    "yellow": (250, 225, 30),
    "green": (30, 150, 50),
    "blue": (30, 80, 210),
    "purple": (130, 45, 160),
    "pink": (250, 125, 180),
    "brown": (125, 75, 40),
}
HEIGHT, WIDTH = 64, 96
FRAMES = 48


def scene(boxes, colour="red", ellipse=False, size=(HEIGHT, WIDTH)):
    """Frames and masks with a box (x0, y0, x1, y1 in pixels, None for unseen) of one colour on mid green-grey."""
    frames, masks = [], []
    for box in boxes:
        mask = np.zeros(size, np.uint8)
        if box is not None and ellipse:
            x0, y0, x1, y1 = box
            cv2.ellipse(mask, (((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2), (x1 - x0, y1 - y0), 0), 1, -1)
        elif box is not None:
            mask[box[1] : box[3], box[0] : box[2]] = 1
        frame = np.full((*size, 3), (96, 110, 98), np.uint8)
        frame[mask > 0] = COLOURS[colour]
        frames.append(frame)
        masks.append(mask > 0)
    return tuple(frames), tuple(masks)


def view(boxes, path=None, seconds=2.0, tag="object", key="0123456789abcdef-00", **drawn):
    frames, masks = scene(boxes, **drawn)
    if path is None:
        path = np.full((FRAMES, 2), 0.5)
    return EntityView(key, 3, tag, frames, masks, np.asarray(path, np.float32), seconds)


def image_view(box, **drawn):
    return view([box], np.full((1, 2), 0.5), 0.0, **drawn)


def line(start, end):
    return np.linspace(start, end, FRAMES)


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_medium_names_the_colour(colour):
    captions = AttributeCaptioner().caption([image_view((30, 20, 60, 44), colour=colour)])[0]
    assert captions.short == "an object"
    assert captions.medium.endswith(f" {colour} object")


@pytest.mark.parametrize(
    ("box", "size"),
    [((40, 30, 44, 34), "tiny"), ((40, 30, 50, 40), "small"), ((30, 20, 50, 40), None), ((20, 10, 60, 50), "large")],
)
def test_size_words(box, size):
    assert describe(image_view(box), SETTINGS).size == size


def test_the_largest_size_word():
    assert describe(image_view((5, 5, 90, 60)), SETTINGS).size == "very large"


@pytest.mark.parametrize(
    ("box", "ellipse", "shape"),
    [
        ((40, 10, 52, 50), False, "tall"),
        ((20, 30, 70, 46), False, "wide"),
        ((30, 15, 61, 46), True, "round"),
        ((30, 20, 60, 44), False, None),
        ((35, 20, 61, 46), False, None),
        ((40, 30, 45, 35), True, None),
        ((0, 10, 12, 50), False, None),
    ],
)
def test_shape_words_only_where_clear(box, ellipse, shape):
    assert describe(image_view(box, ellipse=ellipse), SETTINGS).shape == shape


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((2, 2, 14, 12), "in the upper left of the frame"),
        ((82, 50, 94, 62), "in the lower right of the frame"),
        ((2, 26, 14, 38), "on the left side of the frame"),
        ((82, 26, 94, 38), "on the right side of the frame"),
        ((42, 2, 54, 12), "in the upper part of the frame"),
        ((42, 50, 54, 62), "in the lower part of the frame"),
        ((42, 26, 54, 38), "near the centre of the frame"),
    ],
)
def test_places(box, place):
    assert describe(image_view(box), SETTINGS).place == place


def test_edges_of_the_frame_it_lies_on():
    assert describe(image_view((0, 20, 20, 40)), SETTINGS).edges == ("left",)
    assert describe(image_view((70, 40, 96, 64)), SETTINGS).edges == ("right", "bottom")
    assert describe(image_view((1, 1, 95, 63)), SETTINGS).edges == ()


def test_a_strong_pattern_of_light_and_dark_is_seen_and_grain_or_shading_is_not():
    plain = image_view((20, 10, 70, 50), colour="grey")
    mask = plain.masks[0]

    def patterned(frame):
        return describe(EntityView("k", 0, "object", (frame,), (mask,), plain.path, 0.0), SETTINGS).patterned

    noise = np.random.default_rng(0).normal(0, 14, plain.frames[0].shape)
    assert not patterned(np.clip(plain.frames[0] + noise, 0, 255).astype(np.uint8))
    shaded = plain.frames[0] * np.linspace(0.3, 1.5, WIDTH)[None, :, None]
    assert not patterned(np.clip(shaded, 0, 255).astype(np.uint8))
    striped = plain.frames[0].copy()
    striped[:, (np.arange(WIDTH) // 5) % 2 == 0] = 240
    striped[:, (np.arange(WIDTH) // 5) % 2 == 1] = 20
    assert patterned(striped)


def test_growth_needs_a_steady_change_clear_of_the_edges():
    def growth(*boxes):
        action = describe(view(list(boxes)), SETTINGS).action
        assert action is not None
        return action.growth

    small, medium, large = (40, 26, 52, 38), (38, 24, 54, 40), (36, 20, 58, 42)
    assert growth(small, medium, large) == "larger"
    assert growth(large, medium, small) == "smaller"
    assert growth(small, large) is None
    assert growth(small, small, small) is None
    assert growth(small, large, medium, large) is None
    assert growth((0, 10, 40, 50), (0, 20, 20, 40), (0, 26, 8, 34)) is None


def test_movement_absence_and_late_appearance_come_from_path_and_masks():
    path = np.stack([line(0.2, 0.7), np.full(FRAMES, 0.5)], axis=1)
    path[40:] = np.nan
    boxes = [(10, 25, 22, 37), (40, 25, 52, 37), (70, 25, 82, 37)]
    action = describe(view(boxes, path), SETTINGS).action
    assert action is not None
    assert action.absence == "at the end"
    assert action.later_place == "on the right side of the frame"
    assert not action.appears_late
    late = describe(view([None, *boxes], path), SETTINGS).action
    assert late is not None
    assert late.appears_late


def test_a_later_place_that_the_camera_made_is_left_out():
    path = np.stack([line(0.7, 0.2), np.full(FRAMES, 0.5)], axis=1)
    action = describe(view([(10, 25, 22, 37), (70, 25, 82, 37)], path), SETTINGS).action
    assert action is not None
    assert action.later_place is None


def test_colours_come_from_an_early_frame_that_shows_enough():
    frames, masks = scene([(40, 30, 42, 32), (30, 20, 60, 44), (30, 20, 60, 44)], colour="blue")
    frames[0][masks[0]] = COLOURS["yellow"]
    frames[2][masks[2]] = COLOURS["red"]
    seen = EntityView("k", 0, "object", frames, masks, np.full((FRAMES, 2), 0.5, np.float32), 2.0)
    assert describe(seen, SETTINGS).colours == ("blue",)


def test_a_single_frame_of_a_video_without_a_path_is_an_image():
    assert describe(view([(30, 20, 60, 44)], np.zeros((0, 2))), SETTINGS).action is None


def test_bad_views_are_refused_in_one_sentence():
    frames, masks = scene([(30, 20, 60, 44)])
    path = np.zeros((1, 2), np.float32)
    bad = [
        view([None, None]),
        EntityView("k", 0, "object", frames, masks * 2, path, 0.0),
        EntityView("k", 0, "object", frames, (masks[0][:-1],), path, 0.0),
    ]
    answers = AttributeCaptioner().caption(bad)
    assert answers[0] == NoCaptions(
        "no_caption", "all masks of 0123456789abcdef-00 are empty, so there is nothing to describe"
    )
    assert "1 frames but 2 masks" in answers[1].message
    assert "has a mask of" in answers[2].message


def test_the_registry_makes_it_with_settings():
    captioner = make_model(ModelChoice(name="attributes", settings={"tiny": 0.2, "small": 0.25}))
    assert captioner.caption([image_view((30, 20, 60, 44))])[0].short == "an object"
    assert describe(image_view((30, 20, 60, 44)), AttributeSettings(tiny=0.2, small=0.25)).size == "tiny"
    assert AttributeCaptioner.info.revision


@dataclass(frozen=True)
class Case:
    """A random view and the truth about it."""

    view: EntityView
    colour: str
    net: np.ndarray
    centre: np.ndarray


TAGS = ("object", "object", "dog", "umbrella", "person", "man", "cups", "scissors", "hour glass", "furniture", "SUV")


def random_case(number):
    rng = np.random.default_rng(number)
    colour = sorted(COLOURS)[rng.integers(len(COLOURS))]
    width, height = rng.integers(2, 40, 2)
    seconds = 0.0 if rng.random() < 0.25 else float(rng.uniform(0.5, 8))
    start = rng.uniform(0.05, 0.95, 2)
    way = rng.choice([0.0, 0.05, 0.3, 0.6]) * rng.uniform(-1, 1, 2)
    time = np.linspace(0, 1, FRAMES)[:, None]
    path = start + way * time + rng.choice([0.0, 0.15]) * np.sin(time * rng.uniform(0, 15)) * rng.uniform(-1, 1, 2)
    path += rng.normal(0, 0.003, path.shape)
    boxes = []
    for index in (0, FRAMES // 3, 2 * FRAMES // 3, FRAMES - 1):
        x, y = np.clip(path[index], 0.05, 0.95) * (WIDTH, HEIGHT)
        box = (max(0, int(x - width / 2)), max(0, int(y - height / 2)), int(x + width / 2) + 1, int(y + height / 2) + 1)
        boxes.append(box if index == 0 or rng.random() < 0.9 else None)
    if rng.random() < 0.3:
        path[rng.integers(5, 40) :][: rng.integers(1, 30)] = np.nan
    if seconds == 0:
        boxes, path = boxes[:1], path[:1]
    tag = TAGS[rng.integers(len(TAGS))]
    made = view(boxes, path, seconds, tag, f"{number:016x}-00", colour=colour, ellipse=bool(rng.random() < 0.5))
    for frame in made.frames:
        frame[:] = np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255)
    seen = path[np.isfinite(path).all(axis=1)]
    rows, columns = np.nonzero(made.masks[0])
    centre = np.array([(columns.mean() + 0.5) / WIDTH, (rows.mean() + 0.5) / HEIGHT])
    return Case(made, colour, seen[-1] - seen[0], centre)


@functools.cache
def each():
    """400 random cases with their captions."""
    captioner = AttributeCaptioner()
    return [(case, captioner.caption([case.view])[0]) for case in map(random_case, range(400))]


def test_random_captions_are_well_formed():
    for case, captions in each():
        text = f"{captions.short} | {captions.medium} | {captions.long}"
        assert not re.search(r"None|nan|[{}_]|  | [.,]|\.\.", text), text
        assert not re.search(r"\ba (?=[aeiou])(?!uni)|\ban (?=[^aeiouhS])", text), text
        sentences = captions.long.split(". ")
        assert 3 <= len(sentences) <= 5, text
        assert all(sentence[0].isupper() for sentence in sentences), text
        assert captions.long.endswith(".")
        assert not captions.short.endswith(".")
        assert not captions.medium.endswith(".")
        assert len(set(sentences)) == len(sentences)
        assert case.view.tag in captions.short
        assert case.view.tag in captions.medium
        assert case.view.tag.lower() in captions.long.lower()


def test_random_captions_vary_and_repeat_exactly():
    assert len({captions.long for _, captions in each()}) > 0.95 * len(each())
    again = AttributeCaptioner()
    assert all(again.caption([case.view])[0] == captions for case, captions in each()[:40])


def test_random_captions_name_the_right_colour():
    right = [case.colour in captions.medium for case, captions in each()]
    assert np.mean(right) >= 0.98


def test_directions_agree_with_the_path():
    told = 0
    for case, captions in each():
        if " back" in captions.long:
            continue
        long = re.sub(r"[^.]* edges? of the frame\.", "", captions.long)
        for words, axis, sign in (
            (r"(to|towards) the left", 0, -1),
            (r"(to|towards) the right", 0, 1),
            (r"\b(upwards|up and to|up towards)", 1, -1),
            (r"\b(downwards|down and to|down towards)", 1, 1),
        ):
            if re.search(words, long):
                told += 1
                assert sign * case.net[axis] > 0, long
    assert told > 60


def test_places_and_shares_agree_with_the_first_mask():
    for case, captions in each():
        first = captions.long.split(". ")[0]
        x, y = case.centre
        assert ("left" in first) == (x < 0.36), first
        assert ("right" in first) == (x > 0.64), first
        assert ("upper" in first) == (y < 0.36), first
        assert ("lower" in first) == (y > 0.64), first
        assert share_words(float(case.view.masks[0].mean())) in captions.long


def test_images_never_speak_of_time():
    images = [captions for case, captions in each() if case.view.seconds == 0]
    assert len(images) > 60
    for captions in images:
        words = (
            r"\b(moves?|clip|stays?|still|slowly|quickly|later|first|start\w*|begin\w*|end|becomes?|remains?|keeps?)\b"
        )
        assert not re.search(words, captions.long), captions.long


def test_videos_without_a_gap_never_speak_of_absence():
    for case, captions in each():
        if np.isfinite(case.view.path).all():
            assert not re.search(r"out of view|no longer|cannot be seen", captions.long)


def test_real_swan(shared_data):
    image = cv2.imread(str(shared_data / "davis/JPEGImages/blackswan/00000.jpg"))[..., ::-1].copy()
    mask = cv2.imread(str(shared_data / "davis/Annotations/blackswan/00000.png"), cv2.IMREAD_GRAYSCALE) > 127
    swan = EntityView("0123456789abcdef-01", 0, "swan", (image,), (mask,), np.full((1, 2), 0.5, np.float32), 0.0)
    captions = AttributeCaptioner().caption([swan])[0]
    assert isinstance(captions, Captions)
    assert captions.medium == "a black swan"
    assert "about a tenth of the frame" in captions.long
