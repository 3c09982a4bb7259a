"""RAM and RAM++ as taggers, on tiny random checkpoints loaded the usual way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from PIL import Image as PillowImage
from tiny_models.ram import NEITHER, save_tiny_ram, save_tiny_ram_plus, tiny_tags

from models.placement import DeviceChoice
from models.protocols import Image
from models.ram import RamTagger, TagList, normalised
from models.registry import ModelChoice, ModelResources, make_model
from models.vocabulary import shipped_words
from models.weights import WeightsError

BUILDERS = {"ram-swin-large": save_tiny_ram, "ram-plus-swin-large": save_tiny_ram_plus}


def picture(seed: int, height: int = 90, width: int = 160) -> Image:
    """Coarse coloured blocks with fine grain."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((height // 9, width // 16, 1)))
    return np.clip(blocks + rng.normal(0, 20, blocks.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_at(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def own_base(tmp_path: Path) -> Path:
    """A folder of weights that a test may damage."""
    return base_at(tmp_path / "weights")


def base_at(base: Path) -> Path:
    entries = {}
    for name, build in BUILDERS.items():
        build(base / name)
        entries[name] = {"revision": "tiny", "files": {path.name: {} for path in sorted((base / name).iterdir())}}
    (base / "weights.json").write_text(json.dumps(entries))
    return base


def tagger_in(base: Path, name: str = "ram-swin-large", dtype: str = "float32", **settings: Any) -> RamTagger:
    device = DeviceChoice.model_validate({"device": "cpu", "dtype": dtype})
    choice = ModelChoice(name="ram", settings={"weights": name, **settings})
    made = make_model(choice, ModelResources(base, {"default": device}))
    assert isinstance(made, RamTagger)
    return made


def checkpoint(base: Path, name: str = "ram-swin-large") -> Path:
    return next((base / name).glob("*.pth"))


def test_it_says_which_weight_it_is(base: Path, name: str) -> None:
    assert tagger_in(base, name).info.name == name
    assert tagger_in(base, name).info.revision.startswith("tiny")


def test_tags_vary_between_pictures_and_stand_in_their_lists(base: Path, name: str) -> None:
    tagger = tagger_in(base, name, max_tags=3000)
    found = tagger.tag([[picture(seed)] for seed in range(3)])
    names = [{tag.name for tag in [*tags.entities, *tags.background, *tags.others]} for tags in found]
    assert all(20 < len(words) < 1000 for words in names)
    assert names[0] != names[1] != names[2]
    for tags in found:
        assert {tag.name for tag in tags.entities} < set(shipped_words("entities"))
        assert {tag.name for tag in tags.background} < set(shipped_words("background"))
        assert {tag.name for tag in tags.others} <= set(NEITHER)
        for group in (tags.entities, tags.background):
            scores = [tag.score for tag in group]
            assert len(set(scores)) > 5
            assert scores == sorted(scores, reverse=True)
            assert all(0.65 < score <= 1 for score in scores)


def test_a_tag_has_the_networks_score(base: Path, name: str) -> None:
    tagger = tagger_in(base, name)
    [scores] = tagger.scores([picture(1)])
    [tags] = tagger.tag([[picture(1)]])
    assert scores.shape == (len(tiny_tags()),)
    for tag in [*tags.entities, *tags.background, *tags.others]:
        assert tag.score == scores[tiny_tags().index(tag.name)]


def test_batched_is_single(base: Path, name: str) -> None:
    frames = [picture(seed, 90 + 9 * seed, 160) for seed in range(5)]
    single = np.stack(tagger_in(base, name, batch=1).scores(frames))
    batched = np.stack(tagger_in(base, name, batch=3).scores(frames))
    np.testing.assert_allclose(batched, single, atol=1e-4)
    assert single.std(0).max() > 0.02
    assert single.std(1).min() > 0.02


def test_only_the_first_frame_counts(base: Path) -> None:
    tagger = tagger_in(base)
    assert tagger.tag([[picture(1), picture(2)]]) == tagger.tag([[picture(1)]])
    assert tagger.tag([[picture(2), picture(1)]]) != tagger.tag([[picture(1)]])
    assert tagger.tag([]) == []


def test_frames_are_resized_without_regard_to_aspect_and_normalised() -> None:
    frames = [picture(1), picture(2, 270, 160)]
    images = normalised(frames, torch.device("cpu"))
    assert images.shape == (2, 3, 384, 384)
    assert images.dtype == torch.float32
    for frame, image in zip(frames, images, strict=True):
        resized = PillowImage.fromarray(frame).resize((384, 384), PillowImage.Resampling.BILINEAR)
        expected = np.asarray(resized) / 255
        restored = image.permute(1, 2, 0).numpy() * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
        np.testing.assert_allclose(restored, expected, atol=1e-6)


def test_a_tag_must_exceed_its_threshold(own_base: Path) -> None:
    [scores] = tagger_in(own_base).scores([picture(1)])
    ranked = np.argsort(-scores)
    equal, below = int(ranked[0]), int(ranked[1])
    limits = np.ones(len(scores), np.float32)
    limits[equal], limits[below] = scores[equal], np.nextafter(scores[below], np.float32(0))
    write_thresholds(own_base, limits)
    [tags] = tagger_in(own_base).tag([[picture(1)]])
    assert [tag.name for tag in [*tags.entities, *tags.background, *tags.others]] == [tiny_tags()[below]]


def test_the_shift_moves_all_thresholds_but_those_switched_off(own_base: Path) -> None:
    limits = np.full(len(tiny_tags()), 0.9, np.float32)
    limits[tiny_tags().index("dog")] = 1
    write_thresholds(own_base, limits)

    def names(shift: float) -> set[str]:
        [tags] = tagger_in(own_base, threshold_shift=shift, max_tags=5000).tag([[picture(1)]])
        return {tag.name for tag in [*tags.entities, *tags.background, *tags.others]}

    assert names(0.05) < names(0) < names(-0.3) < names(-1)
    assert names(-1) == set(tiny_tags()) - {"dog"}
    assert names(1) == set()


def test_each_list_has_at_most_so_many_tags_the_best_ones(base: Path) -> None:
    [few], [all_of_them] = (
        tagger_in(base, max_tags=number, threshold_shift=-0.65).tag([[picture(1)]]) for number in (4, 5000)
    )
    assert len(few.others) == 4 < len(all_of_them.others)
    assert few.entities == all_of_them.entities[:4]
    assert few.background == all_of_them.background[:4]
    assert few.others == all_of_them.others[:4]


def test_own_vocabularies_take_the_place_of_the_shipped(base: Path, tmp_path: Path) -> None:
    (tmp_path / "entities.txt").write_text("# mine\nSky\nhand\n")
    (tmp_path / "background.txt").write_text("night\n")
    own = {"entities": str(tmp_path / "entities.txt"), "background": str(tmp_path / "background.txt")}
    [tags] = tagger_in(base, threshold_shift=-0.65, max_tags=5000, **own).tag([[picture(1)]])
    assert {tag.name for tag in tags.entities} == {"sky", "hand"}
    assert [tag.name for tag in tags.background] == ["night"]
    assert "dog" in {tag.name for tag in tags.others}


def test_bfloat16_is_near_float32(base: Path, name: str) -> None:
    [half], [full] = (tagger_in(base, name, dtype).scores([picture(1)]) for dtype in ("bfloat16", "float32"))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).mean() < 0.03


def test_scores_that_are_not_numbers_are_an_error(own_base: Path) -> None:
    document = torch.load(checkpoint(own_base), weights_only=True)
    document["model"]["fc.bias"] += float("nan")
    torch.save(document, checkpoint(own_base))
    with pytest.raises(ValueError, match=r"not numbers in torch\.float32"):
        tagger_in(own_base).tag([[picture(1)]])


class Payload:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "run")


def test_a_checkpoint_with_code_is_refused_and_not_run(own_base: Path, tmp_path: Path) -> None:
    torch.save({"model": {"fc.bias": Payload(tmp_path / "written")}}, checkpoint(own_base))
    with pytest.raises(WeightsError, match=r"the checkpoint \S+ram_swin_large_14m\.pth cannot be read: [^\n]+$"):
        tagger_in(own_base)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("kept", [0, 100, 20_000])
def test_a_damaged_checkpoint_is_one_sentence(own_base: Path, kept: int) -> None:
    path = checkpoint(own_base)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"the checkpoint \S+ cannot be read: [^\n]+$"):
        tagger_in(own_base)


@pytest.mark.parametrize("document", [{"state_dict": {}}, [1, 2], {"model": {"fc.bias": 3}}])
def test_a_file_of_something_else_is_refused(own_base: Path, document: Any) -> None:
    torch.save(document, checkpoint(own_base))
    with pytest.raises(WeightsError, match="has no tensors by name under 'model'"):
        tagger_in(own_base)


def test_the_legacy_format_is_read(own_base: Path) -> None:
    before = tagger_in(own_base).scores([picture(1)])
    document = torch.load(checkpoint(own_base), weights_only=True)
    torch.save(document, checkpoint(own_base), _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(tagger_in(own_base).scores([picture(1)]), before)


def test_a_tag_list_of_another_checkpoint_is_refused(own_base: Path) -> None:
    folder = own_base / "ram-swin-large"
    for file in ("ram_tag_list.txt", "ram_tag_list_threshold.txt"):
        lines = (folder / file).read_text().splitlines()
        (folder / file).write_text("\n".join([*lines, "0.5"]))
    with pytest.raises(WeightsError, match=r"label embeddings, which do not belong to a list of \d+ tags$"):
        tagger_in(own_base)


@pytest.mark.parametrize(
    ("tags", "thresholds", "sentence"),
    [
        ("dog\ncat\n", "0.5\n", r"has 2 tags and .* 1 thresholds"),
        ("", "", r"has 0 tags"),
        ("dog\ndog\n", "0.5\n0.5\n", r"has the tag 'dog' twice"),
        ("dog\ncat\n", "0.5\nhigh\n", r"not one number a line: .*'high'"),
        ("dog\ncat\n", "0.5\n1.5\n", r"outside 0 to 1"),
        ("dog\ncat\n", "0.5\nnan\n", r"outside 0 to 1"),
    ],
)
def test_a_broken_tag_list_is_one_sentence(tmp_path: Path, tags: str, thresholds: str, sentence: str) -> None:
    (tmp_path / "tags.txt").write_text(tags)
    (tmp_path / "thresholds.txt").write_text(thresholds)
    with pytest.raises(WeightsError, match=sentence):
        TagList.read(tmp_path / "tags.txt", tmp_path / "thresholds.txt")


def test_the_real_tag_list_is_read(shared_data: Path) -> None:
    folder = shared_data / "weights"
    found = TagList.read(folder / "ram_tag_list.txt", folder / "ram_tag_list_threshold.txt")
    assert len(found.tags) == len(found.thresholds) == 4585
    off = {tag for tag, limit in zip(found.tags, found.shifted(-0.5), strict=True) if limit == 1}
    assert off == {"body", "cocktail table", "French", "group", "lie", "show", "see", "set", "stop", "use"}


def write_thresholds(base: Path, limits: np.ndarray[Any, Any]) -> None:
    text = "\n".join(repr(float(limit)) for limit in limits)
    (base / "ram-swin-large" / "ram_tag_list_threshold.txt").write_text(text)
