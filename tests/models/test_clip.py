"""CLIP scores, on a tiny random checkpoint loaded the usual way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from PIL import Image as PillowImage
from tiny_models.clip import save_tiny_clip
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from models.clip import ClipScorer
from models.placement import DeviceChoice
from models.protocols import Image
from models.registry import ModelChoice, ModelResources, make_model
from models.weights import WeightsList

TEXTS = ["a dog", "a red car", "trees by the lake", "x", "a very long tail"]
LONG = "a long caption of a dog that goes on and on and on and on and on and on until "


def noise(seed: int, height: int = 40, width: int = 40) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), np.uint8)
    return np.kron(coarse, np.ones((height // 5, width // 5, 1), np.uint8))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("weights")
    folder = base / "clip-vit-base-patch16"
    save_tiny_clip(folder)
    entry = {"revision": "tiny", "files": {path.name: {} for path in sorted(folder.iterdir())}}
    (base / "weights.json").write_text(json.dumps({folder.name: entry}))
    return base


def scorer_in(base: Path, batch: int = 32) -> ClipScorer:
    resources = ModelResources(base, {"default": DeviceChoice(device="cpu")})
    made = make_model(ModelChoice(name="clip", settings={"batch": batch}), resources)
    assert isinstance(made, ClipScorer)
    return made


def test_scores_are_those_of_the_embeddings_of_the_whole_model(base: Path) -> None:
    images = [noise(seed) for seed in range(5)]
    folder = base / "clip-vit-base-patch16"
    tokenizer, pixels = CLIPTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    inputs = CLIPProcessor(pixels, tokenizer)(
        images=[PillowImage.fromarray(image) for image in images], text=TEXTS, return_tensors="pt", padding=True
    )
    with torch.no_grad():
        output = CLIPModel.from_pretrained(folder)(**inputs)
    expected = 100 * (output.image_embeds * output.text_embeds).sum(-1).clamp(min=0)
    scores = scorer_in(base).score(images, TEXTS)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-4)
    assert np.ptp(scores) > 5


def test_a_batch_scores_as_its_pairs_alone(base: Path) -> None:
    """Of pictures of several sizes and texts of several lengths."""
    images = [noise(seed, 40 + 10 * seed, 70) for seed in range(5)]
    alone = scorer_in(base, batch=1).score(images, TEXTS)
    np.testing.assert_allclose(scorer_in(base).score(images, TEXTS), alone, atol=1e-4)
    np.testing.assert_allclose(scorer_in(base, batch=2).score(images[::-1], TEXTS[::-1]), alone[::-1], atol=1e-4)
    assert len({round(score, 2) for score in alone}) == 5


def test_a_picture_and_a_text_both_matter(base: Path) -> None:
    scorer = scorer_in(base)
    one, other, third = scorer.score([noise(0), noise(1), noise(0)], ["a dog", "a dog", "a cat"])
    assert abs(one - other) > 0.1
    assert abs(one - third) > 0.1


def test_of_a_long_text_the_first_tokens_count(base: Path) -> None:
    """Tokens of the tiny CLIP are bytes, and two of its 77 are taken."""
    text = LONG.replace(" ", "")[:75].ljust(75, "x")
    image = noise(0)
    scorer = scorer_in(base)
    first, second, changed = scorer.score([image] * 3, [text + "dogs", text + "cats" * 30, "y" + text[1:] + "dogs"])
    assert first == pytest.approx(second, abs=1e-4)
    assert abs(first - changed) > 0.01


def test_what_has_nothing_in_common_scores_zero(base: Path) -> None:
    scorer = scorer_in(base)
    assert min(scorer.score([noise(0)], ["a dog"])) > 0
    with torch.no_grad():
        scorer._network.text_projection.weight.neg_()
    assert scorer.score([noise(0)], ["a dog"]) == [0.0]


def test_the_files_are_those_that_the_list_of_weights_names(base: Path, tmp_path: Path) -> None:
    """The published network has no safetensors: the older format alone must do, and gives the same scores."""
    name = "clip-vit-base-patch16"
    listed = [file for file in WeightsList(tmp_path).entry(name).files if (base / name / file).is_file()]
    assert "model.safetensors" not in listed
    (tmp_path / name).mkdir()
    for file in listed:
        shutil.copy(base / name / file, tmp_path / name)
    assert scorer_in(tmp_path).score([noise(0)], ["a dog"]) == scorer_in(base).score([noise(0)], ["a dog"])


def test_pictures_of_any_size_are_scored(base: Path) -> None:
    scorer = scorer_in(base)
    long = np.random.default_rng(0).integers(0, 256, (8, 1000, 3), np.uint8)
    images = [np.zeros((1, 1, 3), np.uint8), np.full((8, 8, 3), 128, np.uint8), long, long.transpose(1, 0, 2)]
    together = scorer.score(images, ["a dog", "", "a cat", "日本"])
    assert all(0 <= score <= 100 for score in together)
    np.testing.assert_allclose([scorer.score([long], ["a cat"])[0]], together[2:3], atol=1e-4)


def test_a_picture_seen_backwards_is_taken(base: Path) -> None:
    scorer, flipped = scorer_in(base), noise(0)[:, ::-1]
    assert scorer.score([flipped], ["a dog"]) == scorer.score([flipped.copy()], ["a dog"])


def test_scores_that_are_not_numbers_are_refused(base: Path) -> None:
    scorer = scorer_in(base)
    with torch.no_grad():
        scorer._network.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"clip-vit-base-patch16 gives values that are not numbers"):
        scorer.score([noise(0)], ["a dog"])


def test_pairs_must_be_pairs_and_none_is_none(base: Path) -> None:
    scorer = scorer_in(base)
    assert scorer.score([], []) == []
    assert scorer.info.name == "clip-vit-base-patch16"
    assert scorer.info.revision.startswith("tiny-")
    with pytest.raises(ValueError):
        scorer.score([noise(0)], [])


def test_features_are_those_of_the_whole_model_in_any_batch(base: Path) -> None:
    images = [noise(seed, 40 + 10 * seed, 70) for seed in range(5)]
    folder = base / "clip-vit-base-patch16"
    pixels = CLIPImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(folder).get_image_features(**pixels).pooler_output.numpy()
    features = scorer_in(base, batch=2).embed(images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert np.ptp(features, axis=0).max() > 0.1, "pictures differ"
    assert scorer_in(base).embed([]).shape == (0, expected.shape[1])
