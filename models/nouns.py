"""English around a noun: article, number, pronoun, agreement of the verb."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PLURALS = _words(
    "people men women children kids geese mice feet teeth clothes scissors skis pants jeans shorts trousers tights "
    "leggings glasses sunglasses goggles binoculars headphones tongs pliers pajamas police cattle"
)
_SINGULAR_IN_S = _words("lens news tennis species series chess mantis chaos iris")
_MASS = _words(
    "furniture luggage water grass food hair jewelry jewellery clothing bread rice sand smoke fire snow ice equipment "
    "meat fur footwear cutlery tableware pasta cheese butter fabric paper broccoli"
)
_PEOPLE = _words(
    "person people man men woman women boy girl child children kid kids baby toddler lady gentleman guy player athlete "
    "skier skater surfer rider cyclist dancer runner swimmer driver worker soldier officer police pedestrian bride "
    "groom couple crowd family student teacher chef cook doctor nurse musician singer actor performer climber hiker "
    "jogger skateboarder snowboarder biker motorcyclist diver fisherman farmer spectator audience team human"
)
_PRONOUNS = {
    **dict.fromkeys(("man", "boy", "gentleman", "groom"), "he"),
    **dict.fromkeys(("woman", "girl", "lady", "bride"), "she"),
}
_VOWEL_SOUND = ("hour", "honest", "heir", "honour", "honor")
_CONSONANT_SOUND = ("uni", "use", "usu", "uti", "eu", "one", "once", "ukulele")
_VOWEL_LETTER_NAMES = "AEFHILMNORSX"
_LONGEST_ACRONYM = 3
_BARE_FORMS = {"is_": "are", "has": "have", "goes": "go", "reaches": "reach", "touches": "touch"}


@dataclass(frozen=True)
class Noun:
    """The name of an entity as it stands in a sentence."""

    text: str

    @classmethod
    def from_tag(cls, tag: str) -> Noun:
        """The noun of a tag; raises ValueError when there is no word in it."""
        text = " ".join(tag.split())
        if not any(letter.isalpha() for letter in text):
            raise ValueError(f"the tag {tag!r} holds no word to caption with")
        return cls(text)

    @property
    def _head(self) -> str:
        return self.text.split()[-1].lower()

    @property
    def plural(self) -> bool:
        """Whether it takes "are": a known plural, or a regular one by its ending."""
        head = self._head
        if head in _PLURALS:
            return True
        return head.endswith("s") and not head.endswith(("ss", "us", "as", "os", "is")) and head not in _SINGULAR_IN_S

    @property
    def person(self) -> bool:
        """Whether it names people: nobody is called "a small red person"."""
        head = self._head
        singular = head[:-1] if self.plural and head.endswith("s") else head
        return head in _PEOPLE or singular in _PEOPLE

    @property
    def pronoun(self) -> str | None:
        """The word that may stand for it; None for people whose word is not known."""
        if self.plural:
            return "they"
        return _PRONOUNS.get(self._head, None if self.person else "it")

    def phrase(self, adjectives: str = "", after: str = "") -> str:
        """The indefinite noun phrase: "a small red dog", "an umbrella", "black scissors"."""
        words = " ".join(part for part in (adjectives, self.text, after) if part)
        return words if self.plural or self._head in _MASS else with_article(words)

    def definite(self) -> str:
        """The noun with "the"."""
        return f"the {self.text}"

    def verb(self, singular: str) -> str:
        """A verb given as third person singular ("moves", "is_"), in agreement with the noun."""
        if not self.plural:
            return singular.rstrip("_")
        return _BARE_FORMS.get(singular, singular.removesuffix("s"))


def with_article(words: str) -> str:
    """`words` after "a" or "an", by the sound of the first one."""
    first = words.split()[0]
    start = words.lower()
    if first.isupper() and 1 < len(first) <= _LONGEST_ACRONYM:
        return f"{'an' if first[0] in _VOWEL_LETTER_NAMES else 'a'} {words}"
    vowel = start.startswith(_VOWEL_SOUND) or (start[0] in "aeiou" and not start.startswith(_CONSONANT_SOUND))
    return f"{'an' if vowel else 'a'} {words}"


def capitalised(sentence: str) -> str:
    """`sentence` with its first letter raised; the rest stays as it is."""
    return sentence[:1].upper() + sentence[1:]
