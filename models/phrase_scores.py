"""From the token columns of Grounding DINO's output to a score per tag.

The network reads all tags as one text, "black swan. car. t-shirt.", and gives every box one number per token. Four
tokens end a phrase: [CLS], [SEP], "." and "?". Between them tokens attend to each other only, so a phrase is a run of
columns. A box's score for a tag is the largest of its run: names read back from single tokens would be partial ("##hy")
or merged ("shirt blouse").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

DELIMITERS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""Tokens that end a phrase. The ids are those of BERT's uncased vocabulary; the network has them built in."""
_FRAME_TOKENS = 2
"""[CLS] and [SEP] around every text."""


def phrase_of(tag: str) -> str:
    """A tag as a phrase: lower case, with spaces for "." and "?", which would cut it in two.

    Raises ValueError when nothing is left of it.
    """
    words = tag.lower().replace(".", " ").replace("?", " ").split()
    if not words:
        raise ValueError(f"the tag {tag!r} has no word to look for")
    return " ".join(words)


def text_of(phrases: Sequence[str]) -> str:
    """The network's text. It ends with ".": without, the last phrase's tokens would not see each other in a batch."""
    return "".join(f"{phrase}. " for phrase in phrases).rstrip()


def into_passes(lengths: Mapping[str, int], limit: int) -> list[list[str]]:
    """Tags by the number of tokens of their phrases → lists whose texts have at most `limit` tokens, in order.

    Raises ValueError for a tag that does not fit on its own.
    """
    passes: list[list[str]] = []
    room = 0
    for tag, length in lengths.items():
        needed = length + 1
        if needed > limit - _FRAME_TOKENS:
            raise ValueError(f"the tag {tag!r:.60} has {length} tokens, too many for a text of {limit}")
        if not passes or needed > room:
            passes.append([])
            room = limit - _FRAME_TOKENS
        passes[-1].append(tag)
        room -= needed
    return passes


def spans(token_ids: Sequence[int]) -> list[slice]:
    """The columns of each phrase, in order. Padding after [SEP] belongs to none."""
    ends = set(DELIMITERS.values())
    cuts = [column for column, token in enumerate(token_ids) if token in ends]
    return [slice(start + 1, end) for start, end in pairwise(cuts) if end > start + 1]


def phrase_scores(logits: npt.NDArray[np.float32], columns: Sequence[slice]) -> npt.NDArray[np.float32]:
    """Scores (boxes, phrases) in [0, 1]: the largest sigmoid over a phrase's columns of `logits` (boxes, tokens)."""
    best = np.stack([logits[:, span].max(axis=1) for span in columns], axis=1)
    # The sigmoid, in the form that large values do not overflow.
    return np.asarray((1 + np.tanh(best / 2)) / 2, np.float32)
