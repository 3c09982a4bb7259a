import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from models.colour_histogram import ColourHistogramSettings, ColourModel, colour_bins, count, smooth

SETTINGS = ColourHistogramSettings()


def _image(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def test_every_colour_has_a_cell() -> None:
    random = np.random.default_rng(0)
    bins = colour_bins(random.integers(0, 256, (50, 50, 3), dtype=np.uint8), SETTINGS)
    assert bins.shape == (50, 50)
    assert bins.min() >= 0
    assert bins.max() < SETTINGS.cells**3
    black, white = (int(colour_bins(_image((v, v, v)), SETTINGS)[0, 0]) for v in (0, 255))
    assert black // SETTINGS.cells**2 == 0
    assert white // SETTINGS.cells**2 == SETTINGS.cells - 1


def test_smoothing_is_a_gaussian_over_three_axes() -> None:
    counts = np.random.default_rng(1).random(SETTINGS.cells**3, np.float32)
    cube = gaussian_filter(counts.reshape((SETTINGS.cells,) * 3), SETTINGS.smoothing, mode="nearest")
    np.testing.assert_allclose(smooth(counts, SETTINGS), (cube / cube.sum()).ravel(), atol=1e-7)
    assert smooth(counts, SETTINGS).sum() == pytest.approx(1, abs=1e-4)


def test_smoothing_nothing_gives_nothing() -> None:
    assert not smooth(np.zeros(SETTINGS.cells**3, np.float32), SETTINGS).any()


def test_weights_are_counted_per_cell() -> None:
    image = np.concatenate([_image((200, 30, 30)), _image((30, 30, 200))])
    bins = colour_bins(image, SETTINGS)
    weights = np.ones(bins.shape, np.float32)
    weights[:8] = 0.5
    counts = count(bins, weights, SETTINGS)
    assert counts[bins[0, 0]] == pytest.approx(32)
    assert counts[bins[-1, 0]] == pytest.approx(64)
    assert count(bins, None, SETTINGS).sum() == bins.size


def _model() -> tuple[ColourModel, int, int, int]:
    """A model of a red object on blue ground, and the cells of red, blue and a green seen nowhere."""
    red, blue, green = (
        int(colour_bins(_image(colour), SETTINGS)[0, 0]) for colour in ((200, 30, 30), (30, 30, 200), (30, 200, 30))
    )
    inside, around = (np.zeros(SETTINGS.cells**3, np.float32) for _ in range(2))
    inside[red], around[blue] = 100, 300
    return ColourModel(inside, around, SETTINGS), red, blue, green


def test_the_ratio_tells_object_from_ground_and_is_silent_on_the_unseen() -> None:
    model, red, blue, green = _model()
    ratio = model.log_ratio()
    assert ratio[red] == pytest.approx(SETTINGS.limit)
    assert ratio[blue] == pytest.approx(-SETTINGS.limit)
    assert ratio[green] == pytest.approx(0)


def test_updates_teach_new_colours_but_keep_the_first() -> None:
    model, red, _, green = _model()
    seen = np.zeros(SETTINGS.cells**3, np.float32)
    seen[green] = 50
    for _ in range(100):
        model.update(seen, np.zeros_like(seen))
    ratio = model.log_ratio()
    assert ratio[green] > 3
    assert ratio[red] > 3
