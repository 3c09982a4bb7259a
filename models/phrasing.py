"""Sentences for measured attributes: seeded templates, so that equal keys give equal words and different keys vary.

Nothing is added here: every clause says one measured thing, and what was not measured is not mentioned.
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests.ids import draw_choice
from models import caption_templates as templates
from models.caption_templates import Change, Edge, Shape, Size
from models.movement import Absence, Heading, Movement, OneWay, Roaming, Still, ThereAndBack, ToAndFro
from models.nouns import Noun, capitalised
from models.protocols import Captions

MAX_SENTENCES = 5
"""The public long captions have three to five sentences (VIVID-10M, local captions)."""
MIN_SENTENCES = 3


@dataclass(frozen=True)
class Action:
    """What happens to an entity over a clip."""

    movement: Movement | None
    growth: Change | None
    absence: Absence | None
    later_place: str | None
    appears_late: bool


@dataclass(frozen=True)
class Description:
    """What was measured of an entity: None or empty where nothing is to be said.

    `colours` are one or two names, main one first, empty when there are too `many_colours`; `place` is a phrase such as
    "in the upper left of the frame"; `share` is the part of the frame covered, in (0, 1]; an image has no `action`.
    """

    tag: str
    colours: tuple[str, ...]
    many_colours: bool
    patterned: bool
    size: Size | None
    shape: Shape | None
    place: str
    share: float
    edges: tuple[Edge, ...]
    action: Action | None


_ROUND_SHARES = (
    (1 / 20, "a twentieth"),
    (1 / 10, "a tenth"),
    (1 / 5, "a fifth"),
    (1 / 4, "a quarter"),
    (1 / 3, "a third"),
    (1 / 2, "half"),
    (2 / 3, "two thirds"),
    (3 / 4, "three quarters"),
)
_ROUNDING = 0.06
"""A round share is said when the measured one differs from it by less than this part; else the percentage."""


def write_captions(description: Description, seed: int, key: str) -> Captions:
    """The three captions of a described entity; equal arguments give equal words.

    Raises ValueError when the tag holds no word.
    """
    return _Writer(description, seed, key).captions()


class _Writer:
    """Draws templates for one description and fills them in."""

    def __init__(self, description: Description, seed: int, key: str) -> None:
        self._said = description
        self._seed = seed
        self._key = key
        self._noun = Noun.from_tag(description.tag)

    def captions(self) -> Captions:
        return Captions(self._noun.phrase(), self._attributed("medium"), self._long())

    def _pick(self, name: str, count: int) -> int:
        return draw_choice(self._seed, self._key, f"caption.{name}", count)

    def _attributed(self, name: str) -> str:
        """The noun phrase with the colour and a drawn part of the other attributes."""
        said = self._said
        colours = " and ".join(said.colours)
        if self._noun.person:
            return self._noun.phrase(after=f"in mainly {colours} tones" if colours else "in several colours")
        optional = [word for word in (said.size, said.shape, "patterned" if said.patterned else None) if word]
        subset = self._pick(f"{name}.attributes", 2 ** len(optional))
        kept = [word for bit, word in enumerate(optional) if subset >> bit & 1]
        return self._noun.phrase(" ".join([*kept, colours or "multicoloured"]))

    def _long(self) -> str:
        """Opening and action always, colour and extent next, then details, as far as five sentences go."""
        said = self._said
        action = self._action() if said.action else []
        details = [*action[1:], *self._details()]
        colour, extent = self._colour(), self._extent()
        # The colour is told in the opening or in a sentence of its own, which may be needed to make up the number.
        full = 2 + len(action) + len(details) >= MIN_SENTENCES and self._pick("opening.full", 2) == 1
        opening = self._opening(self._attributed("opening") if full else self._noun.phrase())
        looks = [extent] if full else [colour, extent]
        return " ".join([opening, *looks, *action[:1], *details][:MAX_SENTENCES])

    def _opening(self, phrase: str) -> str:
        action = self._said.action
        if action is None:
            return self._say("opening", templates.IMAGE_OPENINGS, a=phrase)
        return self._say(
            "opening", templates.LATE_OPENINGS if action.appears_late else templates.VIDEO_OPENINGS, a=phrase
        )

    def _colour(self) -> str:
        colours = self._said.colours
        choice = (templates.MANY_COLOURS, templates.ONE_COLOUR, templates.TWO_COLOURS)[len(colours)]
        if colours and self._noun.person:
            choice = templates.PERSON_COLOURS
        return self._say("colour", choice, colours=" and ".join(colours))

    def _extent(self) -> str:
        sentence = self._say("extent", templates.EXTENTS, share=share_words(self._said.share))
        if self._said.action and self._said.action.growth:
            return f"To begin with, {sentence[0].lower()}{sentence[1:]}"
        return sentence

    def _details(self) -> list[str]:
        said = self._said
        sentences = []
        if said.shape:
            sentences.append(self._say("shape", templates.SHAPES[said.shape]))
        if said.patterned:
            sentences.append(self._say("pattern", templates.PATTERNED))
        if said.edges and not said.action:
            sentences.append(self._say("edges", templates.EDGES, edges=_listed_edges(said.edges)))
        return sentences

    def _action(self) -> list[str]:
        """Sentences on what happens, the most telling first."""
        action = self._said.action
        assert action is not None
        sentences = [self._movement(action.movement)] if action.movement else []
        if action.absence:
            sentences.append(self._say("absence", templates.ABSENCE[action.absence]))
        if action.growth:
            sentences.append(self._say("growth", templates.GROWTH, change=action.growth))
        if action.later_place and action.absence != "at the end":
            sentences.append(self._say("later", templates.LATER, later=action.later_place))
        return sentences

    def _movement(self, movement: Movement) -> str:
        if isinstance(movement, Still):
            return self._say("movement", templates.STILL)
        speed = f" {movement.speed}" if movement.speed else ""
        match movement:
            case OneWay():
                return self._say("movement", templates.ONE_WAY, speed=speed, way=self._way(movement.heading))
            case ThereAndBack():
                way, back = self._way(movement.out), self._way(movement.back)
                return self._say("movement", templates.THERE_AND_BACK, speed=speed, way=way, back=back)
            case ToAndFro():
                return self._say("movement", templates.TO_AND_FRO[movement.axis], speed=speed)
            case Roaming():
                return self._say("movement", templates.ROAMING, speed=speed)

    def _way(self, heading: Heading) -> str:
        ways = templates.WAYS[heading]
        return ways[self._pick(f"way.{heading}", len(ways))]

    def _say(self, name: str, choice: tuple[str, ...], **words: str) -> str:
        """A drawn template with its words; verbs in it stand as third person singular and are made to agree."""
        noun, pronoun = self._noun, self._noun.pronoun
        subject = pronoun if pronoun and self._pick(f"{name}.subject", 2) else noun.definite()
        place = self._said.place
        slots = _Slots(noun, subject=subject, the=noun.definite(), place=place, **words)
        slots.update({key.capitalize(): capitalised(value) for key, value in slots.items()})
        return capitalised(choice[self._pick(name, len(choice))].format_map(slots))


class _Slots(dict[str, str]):
    """The words of a template; a slot that is no given word is a verb."""

    def __init__(self, noun: Noun, **words: str) -> None:
        super().__init__(words)
        self._noun = noun

    def __missing__(self, verb: str) -> str:
        return self._noun.verb(verb)


def share_words(share: float) -> str:
    """A share in (0, 1] in words: "about a tenth", "about 7 percent", "less than 1 percent", "nearly all"."""
    if share < 0.01:
        return "less than 1 percent"
    if share >= 0.95:
        return "nearly all"
    for value, words in _ROUND_SHARES:
        if abs(share - value) <= _ROUNDING * value:
            return f"about {words}"
    return f"about {round(100 * share)} percent"


def _listed_edges(edges: tuple[Edge, ...]) -> str:
    *first, last = edges
    return f"{', '.join(first)} and {last} edges" if first else f"{last} edge"
