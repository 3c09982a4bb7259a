"""The sentences a caption is made of, by what they say.

Slots in braces: `{a}` the entity with its article, `{the}` with "the", `{subject}` the same or a pronoun, the measured
words by name, a capital first letter where the slot says so; every other slot is a verb in the third person singular
that is made to agree (`{is_}` because `is` is a word of Python).
"""

from __future__ import annotations

from typing import Literal

from models.movement import Absence, Axis, Heading

Size = Literal["tiny", "small", "large", "very large"]
Shape = Literal["tall", "wide", "round"]
Edge = Literal["left", "right", "top", "bottom"]
Change = Literal["larger", "smaller"]

IMAGE_OPENINGS = (
    "{A} {is_} {place}.",
    "{A} can be seen {place}.",
    "{A} {appears} {place}.",
    "The picture shows {a} {place}.",
    "There {is_} {a} {place}.",
    "{Place}, there {is_} {a}.",
)
VIDEO_OPENINGS = (
    "{A} {is_} {place} at first.",
    "{A} {starts} out {place}.",
    "At the start of the clip, {a} {is_} {place}.",
    "The clip begins with {a} {place}.",
    "At first, {a} can be seen {place}.",
    "{Place}, there {is_} {a} at the start.",
)
LATE_OPENINGS = ("{A} first {appears} {place}.", "Some way into the clip, {a} {appears} {place}.")
ONE_COLOUR = (
    "{Subject} {is_} mainly {colours}.",
    "{Subject} {is_} mainly {colours} in colour.",
    "The main colour of {the} is {colours}.",
    "In colour, {subject} {is_} mainly {colours}.",
)
TWO_COLOURS = (
    "{Subject} {is_} mainly {colours}.",
    "The main colours of {the} are {colours}.",
    "In colour, {subject} {is_} mainly {colours}.",
    "{Subject} {has} mainly {colours} parts.",
)
PERSON_COLOURS = (
    "{Subject} {is_} seen in mainly {colours} tones.",
    "The main tones on {the} are {colours}.",
    "On {the}, the tones are mainly {colours}.",
)
MANY_COLOURS = (
    "{Subject} {has} several different colours.",
    "Several different colours can be seen on {the}.",
    "{Subject} {is_} of several different colours.",
)
EXTENTS = (
    "{Subject} {covers} {share} of the frame.",
    "{Subject} {takes} up {share} of the frame.",
    "{Subject} {fills} {share} of the frame.",
    "{Subject} {makes} up {share} of the frame.",
)
SHAPES: dict[Shape, tuple[str, ...]] = {
    "tall": (
        "The outline of {the} is clearly taller than it is wide.",
        "The outline of {the} is tall rather than wide.",
        "In the frame, {subject} {looks} clearly taller than wide.",
    ),
    "wide": (
        "The outline of {the} is clearly wider than it is tall.",
        "The outline of {the} is wide rather than tall.",
        "In the frame, {subject} {looks} clearly wider than tall.",
    ),
    "round": (
        "The outline of {the} is close to a circle.",
        "The outline of {the} is round.",
        "In outline, {subject} {is_} round.",
    ),
}
PATTERNED = (
    "The surface of {the} is patterned.",
    "{Subject} {has} a patterned surface.",
    "A strong pattern of light and dark runs over {the}.",
)
EDGES = (
    "{Subject} {reaches} the {edges} of the frame.",
    "{Subject} {touches} the {edges} of the frame.",
    "{Subject} {extends} to the {edges} of the frame.",
)
STILL = (
    "{Subject} {stays} in place.",
    "{Subject} {keeps} to one spot.",
    "{Subject} hardly {changes} position against the background.",
    "{Subject} {remains} in the same spot.",
)
ONE_WAY = (
    "{Subject} {moves}{speed} {way}.",
    "{Subject}{speed} {moves} {way}.",
    "Over the clip, {subject} {moves}{speed} {way}.",
    "Against the background, {subject} {moves}{speed} {way}.",
    "{Subject} {travels}{speed} {way}.",
    "{Subject} {goes}{speed} {way} as the clip runs.",
)
THERE_AND_BACK = (
    "{Subject} first {moves}{speed} {way} and then back {back}.",
    "{Subject}{speed} {moves} {way}, then back {back}.",
    "Over the clip, {subject} {moves}{speed} {way} before coming back {back}.",
    "{Subject} {moves}{speed} {way}, then {turns} and {comes} back {back}.",
)
TO_AND_FRO: dict[Axis, tuple[str, ...]] = {
    "horizontal": (
        "{Subject} {moves}{speed} from side to side.",
        "{Subject}{speed} {moves} back and forth sideways.",
        "Over the clip, {subject} {moves}{speed} back and forth.",
        "{Subject} {keeps} changing direction, moving{speed} from side to side.",
    ),
    "vertical": (
        "{Subject} {moves}{speed} up and down.",
        "{Subject}{speed} {moves} up and down.",
        "Over the clip, {subject} {moves}{speed} up and down.",
        "{Subject} {keeps} changing direction, moving{speed} up and down.",
    ),
}
ROAMING = (
    "{Subject} {moves}{speed} about.",
    "{Subject}{speed} {moves} around without keeping to one direction.",
    "Over the clip, {subject} {moves}{speed} around.",
)
GROWTH = (
    "{Subject} {becomes} {change} in the frame as the clip goes on.",
    "{Subject} {gets} {change} in view over the clip.",
    "As the clip goes on, {subject} {becomes} {change} in the frame.",
)
ABSENCE: dict[Absence, tuple[str, ...]] = {
    "between": (
        "For part of the clip {subject} {is_} out of view.",
        "{Subject} {is_} out of view for a while.",
        "For a while, {subject} cannot be seen.",
    ),
    "at the end": (
        "By the end of the clip {subject} {is_} out of view.",
        "{Subject} {is_} no longer in view at the end.",
        "At the end of the clip, {subject} can no longer be seen.",
    ),
}
LATER = (
    "Later, {subject} {is_} {later}.",
    "Later in the clip, {subject} can be seen {later}.",
    "{Subject} {is_} {later} later on.",
)

WAYS: dict[Heading, tuple[str, ...]] = {
    "left": ("to the left", "towards the left"),
    "right": ("to the right", "towards the right"),
    "up": ("upwards",),
    "down": ("downwards",),
    "up left": ("up and to the left", "up towards the left"),
    "up right": ("up and to the right", "up towards the right"),
    "down left": ("down and to the left", "down towards the left"),
    "down right": ("down and to the right", "down towards the right"),
}
