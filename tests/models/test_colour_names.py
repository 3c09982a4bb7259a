"""Names of single colours, checked against named colours that are no prototypes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from models.colour_names import Colour, name_colour, oklab

TERMS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")

# Names a web standard gives to colours that people call otherwise.
DISPUTED = {"aliceblue", "greenyellow", "navajowhite", "sandybrown", "brown", "lightseagreen", "darkslategray"}
DISPUTED |= {"mediumvioletred", "palevioletred", "slateblue", "darkslateblue", "mediumslateblue", "darkslategrey"}


def named(rgb):
    return name_colour(oklab(np.asarray(rgb, np.uint8)))


def test_oklab_of_white_black_and_red():
    assert oklab(np.array([255, 255, 255], np.uint8)) == pytest.approx([1, 0, 0], abs=1e-3)
    assert oklab(np.array([0, 0, 0], np.uint8)) == pytest.approx([0, 0, 0], abs=1e-6)
    assert oklab(np.array([255, 0, 0], np.uint8)) == pytest.approx([0.628, 0.2249, 0.1258], abs=1e-3)


def test_dimming_keeps_hue_and_chroma_over_lightness():
    bright = np.array([200.0, 120.0, 40.0])
    dim = 255 * (((bright / 255 + 0.055) / 1.055) ** 2.4 * 0.4) ** (1 / 2.4) * 1.055 - 0.055 * 255
    first, second = oklab(bright), oklab(dim)
    assert first[1:] / first[0] == pytest.approx(second[1:] / second[0], rel=1e-6)


def test_web_colours_are_called_by_the_term_in_their_name():
    wrong = []
    for web_name in sorted(ImageColor.colormap):
        term = next((term for term in TERMS if web_name.replace("gray", "grey").endswith(term)), None)
        if term and web_name not in DISPUTED and named(ImageColor.getrgb(web_name)).term != term:
            wrong.append(web_name)
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("#7f4e1e", "brown"),
        ("#000133", "dark blue"),
        ("#fdc1c5", "light pink"),
        ("#076608", "dark green"),
        ("#f97306", "orange"),
        ("#8ab8fe", "light blue"),
        ("#7d7f7c", "grey"),
        ("#c04e01", "dark orange"),
        ("#580f41", "dark purple"),
        ("#d1b26f", "light brown"),
        ("#fffef5", "white"),
        ("#0a0a0f", "black"),
    ],
)
def test_names_carry_light_and_dark(code, name):
    assert str(named(ImageColor.getrgb(code))) == name


def test_greys_go_from_black_to_white_in_order():
    names = [str(named((value, value, value))) for value in range(256)]
    runs = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
    assert runs == ["black", "dark grey", "grey", "light grey", "white"]


def test_every_colour_has_one_of_the_eleven_basic_terms():
    found = {named(rgb) for rgb in np.random.default_rng(0).integers(0, 256, (2000, 3))}
    assert {colour.term for colour in found} == set(TERMS)
    assert {colour.modifier for colour in found} == {"", "light", "dark"}


def test_a_colour_reads_as_words():
    assert str(Colour("", "red")) == "red"
    assert str(Colour("dark", "red")) == "dark red"
