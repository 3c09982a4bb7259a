"""From token columns to tags, on hand-made tokens and numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.phrase_scores import into_passes, phrase_of, phrase_scores, spans, text_of

BLACK_SWAN, CAR, RED_T_SHIRT = [10, 11], [12], [13, 14, 15, 16]
TOKENS = [101, *BLACK_SWAN, 1012, *CAR, 1012, *RED_T_SHIRT, 1012, 102, 0, 0]


def test_a_phrase_is_what_stands_between_two_delimiters() -> None:
    assert [TOKENS[span] for span in spans(TOKENS)] == [BLACK_SWAN, CAR, RED_T_SHIRT]
    assert [TOKENS[span] for span in spans([101, 102])] == []
    assert [(s.start, s.stop) for s in spans([101, 7, 1029, 1012, 8, 102])] == [(1, 2), (4, 5)]


def test_a_score_is_the_largest_of_its_phrase_alone() -> None:
    """One box per token: only the phrase that holds the token may answer; delimiters and padding answer to none."""
    logits = np.full((len(TOKENS), 256), -np.inf, np.float32)
    logits[:, : len(TOKENS)] = -3.0
    for column in range(len(TOKENS)):
        logits[column, column] = 1.0
    scores = phrase_scores(logits, spans(TOKENS))
    low, high = 1 / (1 + math.exp(3)), 1 / (1 + math.exp(-1))
    for column, token in enumerate(TOKENS):
        expected = [high if token in phrase else low for phrase in (BLACK_SWAN, CAR, RED_T_SHIRT)]
        np.testing.assert_allclose(scores[column], expected, rtol=1e-6)


def test_scores_of_large_logits_do_not_overflow() -> None:
    logits = np.asarray([[0, 1000, -1000, 0]], np.float32)
    with np.errstate(all="raise"):
        assert phrase_scores(logits, [slice(1, 2), slice(2, 3)]).tolist() == [[1, 0]]


def test_a_phrase_is_one_run_of_words() -> None:
    assert phrase_of("St. Bernard") == "st bernard"
    assert phrase_of(" what?  now ") == "what now"
    assert text_of(["st bernard", "t-shirt"]) == "st bernard. t-shirt."
    for tag in ("", "...", " ?. "):
        with pytest.raises(ValueError, match="has no word to look for"):
            phrase_of(tag)


def test_passes_are_filled_in_order_up_to_the_limit() -> None:
    lengths = {"a": 1, "b": 2, "c": 1, "d": 4}
    # With their full stops 2 + 3 + 2 + 5 tokens, and two around each text.
    assert into_passes(lengths, 14) == [["a", "b", "c", "d"]]
    assert into_passes(lengths, 13) == [["a", "b", "c"], ["d"]]
    assert into_passes(lengths, 8) == [["a", "b"], ["c"], ["d"]]
    assert into_passes(lengths, 7) == [["a", "b"], ["c"], ["d"]]
    assert into_passes({}, 7) == []
    with pytest.raises(ValueError, match="the tag 'd' has 4 tokens, too many for a text of 6"):
        into_passes(lengths, 6)
