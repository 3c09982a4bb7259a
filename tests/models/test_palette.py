"""Colours of synthetic things of known colour under uneven light, with highlights, texture and grain."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from models.palette import ColourSettings, palette, surface_pixels

SETTINGS = ColourSettings()
REFERENCE = {
    "black": (18, 18, 20),
    "white": (245, 245, 243),
    "grey": (128, 128, 130),
    "red": (205, 25, 30),
    "orange": (245, 130, 20),
    "yellow": (245, 215, 30),
    "green": (40, 150, 55),
    "blue": (35, 85, 200),
    "purple": (130, 50, 160),
    "pink": (245, 120, 175),
    "brown": (125, 75, 40),
}


def linear(rgb):
    return (np.asarray(rgb, np.float64) / 255) ** 2.2


def lit_sphere(albedo, seed, size=(64, 96)):
    """A Lambertian sphere with a highlight under a light from a drawn side: (image, mask).

    `albedo` is an sRGB triple or an (H, W, 3) array of them.
    """
    rng = np.random.default_rng(seed)
    u, v, _ = _unit_square(rng, size)
    mask = u**2 + v**2 < 1
    normal = np.stack([u, v, np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))])
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, 0.2), 1.0])
    light /= np.linalg.norm(light)
    ambient = rng.uniform(0.15, 0.4)
    shade = ambient + (1 - ambient) * np.clip(np.tensordot(light, normal, 1), 0, 1)
    halfway = light + np.array([0, 0, 1])
    shine = 0.6 * np.clip(np.tensordot(halfway / np.linalg.norm(halfway), normal, 1), 0, 1) ** 40
    return _exposed(linear(albedo) * shade[..., None] + shine[..., None], mask, rng), mask


def lit_patch(albedo, seed, size=(64, 96)):
    """A flat rough patch, lit from full light at one end down to a drawn share at the other: (image, mask)."""
    rng = np.random.default_rng(seed)
    u, v, _ = _unit_square(rng, size)
    mask = (np.abs(u) < 0.9) & (np.abs(v) < 0.7)
    angle, dim = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.8)
    shade = np.clip(dim + (1 - dim) * (u * np.cos(angle) + v * np.sin(angle) + 1.3) / 2.6, 0.2, 1.05)
    coarse = rng.standard_normal((size[0] // 4, size[1] // 4)).repeat(4, 0).repeat(4, 1)
    texture = 1 + rng.choice([0.0, 0.25]) * coarse
    return _exposed(linear(albedo) * (shade * texture)[..., None], mask, rng), mask


def halves(first, second, seed, size=(64, 96)):
    """(H, W, 3) sRGB albedo: `first` on one side of a drawn line through the thing, `second` on the other."""
    u, v, angle = _unit_square(np.random.default_rng(seed), size)
    return np.where((u * np.cos(angle) + v * np.sin(angle) > 0)[..., None], first, second)


def stripes(first, second, period, size=(64, 96)):
    """(H, W, 3) sRGB albedo of upright stripes, `period` pixels for both colours together."""
    x = np.arange(size[1])[None, :, None] + np.zeros((size[0], 1, 1))
    return np.where(x % period < period / 2, first, second)


def _unit_square(rng, size):
    """Coordinates in which the thing spans [-1, 1], and a drawn angle, the same for a seed."""
    height, width = size
    radius = rng.uniform(14, 0.45 * height)
    centre_y, centre_x = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
    y, x = np.mgrid[:height, :width]
    return (x - centre_x) / radius, (y - centre_y) / radius, np.random.default_rng(int(radius * 1e6)).uniform(0, 6.28)


def _exposed(light, mask, rng):
    image = np.clip(light, 0, 1) ** (1 / 2.2) * 255
    image[~mask] = rng.integers(0, 255, 3)
    image += rng.normal(0, rng.uniform(0, 12), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def named(image, mask, **settings):
    return palette(image, mask, ColourSettings(**settings))


def terms(found):
    return {colour.term for colour in found.colours}


@pytest.mark.parametrize("thing", [lit_sphere, lit_patch])
def test_one_colour_is_named_right_under_uneven_light(thing):
    found = {(term, seed): named(*thing(rgb, seed)) for term, rgb in REFERENCE.items() for seed in range(20)}
    right = [result.colours[0].term == term for (term, _), result in found.items()]
    assert np.mean(right) >= 0.98
    alone = [len(result.colours) == 1 and not result.many for result in found.values()]
    assert np.mean(alone) >= 0.99


def test_every_basic_term_is_named_right_almost_always():
    for term, rgb in REFERENCE.items():
        right = [named(*lit_sphere(rgb, seed)).colours[0].term == term for seed in range(100, 120)]
        assert np.mean(right) >= 0.9, term


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((110, 8, 16), "dark red"),
        ((16, 50, 25), "dark green"),
        ((20, 30, 95), "dark blue"),
        ((150, 205, 240), "light blue"),
    ],
)
def test_dark_and_light_variants_keep_their_hue(rgb, name):
    right = [str(named(*lit_sphere(rgb, seed)).colours[0]) == name for seed in range(20)]
    assert np.mean(right) >= 0.95


def test_two_halves_of_clearly_different_colours_are_both_named():
    alike = [{"orange", "brown"}, {"white", "grey"}, {"black", "grey"}]
    results = [
        terms(named(*lit_sphere(halves(REFERENCE[a], REFERENCE[b], seed), seed))) == {a, b}
        for a, b in itertools.combinations(REFERENCE, 2)
        for seed in range(2)
        if {a, b} not in alike
    ]
    assert np.mean(results) >= 0.9


def test_stripes_are_their_two_colours_not_their_mixture():
    for pair in ({"red", "white"}, {"black", "white"}, {"blue", "yellow"}):
        albedo = stripes(*(REFERENCE[term] for term in sorted(pair)), period=14)
        assert np.mean([terms(named(*lit_sphere(albedo, seed))) == pair for seed in range(20)]) >= 0.9


def test_a_second_colour_is_named_from_its_share_on():
    image = np.full((80, 100, 3), REFERENCE["blue"], np.uint8)
    mask = np.ones((80, 100), bool)
    image[:, :30] = REFERENCE["yellow"]
    assert [colour.term for colour in named(image, mask).colours] == ["blue", "yellow"]
    image[:, 15:30] = REFERENCE["blue"]
    assert [colour.term for colour in named(image, mask).colours] == ["blue"]


def test_a_hard_shadow_is_not_a_second_colour():
    for term in ("red", "white", "green", "orange"):
        light = np.ones((60, 80, 1))
        light[:, 45:] = 0.25
        image = np.rint((linear(REFERENCE[term]) * light) ** (1 / 2.2) * 255).astype(np.uint8)
        found = named(image, np.ones((60, 80), bool))
        assert [colour.term for colour in found.colours] == [term]


def test_many_colours_are_many():
    image = np.zeros((60, 100, 3), np.uint8)
    for index, term in enumerate(("red", "yellow", "green", "blue", "pink")):
        image[:, 20 * index : 20 * index + 20] = REFERENCE[term]
    assert named(image, np.ones((60, 100), bool)).many


def test_the_background_does_not_count_even_at_the_border():
    image = np.full((60, 60, 3), REFERENCE["green"], np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[18:42, 18:42] = True
    image[19:41, 19:41] = REFERENCE["red"]
    assert [colour.term for colour in named(image, mask).colours] == ["red"]
    lab, inside = surface_pixels(image, mask, SETTINGS)
    assert np.ptp(lab[inside], axis=0).max() < 1e-3


def test_a_large_thing_is_reduced_and_keeps_its_colour():
    image, mask = lit_sphere(REFERENCE["purple"], 3)
    large = cv2.resize(image, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    lab, inside = surface_pixels(large, np.kron(mask, np.ones((8, 8))) > 0, SETTINGS)
    assert max(inside.shape) == SETTINGS.working_side
    assert lab.shape == (*inside.shape, 3)
    assert terms(named(large, np.kron(mask, np.ones((8, 8))) > 0)) == {"purple"}


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_tiny_masks_have_a_colour(pixels):
    image = np.full((64, 96, 3), REFERENCE["yellow"], np.uint8)
    mask = np.zeros((64, 96), bool)
    mask[30, 40 : 40 + pixels] = True
    assert str(named(image, mask).colours[0]) == "yellow"


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty mask"):
        named(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool))


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("blackswan", ["black"]),
        ("camel", ["light brown"]),
        ("car-shadow", ["grey"]),
        ("dog", ["white"]),
        ("horsejump-high", ["brown"]),
        ("libby", ["black", "light brown"]),
    ],
)
def test_real_animals_and_cars(shared_data, sequence, expected):
    image = cv2.imread(str(shared_data / "davis" / "JPEGImages" / sequence / "00000.jpg"))[..., ::-1]
    mask = cv2.imread(str(shared_data / "davis" / "Annotations" / sequence / "00000.png"), cv2.IMREAD_GRAYSCALE) > 127
    assert list(map(str, named(image, mask).colours)) == expected
