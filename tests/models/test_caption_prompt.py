"""What is shown and asked, and which answers are taken."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.caption_prompt import (
    CaptionFault,
    CaptionRequest,
    PromptSettings,
    caption_views,
    entity_picture,
    parse_captions,
    prompt,
)
from models.protocols import Captions, EntityView, NoCaptions

SETTINGS = PromptSettings(side=64)
LONG = "A brown dog is running across a lawn. It wears a red collar. Its tongue hangs out of its mouth."
GOOD = {"short": "a dog", "medium": "a dog with a red collar", "long": LONG}
WANTED = Captions(GOOD["short"], GOOD["medium"], LONG)


def answer(**changes):
    return json.dumps(GOOD | changes, ensure_ascii=False)


def view(count=3, seconds=2.0, tag="dog", key="0123456789abcdef-00", hidden=()):
    """Frames whose grey level is 10 times their number; a 20×10 entity that steps to the right."""
    frames, masks = [], []
    for index in range(count):
        mask = np.zeros((48, 96), np.bool_)
        if index not in hidden:
            mask[10:30, 10 + 5 * index : 20 + 5 * index] = True
        frames.append(np.full((48, 96, 3), 10 * (index + 1), np.uint8))
        masks.append(mask)
    return EntityView(key, 3, tag, tuple(frames), tuple(masks), np.full((count, 2), 0.5, np.float32), seconds)


class Model:
    """Answers from a list per call, and keeps what it was asked."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)
        self.asked: list[list[CaptionRequest]] = []

    def __call__(self, wanted):
        self.asked.append(list(wanted))
        return self.rounds.pop(0)


def test_the_picture_is_the_entity_alone_on_grey():
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
    frame[5:25, 30:40] = (250, 20, 30)
    mask = np.zeros((40, 60), np.bool_)
    mask[5:25, 30:40] = True
    picture = entity_picture(frame, mask, PromptSettings(side=240, margin=0.1, grey=127))
    assert picture.shape == (240, 240, 3)
    assert picture.dtype == np.uint8
    # 20 high and 10 wide in a square of 24: rows 2 to 22, columns 7 to 17, ten times enlarged.
    red = np.abs(picture.astype(int) - (250, 20, 30)).max(axis=2) < 8
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((20, 219, 70, 169), abs=5)
    assert red[30:210, 80:160].all()
    for rest in (picture[:14], picture[-14:], picture[:, :64], picture[:, -64:]):
        assert (rest == 127).all()


def test_a_hole_in_the_mask_is_grey_too():
    frame = np.full((30, 30, 3), 200, np.uint8)
    mask = np.zeros((30, 30), np.bool_)
    mask[3:27, 3:27] = True
    mask[10:20, 10:20] = False
    picture = entity_picture(frame, mask, PromptSettings(side=240, margin=0, grey=60))
    assert (picture[85:155, 85:155] == 60).all()
    assert (picture[5:55, 5:55] == 200).all()


@pytest.mark.parametrize("box", [(0, 0, 5, 3), (90, 40, 96, 48), (0, 0, 96, 48), (50, 20, 51, 21)])
def test_any_place_and_size_gives_a_full_picture(box):
    x0, y0, x1, y1 = box
    frame, mask = np.full((48, 96, 3), 255, np.uint8), np.zeros((48, 96), np.bool_)
    mask[y0:y1, x0:x1] = True
    picture = entity_picture(frame, mask, SETTINGS)
    assert picture.shape == (64, 64, 3)
    assert picture.max() > 200
    share = np.count_nonzero(picture[..., 0] > 191) / 64**2
    width, height = x1 - x0, y1 - y0
    assert share == pytest.approx(width * height / round(max(width, height) * 1.2) ** 2, abs=0.12)


def test_pictures_are_spread_over_the_frames_that_show_the_entity():
    model = Model([answer()])
    caption_views([view(count=6, hidden=(0, 3))], PromptSettings(side=64, pictures=3), model)
    (request,) = model.asked[0]
    assert [int(picture[32, 32, 0]) // 10 - 1 for picture in request.pictures] == [1, 4, 5]
    one = Model([answer()])
    caption_views([view(count=6, hidden=(0,))], PromptSettings(side=64, pictures=1), one)
    assert [int(picture[32, 32, 0]) // 10 - 1 for picture in one.asked[0][0].pictures] == [1]


def test_the_prompt_says_what_is_shown_and_wanted():
    text = prompt(view(), 3, SETTINGS)
    assert "The 3 pictures show one thing cut out of a video of 2.0 seconds" in text
    assert "took it for: dog." in text
    assert "at most 6 words" in text
    assert all(f'"{key}"' in text for key in GOOD)
    assert "dog" not in prompt(view(), 3, PromptSettings(hint=False))
    assert "cut out of a photograph" in prompt(view(1, seconds=0.0), 1, SETTINGS)


@pytest.mark.parametrize(
    "text",
    [
        answer(),
        f"\n  {answer()}\n",
        f"```json\n{answer()}\n```",
        f"```\n{json.dumps(GOOD, indent=2)}\n```\n",
        answer(short="A dog.", medium="A dog  with a red collar."),
        json.dumps({key: GOOD[key] for key in ("long", "short", "medium")}),
    ],
)
def test_good_answers(text):
    assert parse_captions(text, SETTINGS) == WANTED


def test_accents_and_typographic_signs_are_plain_text():
    text = answer(short="a café table", medium="a café table – round and white")
    assert parse_captions(text, SETTINGS).medium == "a café table – round and white"


NOT_JSON = "the answer is not one JSON object and nothing else"
KEYS = "the keys of the JSON object are not short, medium and long"
BAD = [
    ("", NOT_JSON),
    ("\n" * 16, NOT_JSON),
    ("a dog", NOT_JSON),
    (f"Here is the JSON you asked for:\n{answer()}", NOT_JSON),
    (f"{answer()}\nI hope this helps!", NOT_JSON),
    (f"Sure!\n```json\n{answer()}\n```", NOT_JSON),
    (f"```json\n{answer()}\n```\nLet me know.", NOT_JSON),
    (answer()[:-20], NOT_JSON),
    (f"[{answer()}]", NOT_JSON),
    (f"{answer()}\n{answer()}", NOT_JSON),
    (json.dumps(list(GOOD.items())), NOT_JSON),
    ('"a dog"', NOT_JSON),
    ("null", NOT_JSON),
    ("[" * 100_000, NOT_JSON),
    ("{}", KEYS),
    (json.dumps({"short": "a dog", "medium": "a red dog"}), KEYS),
    (answer(extra="x"), KEYS),
    (json.dumps({key.title(): value for key, value in GOOD.items()}), KEYS),
    (answer()[:-1] + ', "short": "a cat"}', KEYS),
    (answer(short=7), "the values of the JSON object are not all texts"),
    (answer(long=None), "the values of the JSON object are not all texts"),
    (answer(medium={"text": "a dog"}), "the values of the JSON object are not all texts"),
    (answer(short="  "), "the short caption is empty"),
    (answer(medium="..."), "the medium caption is empty"),
    (answer(short="a\ndog"), "the short caption is not one line of plain English text"),
    (answer(short="**a dog**"), "the short caption is not one line of plain English text"),
    (answer(short="# a dog"), "the short caption is not one line of plain English text"),
    (answer(short="- a dog"), "the short caption is not one line of plain English text"),
    (answer(medium="a dog <b>with</b> a collar"), "the medium caption is not one line of plain English text"),
    (answer(medium="a dog \U0001f415 with a collar"), "the medium caption is not one line of plain English text"),
    (answer(short="一只狗"), "the short caption is not one line of plain English text"),
    (answer(long="Собака бежит по траве. Она рада. Она в ошейнике."), "the long caption is not one line"),
    (answer(long="Un chien brun court sur un gazon. Il porte un collier. Il est content."), "not in English"),
    (answer(long="Ein brauner Hund rennt. Er trägt ein Halsband. Er ist in Eile."), "not in English"),
    (answer(long="Un perro corre por un campo. Lleva un collar rojo. Es de color marrón."), "not in English"),
    (answer(long="Een bruine hond rent. Hij draagt een halsband. Hij is blij en snel."), "not in English"),
    (answer(short="a very big brown dog with a collar"), "the short caption has 8 words, more than 6"),
    (answer(medium="a dog " + "with a red collar " * 6), "the medium caption has 26 words, more than 20"),
    (answer(long="The dog runs on and on. " * 30), "the long caption has 180 words, more than 120"),
    (answer(short="a " + "o" * 50), "the short caption has a word of more than 40 letters"),
    (answer(short="sorry, no dog"), "the short caption speaks of whoever writes it"),
    (answer(long="I'm sorry, but I can't help with that. It is not clear. The rest is grey."), "speaks of whoever"),
    (answer(long="I cannot tell what it is. It is brown. It is small."), "speaks of whoever"),
    (answer(long="As an AI language model it is hard. It is brown. It is small."), "speaks of whoever"),
    (answer(long="The image shows a dog. It is brown. It runs."), "speaks of the picture"),
    (answer(long="A dog runs. It is brown. It is set against a gray background."), "speaks of the picture"),
    (answer(long="A brown dog with a red collar that runs across the lawn"), "does not end with a full sentence"),
    (answer(long="It is a brown dog with a red collar that runs."), "has 1 sentences, not 3 to 5"),
    (answer(long="It runs. " * 2 + "It is brown! It jumps. It sits. It barks. It eats."), "has 7 sentences"),
    (answer(long="The dog runs. The dog is brown. The dog runs."), "the long caption says a sentence twice"),
    (answer(medium="a dog"), "the medium caption has no more words than the one before it"),
    (
        answer(short="dog", medium="a brown dog with one very red collar", long="It runs. It eats."),
        "the long caption has",
    ),
]


@pytest.mark.parametrize(("text", "fault"), BAD, ids=range(len(BAD)))
def test_bad_answers_name_the_first_broken_rule(text, fault):
    with pytest.raises(CaptionFault) as caught:
        parse_captions(text, SETTINGS)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ordinary_long_captions_pass():
    for long in (
        "A man wearing sunglasses stands upright. He is smiling at someone out of sight. His left hand holds a phone.",
        "A white sailing boat lies in the harbour. Two masts, about 8.5 m tall, rise from its deck. It sways gently.",
        'A red bus with the number "42" drives past. The front door is open. Its windows reflect the sky…',
    ):
        assert parse_captions(answer(long=long), SETTINGS).long == long


def test_a_refused_answer_is_asked_for_once_more_with_the_fault_named():
    views = [view(key=f"0123456789abcdef-0{number}") for number in range(3)]
    model = Model([answer(), "a dog", answer(short="sorry")], [answer(), "still no JSON"])
    assert caption_views(views, SETTINGS, model)[:2] == [WANTED, WANTED]
    first, second = model.asked
    assert [request.view.key[-1] for request in second] == ["1", "2"]
    assert second[0].text.startswith(first[1].text)
    assert f"was refused: {NOT_JSON}." in second[0].text
    assert "speaks of whoever writes it" in second[1].text
    assert all(a is b for a, b in zip(second[0].pictures, first[1].pictures, strict=True))


def test_a_second_bad_answer_gives_no_captions():
    model = Model(["a dog"], [f"Sure! {answer()}"])
    (nothing,) = caption_views([view()], SETTINGS, model)
    assert isinstance(nothing, NoCaptions)
    assert nothing.reason == "unparsed"
    assert NOT_JSON in nothing.message
    assert "Sure!" in nothing.message
    assert model.rounds == []


def test_a_view_that_got_no_answer_is_not_asked_again():
    down = NoCaptions("endpoint", "it is down")
    model = Model([down, answer()])
    assert caption_views([view(), view()], SETTINGS, model) == [down, WANTED]


def test_an_entity_that_is_never_seen_is_not_asked_about():
    unseen = view(2, hidden=(0, 1))
    model = Model([answer()])
    nothing, captions = caption_views([unseen, view()], SETTINGS, model)
    assert isinstance(nothing, NoCaptions)
    assert nothing.reason == "unseen"
    assert captions == WANTED
    assert len(model.asked[0]) == 1
    silent = Model()
    assert len(caption_views([unseen], SETTINGS, silent)) == 1
    assert caption_views([], SETTINGS, silent) == []
    assert silent.asked == []
