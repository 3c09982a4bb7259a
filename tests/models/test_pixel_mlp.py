import numpy as np
import pytest

from models.pixel_mlp import FEATURES, PixelClassifier, PixelMlpSettings, pixel_features

SETTINGS = PixelMlpSettings(steps=150, batch=256)


def _scene() -> tuple[np.ndarray, np.ndarray]:
    """An orange square on noisy green, and its mask."""
    random = np.random.default_rng(0)
    image = np.empty((60, 80, 3), np.int64)
    image[:] = (60, 120, 60)
    image[20:40, 30:50] = (200, 120, 40)
    image += random.integers(-15, 16, image.shape)
    soft = np.zeros((60, 80), np.float32)
    soft[20:40, 30:50] = 1
    return image.astype(np.uint8), soft


def _trained() -> tuple[PixelClassifier, np.ndarray, np.ndarray]:
    image, soft = _scene()
    features = pixel_features(image).reshape(FEATURES, -1)
    ring = np.ones(soft.size, np.bool_)
    return PixelClassifier(features, soft.ravel(), ring, SETTINGS), features, soft.ravel() > 0.5


@pytest.mark.parametrize("size", [(60, 80), (7, 5), (1, 1), (33, 2)])
def test_features_cover_every_pixel(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    features = pixel_features(image)
    assert features.shape == (FEATURES, *size)
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 20


def test_features_do_not_know_the_place() -> None:
    image, _ = _scene()
    wide = np.tile(image, (1, 3, 1))
    features = pixel_features(wide)
    # The second and the third copy of the scene look the same where neither sees the picture's edge.
    np.testing.assert_allclose(features[:12, 30, 110], features[:12, 30, 110 - 80], atol=0.05)


def test_texture_shows_in_the_contrast_features() -> None:
    flat = np.full((40, 40, 3), 120, np.uint8)
    stripes = flat.copy()
    stripes[:, ::4] = 20
    flat_features, stripe_features = pixel_features(flat), pixel_features(stripes)
    assert np.abs(flat_features[15:, 20, 20]).max() < 0.01
    assert stripe_features[15, 20, 20] > 1
    across, down = stripe_features[17, 20, 20], stripe_features[18, 20, 20]
    assert across > 10 * down


def test_the_classifier_separates_object_and_ground() -> None:
    classifier, features, solid = _trained()
    logits = classifier.logits(features)
    assert (logits[solid] > 0).mean() > 0.97
    assert (logits[~solid] < 0).mean() > 0.97


def test_training_is_repeatable() -> None:
    first, features, _ = _trained()
    second, _, _ = _trained()
    assert np.array_equal(first.logits(features), second.logits(features))


def test_a_refresh_learns_a_new_look_and_keeps_the_first() -> None:
    classifier, features, solid = _trained()
    image, _ = _scene()
    changed = image.copy()
    changed[20:40, 30:50] = (60, 60, 200)
    later = pixel_features(changed).reshape(FEATURES, -1)
    before = classifier.logits(later)[solid].mean()
    for _ in range(10):
        classifier.refresh(later, np.flatnonzero(solid), np.flatnonzero(~solid))
    assert classifier.logits(later)[solid].mean() > before + 1
    assert (classifier.logits(features)[solid] > 0).mean() > 0.95


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_a_boundary_teaches_nothing(value: float) -> None:
    soft = np.full(100, value, np.float32)
    assert not PixelClassifier.can_learn(soft)
    with pytest.raises(ValueError, match="inside and outside"):
        PixelClassifier(np.zeros((FEATURES, 100), np.float32), soft, np.ones(100, np.bool_), SETTINGS)
