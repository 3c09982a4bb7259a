"""Ids and draws: stable for ever, well spread, independent of order."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import ids
from manifests.ids import (
    CAPTION_CODES,
    VARIANT_CODES,
    clip_id,
    draw,
    draw_choice,
    draw_fraction,
    draw_order,
    draw_uniform,
    sample_id,
    source_id,
    track_id,
)

ROOT = Path(__file__).resolve().parents[2]
SEED = 7
TRACK = "0123456789abcdef-00"
KEYS = [f"{number:016x}-00" for number in range(2500)]
paths = st.text(min_size=1, max_size=30)


def test_ids_and_draws_are_what_they_were_in_the_first_version():
    """These values are in published datasets; a change here breaks resuming and comparing them."""
    assert source_id("videos", "a/b.mp4") == "0b1a775ad127a6ab"
    assert source_id("videos", "a/é\udcff.tar!x.mp4") == "5bdc7b9da0ec462e"
    assert clip_id("videos", "a/b.mp4", 0, 5_000_000, "video", "source") == "f5dc12b2cd47f4ca"
    assert draw(SEED, TRACK, "augment/ratio") == 12650957980946600473
    assert draw_fraction(SEED, TRACK, "augment/ratio") == 0.6858098063482567
    assert draw_choice(SEED, TRACK, "augment/ratio", 10) == 6
    assert draw_uniform(SEED, TRACK, "augment/ratio", -2, 3) == 1.4290490317412834
    assert draw_order(SEED, "donors", ["a", "b", "c", "d", "e"]) == ["a", "d", "c", "b", "e"]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_agrees(hash_seed: str):
    code = "from manifests.ids import *; print(source_id('r', 'p'), draw(1, 'k', 'n'), *draw_order(3, 'n', 'xyz'))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == [source_id("r", "p"), str(draw(1, "k", "n")), *draw_order(3, "n", "xyz")]


@settings(max_examples=40)
@given(paths, paths)
def test_an_id_is_sixteen_hex_digits(root: str, path: str):
    for name in (source_id(root, path), clip_id(root, path, 0, 1, "video", "source")):
        assert re.fullmatch("[0-9a-f]{16}", name)


@settings(max_examples=40)
@given(paths, paths, paths)
def test_where_the_root_ends_matters(a: str, b: str, c: str):
    assert source_id(a + b, c) != source_id(a, b + c)


def test_every_fact_of_a_clip_is_in_its_id():
    facts = ("root", "path", 10, 20, "video", "source")
    others = ("toor", "htap", 11, 21, "image", "lifted")
    variants = {clip_id(*facts)}
    for place, other in enumerate(others):
        variants.add(clip_id(*facts[:place], other, *facts[place + 1 :]))
    assert len(variants) == 1 + len(others)


def test_a_source_and_a_clip_of_it_have_different_ids_and_number_types_do_not_matter():
    assert source_id("r", "p") != clip_id("r", "p", 0, 0, "video", "source")
    assert clip_id("r", "p", np.int64(3), 9.0, "video", "source") == clip_id("r", "p", 3, 9, "video", "source")
    assert draw(np.int64(3), "k", "n") == draw(3, "k", "n")


def test_a_track_number_has_two_digits():
    assert track_id("0123456789abcdef", 0) == "0123456789abcdef-00"
    assert track_id("0123456789abcdef", 99) == "0123456789abcdef-99"
    for number in (-1, 100):
        with pytest.raises(ValueError, match=str(number)):
            track_id("0123456789abcdef", number)


def test_sample_ids_of_a_track_are_all_different():
    names = {sample_id(TRACK, *codes) for codes in itertools.product(VARIANT_CODES, CAPTION_CODES)}
    assert len(names) == 6 * 4
    assert sample_id(TRACK, "hull_expand", "medium") == f"{TRACK}-he-m"


def test_no_two_of_many_clips_share_an_id():
    names = {clip_id("r", f"{number}.mp4", 0, 1, "video", "source") for number in range(20_000)}
    assert len(names) == 20_000


def test_draws_are_uniform():
    choices = Counter(draw_choice(SEED, key, "n", 6) for key in KEYS)
    expected = len(KEYS) / 6
    chi_square = sum((choices[face] - expected) ** 2 / expected for face in range(6))
    assert set(choices) == set(range(6))
    assert chi_square < 20.5, "p = 0.001 at 5 degrees of freedom"
    fractions = np.sort([draw_fraction(SEED, key, "n") for key in KEYS])
    distance = np.abs(fractions - (np.arange(len(KEYS)) + 0.5) / len(KEYS)).max()
    assert distance < 1.95 / np.sqrt(len(KEYS)), "Kolmogorov–Smirnov, p = 0.001"
    bits = np.asarray([[draw(SEED, key, "n") >> bit & 1 for bit in range(64)] for key in KEYS])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(len(KEYS))


@pytest.mark.parametrize("other", [(SEED, "m"), (SEED + 1, "n")])
def test_draws_of_another_name_or_seed_are_unrelated(other: tuple[int, str]):
    seed, name = other
    one = [draw_fraction(SEED, key, "n") for key in KEYS]
    two = [draw_fraction(seed, key, name) for key in KEYS]
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(len(KEYS))


@pytest.mark.parametrize(("value", "fraction", "choice"), [(0, 0.0, 0), (2**64 - 1, 1 - 2**-53, 4)])
def test_the_ends_of_the_range_stay_inside(monkeypatch, value: int, fraction: float, choice: int):
    monkeypatch.setattr(ids, "draw", lambda *_: value)
    assert draw_fraction(0, "k", "n") == fraction
    assert draw_choice(0, "k", "n", 5) == choice
    assert -2.0 <= draw_uniform(0, "k", "n", -2.0, 3.0) <= 3.0


@settings(max_examples=40)
@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(1, 10**6))
def test_a_choice_is_an_index(seed: int, key: str, count: int):
    assert 0 <= draw_choice(seed, key, "n", count) < count


def test_choosing_from_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to choose from"):
        draw_choice(0, "k", "n", 0)


@settings(max_examples=40)
@given(st.lists(paths, unique=True, max_size=12), st.randoms(use_true_random=False))
def test_an_order_depends_on_neither_arrival_nor_company(keys: list[str], shuffler):
    order = draw_order(SEED, "n", keys)
    shuffled = list(keys)
    shuffler.shuffle(shuffled)
    assert draw_order(SEED, "n", shuffled) == order
    assert sorted(order) == sorted(keys)
    some = keys[::2]
    assert draw_order(SEED, "n", some) == [key for key in order if key in set(some)]


def test_every_order_comes_up_equally_often():
    orders = Counter("".join(draw_order(seed, "n", ["a", "b", "c"])) for seed in range(3000))
    assert len(orders) == 6
    assert all(abs(count - 500) < 4.5 * np.sqrt(500) for count in orders.values())
