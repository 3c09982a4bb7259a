"""What a vision-language model is asked about an entity, and how its answer becomes the three captions.

The paper shows the model the entity alone, x ⊙ m with the rest grey, and wants three captions of it (VIVID-10M, local
captions). Here one call asks for all three as one JSON object. An answer that breaks a rule is asked for once more with
the rule named; what breaks one again gives no captions, for a wrong caption trains worse than a missing one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import Mask
from models.boxes import extent
from models.protocols import Captions, EntityView, Image, NoCaptions

PROMPT_VERSION = 1
"""Stands in every track row beside the model; to be raised with any change of the words, the picture or the rules."""

UNPARSED = "unparsed"
UNSEEN = "unseen"


class PromptSettings(BaseModel, frozen=True, extra="forbid"):
    """What the model is shown and told, and which captions are accepted."""

    pictures: int = Field(
        default=4,
        ge=1,
        description="Most pictures in one call, evenly spaced over the frames that show the entity; one hides actions.",
    )
    side: int = Field(
        default=448, ge=56, description="Side of the square pictures, pixels; InternVL's tile is 448, so one tile each."
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        le=2,
        description="Grey left around the mask's box, share of its longer side; without it outlines touch the border.",
    )
    grey: int = Field(default=127, ge=0, le=255, description="Level of the grey that fills all but the entity.")
    hint: bool = Field(
        default=True, description="Tell the model the detector's tag; helps with small things, repeats wrong tags."
    )
    short_words: int = Field(default=6, ge=1, description="Most words of the bare noun phrase.")
    medium_words: int = Field(default=20, ge=2, description="Most words of the noun phrase with an attribute.")
    long_words: int = Field(default=120, ge=3, description="Most words of the long caption; text encoders cut more.")
    least_sentences: int = Field(
        default=2, ge=1, description="Fewest sentences of the long caption; 3 to 5 are asked for, one off is let pass."
    )
    most_sentences: int = Field(default=6, ge=1, description="Most sentences of the long caption.")


class CaptionFault(ValueError):
    """The rule an answer breaks, as a clause that both the model and a person understand."""


@dataclass(frozen=True)
class CaptionRequest:
    """One call: the pictures, uint8 RGB (side, side, 3) in order of time, and the words that go with them."""

    view: EntityView
    pictures: tuple[Image, ...]
    text: str


Ask = Callable[[Sequence[CaptionRequest]], Sequence[str | NoCaptions]]
"""Gives the model's answer to each request, or why there is none."""


def caption_views(views: Sequence[EntityView], settings: PromptSettings, ask: Ask) -> list[Captions | NoCaptions]:
    """The captions of every view: all asked at once, then once more those whose answers broke a rule."""
    answers: list[Captions | NoCaptions] = [NoCaptions(UNSEEN, "no mask of the entity has any pixel")] * len(views)
    pending = {place: request for place, view in enumerate(views) if (request := _request(view, settings))}
    for attempt in ("first", "last"):
        texts = ask(list(pending.values())) if pending else []
        asked, pending = pending, {}
        for (place, request), text in zip(asked.items(), texts, strict=True):
            if isinstance(text, NoCaptions):
                answers[place] = text
                continue
            try:
                answers[place] = parse_captions(text, settings)
            except CaptionFault as fault:
                if attempt == "first":
                    pending[place] = replace(request, text=_again(request.text, fault))
                answers[place] = NoCaptions(
                    UNPARSED, f"the model gave no usable captions when asked twice: {fault} (it wrote {text[:80]!r})"
                )
    return answers


def _request(view: EntityView, settings: PromptSettings) -> CaptionRequest | None:
    """What to ask about a view, None where no mask shows the entity."""
    seen = [index for index, mask in enumerate(view.masks) if mask.any()]
    if not seen:
        return None
    steps = np.unique(np.linspace(0, len(seen) - 1, min(settings.pictures, len(seen))).round().astype(int))
    chosen = [seen[step] for step in steps]
    pictures = tuple(entity_picture(view.frames[index], view.masks[index], settings) for index in chosen)
    return CaptionRequest(view, pictures, prompt(view, len(pictures), settings))


def entity_picture(frame: Image, mask: Mask, settings: PromptSettings) -> Image:
    """The entity alone on grey, uint8 RGB (side, side, 3), centred and scaled to fill the square but for the margin.

    The square keeps the proportions through models that squeeze every picture into one. The mask must not be empty.
    """
    left, top, right, bottom = extent(mask)
    height, width = bottom - top, right - left
    size = round(max(height, width) * (1 + 2 * settings.margin))
    y, x = (size - height) // 2, (size - width) // 2
    square = np.full((size, size, 3), settings.grey, np.uint8)
    inside = mask[top:bottom, left:right]
    square[y : y + height, x : x + width][inside] = frame[top:bottom, left:right][inside]
    way = cv2.INTER_AREA if size > settings.side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (settings.side, settings.side), interpolation=way), np.uint8)


def prompt(view: EntityView, pictures: int, settings: PromptSettings) -> str:
    """The words that go with so many pictures of a view."""
    if view.seconds > 0 and pictures > 1:
        shown = (
            f"The {pictures} pictures show one thing cut out of a video of {view.seconds:.1f} seconds, in order of time"
        )
    else:
        shown = "The picture shows one thing cut out of a photograph"
    hint = f" A detector took it for: {view.tag}. Correct that if it is wrong." if settings.hint and view.tag else ""
    return (
        f"{shown}. The thing is enlarged and everything around it is painted over with flat grey.{hint}\n"
        "Write three English captions of this one thing, each with more detail than the one before:\n"
        f'"short": a bare noun phrase of at most {settings.short_words} words, in the way of "a lamp".\n'
        '"medium": the same phrase with one attribute that can be seen, in the way of "a lamp with a torn shade".\n'
        f'"long": 3 to 5 full sentences, {settings.long_words} words at most, on what it is, what it looks like in '
        "detail, and what it is doing.\n"
        "Say only what can be seen. Do not mention the pictures, the grey or the cutting out.\n"
        "Answer with one JSON object and nothing else, on this pattern: "
        '{"short": "...", "medium": "...", "long": "..."}'
    )


def _again(text: str, fault: CaptionFault) -> str:
    return f"{text}\nAn earlier answer to this was refused: {fault}. Answer again and keep to every rule."


_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_PLAIN = re.compile(r"[\x20-\x7e\u00a0-\u024f\u2010-\u2015\u2018-\u201d\u2026]+")
"""One line in Latin letters with ordinary punctuation: no line breaks, emoji or other scripts."""
_MARKUP = re.compile(r"[*`<>_|{}\[\]\\]|^\s*[#-]|https?:", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\bI(['’]m| am| can(not)?| do| see| will)\b|\bsorry\b|\bas an ai\b|\blanguage model\b"
    r"|\b(unable|impossible|not possible) to (see|tell|identify|determine|describe)\b",
    re.IGNORECASE,
)
_ABOUT_THE_PICTURE = re.compile(
    r"\b(this|the|these) (image|picture|photo|photograph|video)s?\b|\b(in|within|across) (this|the) (frame|clip)\b"
    r"|\bgr[ae]y (background|backdrop|area)\b|\bcut[- ]?out\b",
    re.IGNORECASE,
)
_ENGLISH = frozenset(["the", "and", "with", "it", "its", "he", "she", "they", "his", "their"])
"""Words of which English text of several sentences has one, and that its neighbours do not share."""
_LONGEST_WORD = 40
_SENTENCE_END = re.compile(r"[.!?…]+[\"'’”)]*(?=\s|$)")
_ARTICLE = re.compile(r"^(A|An|The)\b")


def parse_captions(text: str, settings: PromptSettings) -> Captions:
    """The captions in a model's answer: one JSON object, in a code fence or bare, each caption plain and within limits.

    Raises CaptionFault naming the first rule that is broken.
    """
    found = _document(text)
    short, medium = (
        _phrase(_plain(name, found[name], words))
        for name, words in (("short", settings.short_words), ("medium", settings.medium_words))
    )
    long = _plain("long", found["long"], settings.long_words)
    _check_long(long, settings)
    for shorter, longer, names in ((short, medium, "medium"), (medium, long, "long")):
        if len(longer.split()) <= len(shorter.split()):
            raise CaptionFault(f"the {names} caption has no more words than the one before it")
    return Captions(short, medium, long)


def _document(text: str) -> dict[str, str]:
    fenced = _FENCE.fullmatch(text.strip())
    try:
        # Objects as tuples of pairs: lists stay apart, and a key given twice shows.
        pairs = json.loads(fenced[1] if fenced else text, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise CaptionFault("the answer is not one JSON object and nothing else") from None
    if not isinstance(pairs, tuple):
        raise CaptionFault("the answer is not one JSON object and nothing else")
    if sorted(key for key, _ in pairs) != ["long", "medium", "short"]:
        raise CaptionFault("the keys of the JSON object are not short, medium and long")
    if not all(isinstance(value, str) for _, value in pairs):
        raise CaptionFault("the values of the JSON object are not all texts")
    return dict(pairs)


def _plain(name: str, text: str, most_words: int) -> str:
    """A caption with single spaces, checked for what no caption may have."""
    text = text.strip()
    if not re.search(r"[^\W\d_]", text):
        raise CaptionFault(f"the {name} caption is empty")
    if not _PLAIN.fullmatch(text) or _MARKUP.search(text):
        raise CaptionFault(f"the {name} caption is not one line of plain English text")
    if _REFUSAL.search(text):
        raise CaptionFault(f"the {name} caption speaks of whoever writes it")
    if _ABOUT_THE_PICTURE.search(text):
        raise CaptionFault(f"the {name} caption speaks of the picture and not of the thing")
    words = text.split()
    if len(words) > most_words:
        raise CaptionFault(f"the {name} caption has {len(words)} words, more than {most_words}")
    if max(map(len, words)) > _LONGEST_WORD:
        raise CaptionFault(f"the {name} caption has a word of more than {_LONGEST_WORD} letters")
    return " ".join(words)


def _phrase(text: str) -> str:
    """A noun phrase as the middle of a sentence has it: no full stop, a small article."""
    return _ARTICLE.sub(lambda article: article[0].lower(), text.rstrip(" ."))


def _check_long(text: str, settings: PromptSettings) -> None:
    sentences = [sentence.strip().casefold() for sentence in _SENTENCE_END.split(text)]
    if sentences.pop():
        raise CaptionFault("the long caption does not end with a full sentence")
    if not settings.least_sentences <= len(sentences) <= settings.most_sentences:
        raise CaptionFault(f"the long caption has {len(sentences)} sentences, not 3 to 5")
    if len(set(sentences)) < len(sentences):
        raise CaptionFault("the long caption says a sentence twice")
    if _ENGLISH.isdisjoint(re.findall(r"[a-z]+", text.lower())):
        raise CaptionFault("the long caption is not in English")
