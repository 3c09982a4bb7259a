"""Grounding DINO on tiny random checkpoints of the real classes, loaded the usual way."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from tiny_models.grounding_dino import save_parts, save_tiny_grounding_dino, tiny_network
from transformers import BertTokenizer

from models.grounding_dino import GroundingDino
from models.placement import DeviceChoice, Placement
from models.pretrained import load_network, load_processor
from models.protocols import Detection, Image
from models.registry import ModelChoice, ModelResources, make_model
from models.weights import Weights, WeightsError, WeightsList

HEIGHT, WIDTH = 64, 96
TAGS = ["dog", "black swan", "red t-shirt", "car", "umbrella", "person"]
EVERYTHING = {"min_score": 0, "min_area": 0, "same_tag_iou": 1, "any_tag_iou": 1}
"""Settings under which every query of the network is a detection."""
QUERIES = 20
PLACES = 12 * 18 + 6 * 9 + 3 * 5 + 2 * 3
"""Places of the four feature maps of a picture of 64 × 96, which the tiny network sees as 96 × 144."""


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def list_weights(base: Path) -> None:
    entry = {"revision": "tiny", "files": {path.name: {} for path in sorted((base / "grounding-dino-tiny").iterdir())}}
    (base / "weights.json").write_text(json.dumps({"grounding-dino-tiny": entry}))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("weights")
    save_tiny_grounding_dino(base / "grounding-dino-tiny")
    list_weights(base)
    return base


@pytest.fixture(scope="module")
def independent_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose boxes and scores for a tag do not depend on the other tags.

    Every place of the picture becomes a query, so that the text chooses none; the picture's features do not see the
    text, and neither do the queries on their way. Scores are still products of queries and text.
    """
    base = tmp_path_factory.mktemp("independent")
    network = tiny_network(num_queries=PLACES)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("vision_param") or ("encoder_attn_text" in name and "out_proj" in name):
                parameter.zero_()
            if "query_position_embeddings" in name:
                parameter.copy_(parameter[:1].expand_as(parameter))
    save_parts(network, base / "grounding-dino-tiny")
    list_weights(base)
    return base


@pytest.fixture(autouse=True)
def _loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.grounding_dino.load_network", _network_in)
    monkeypatch.setattr("models.grounding_dino.load_processor", _processor_in)


@functools.lru_cache
def _from(load: Callable[..., Any], cls: type, folder: Path, *rest: Any) -> Any:
    return load(cls, Weights("grounding-dino-tiny", "", {path.name: path for path in sorted(folder.iterdir())}), *rest)


def _network_in(cls: type, weights: Weights, placement: Placement) -> Any:
    return _from(load_network, cls, weights.folder, placement)


def _processor_in(cls: type, weights: Weights) -> Any:
    return _from(load_processor, cls, weights.folder)


def detector_in(base: Path, **settings: Any) -> GroundingDino:
    resources = ModelResources(base, {"default": DeviceChoice(device="cpu")})
    made = make_model(ModelChoice(name="grounding_dino", settings=settings), resources)
    assert isinstance(made, GroundingDino)
    return made


def found_in(base: Path, tags: Sequence[str], **settings: Any) -> list[Detection]:
    (found,) = detector_in(base, **settings).detect([[picture(0)]], [tags])
    return found


def texts_read_by(detector: GroundingDino) -> list[tuple[tuple[int, ...], list[str]]]:
    """Fills, as the detector works, with the pictures' shape and the texts of every forward pass."""
    seen: list[tuple[tuple[int, ...], list[str]]] = []

    def note(network: object, args: object, given: dict[str, Any]) -> None:
        texts = detector._tokenizer.batch_decode(given["input_ids"], skip_special_tokens=True)
        seen.append((tuple(given["pixel_values"].shape), texts))

    detector._network.register_forward_pre_hook(note, with_kwargs=True)
    return seen


def assert_alike(found: Sequence[Detection], expected: Sequence[Detection]) -> None:
    """Equal detections, within float32's noise: 1e-5 of a score and of the frame."""
    assert [one.tag for one in found] == [one.tag for one in expected]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in expected], atol=1e-5)
    fractions = [np.divide([one.box for one in some], [WIDTH, HEIGHT] * 2) for some in (found, expected)]
    np.testing.assert_allclose(*fractions, atol=1e-5)


def test_a_batch_finds_what_each_clip_finds_alone(base: Path) -> None:
    clips = [[picture(seed), picture(9)] for seed in range(4)]
    tags = [TAGS[:3], TAGS[3:4], TAGS, TAGS[1:3]]
    alone = [detector_in(base, **EVERYTHING).detect([clip], [some])[0] for clip, some in zip(clips, tags, strict=True)]
    for batch in (4, 3):
        for found, expected in zip(
            detector_in(base, batch=batch, **EVERYTHING).detect(clips, tags), alone, strict=True
        ):
            assert len(found) == QUERIES
            assert_alike(found, expected)
    assert len({one.tag for one in alone[2]}) > 2
    assert np.ptp([one.score for one in alone[0]]) > 0.1
    assert np.abs(np.subtract(alone[0][0].box, alone[2][0].box)).max() > 1


def test_frames_of_other_sizes_are_looked_at_apart(base: Path) -> None:
    clips = [[picture(0)], [picture(1, 96, 64)], [picture(2)]]
    detector = detector_in(base, **EVERYTHING)
    seen = texts_read_by(detector)
    found = detector.detect(clips, [["dog"], ["car"], ["person"]])
    assert [(shape[0], texts) for shape, texts in seen] == [(2, ["dog.", "person."]), (1, ["car."])]
    assert seen[0][0][2:] != seen[1][0][2:]
    for clip, tag, some in zip(clips, ("dog", "car", "person"), found, strict=True):
        (alone,) = detector.detect([clip], [[tag]])
        assert_alike(some, alone)


def test_without_tags_nothing_is_looked_for(base: Path) -> None:
    detector = detector_in(base, **EVERYTHING)
    seen = texts_read_by(detector)
    assert detector.detect([[picture(0)]] * 2, [[], []]) == [[], []]
    assert detector.detect([], []) == []
    assert seen == []
    nothing, some = detector.detect([[picture(0)]] * 2, [[], ["dog"]])
    assert nothing == []
    assert len(some) == QUERIES
    assert len(seen) == 1


def test_the_order_of_the_tags_does_not_matter(base: Path) -> None:
    found = found_in(base, TAGS, **EVERYTHING)
    assert_alike(found_in(base, TAGS[::-1], **EVERYTHING), found)
    assert_alike(found_in(base, [*TAGS, *TAGS], **EVERYTHING), found)


def test_a_list_that_just_fits_is_one_text_and_a_longer_one_is_not(base: Path) -> None:
    tokens = len(BertTokenizer.from_pretrained(base / "grounding-dino-tiny")(". ".join(TAGS) + ".").input_ids)
    detector = detector_in(base, text_tokens=tokens, **EVERYTHING)
    seen = texts_read_by(detector)
    (found,) = detector.detect([[picture(0)]], [TAGS])
    assert len(seen) == 1
    assert_alike(found, found_in(base, TAGS, **EVERYTHING))
    detector = detector_in(base, text_tokens=tokens - 1, **EVERYTHING)
    seen = texts_read_by(detector)
    (found,) = detector.detect([[picture(0)]], [TAGS])
    assert [text for _, texts in seen for text in texts][1] == "person."
    assert len(found) == 2 * QUERIES


@pytest.mark.parametrize(("text_tokens", "passes"), [(28, 2), (11, 5)])
def test_a_chunked_list_is_one_list_where_tags_do_not_influence_each_other(
    independent_base: Path, text_tokens: int, passes: int
) -> None:
    limits = {"min_score": 0.2, "same_tag_iou": 0.4, "any_tag_iou": 0.8}
    one_list = found_in(independent_base, TAGS, **limits)
    detector = detector_in(independent_base, text_tokens=text_tokens, **limits)
    seen = texts_read_by(detector)
    (chunked,) = detector.detect([[picture(0)]], [TAGS])
    assert sum(len(texts) for _, texts in seen) == passes
    assert_alike(chunked, one_list)
    assert len({one.tag for one in one_list}) > 1
    assert 5 < len(one_list) < PLACES / 2


def test_tags_of_one_text_do_influence_each_other(base: Path) -> None:
    """Why a chunked list is another question to the network itself."""
    dogs = [one for one in found_in(base, TAGS, **EVERYTHING) if one.tag == "dog"]
    alone = found_in(base, ["dog"], **EVERYTHING)
    differences = [min(abs(one.score - other.score) for other in alone) for one in dogs]
    assert max(differences) > 1e-4


def test_more_tags_than_one_text_holds_are_all_looked_for(base: Path) -> None:
    tags = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    detector = detector_in(base, **EVERYTHING)
    seen = texts_read_by(detector)
    (found,) = detector.detect([[picture(0)]], [tags])
    texts = [text for _, texts in seen for text in texts]
    assert len(texts) == 2
    assert [tag for text in texts for tag in text.removesuffix(".").split(". ")] == tags
    assert len(found) == QUERIES * len(texts)
    assert {one.tag for one in found} <= set(tags)


class DictatedNetwork:
    """Gives one box per row of `logits`; a row is the column of the text where it has its best number."""

    device, dtype, config = torch.device("cpu"), torch.float32, SimpleNamespace(max_text_len=256)

    def __init__(self, columns: Sequence[int], boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> None:
        logits = torch.full((len(columns), 256), -9.0)
        for row, (column, score) in enumerate(zip(columns, scores, strict=True)):
            logits[row, column] = float(np.log(score / (1 - score)))
        self.output = SimpleNamespace(logits=logits[None], pred_boxes=torch.tensor(boxes, dtype=torch.float32)[None])

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        return self.output


def dictated(
    base: Path,
    columns: Sequence[int],
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    tags: Sequence[str] = ("dog",),
    **settings: Any,
) -> list[Detection]:
    detector = detector_in(base, **settings)
    detector._network = DictatedNetwork(columns, boxes, scores)
    (found,) = detector.detect([[picture(0)]], [tags])
    return found


def test_every_token_answers_for_the_tag_it_stands_in(base: Path) -> None:
    """Which one that is, is counted in characters of the text."""
    text = ". ".join(TAGS) + "."
    offsets = BertTokenizer.from_pretrained(base / "grounding-dino-tiny")(text, return_offsets_mapping=True)
    owners = {
        column: TAGS[text[:start].count(".")]
        for column, (start, end) in enumerate(offsets["offset_mapping"])
        if text[start:end] not in ("", ".")
    }
    assert len(owners) > 2 * len(TAGS)
    scores = [0.5 + 0.01 * number for number in range(len(owners))]
    boxes = [[0.5, 0.5, 0.2, 0.2]] * len(owners)
    found = dictated(base, list(owners), boxes, scores, TAGS, **EVERYTHING)
    assert [one.tag for one in found] == list(owners.values())[::-1]
    np.testing.assert_allclose([one.score for one in found], scores[::-1], atol=1e-6)


def test_what_is_said_of_full_stops_and_ends_counts_for_no_tag(base: Path) -> None:
    # "dog." is [CLS] dog . [SEP]
    found = dictated(base, [0, 2, 3, 1], [[0.5, 0.5, 0.2, 0.2]] * 4, [0.9, 0.9, 0.9, 0.6], min_score=0.25)
    assert [(one.tag, round(one.score, 4)) for one in found] == [("dog", 0.6)]


def test_boxes_are_in_pixels_within_the_frame(base: Path) -> None:
    boxes = [
        [0.5, 0.5, 0.5, 0.25],
        [0.1, 0.9, 0.4, 0.4],
        [0.5, 0.5, 1.5, 1.5],
        [0.5, 0.5, 0.0, 0.3],
        [0.99, 0.5, -0.1, 0.3],
    ]
    found = dictated(base, [1] * 5, boxes, [0.9, 0.8, 0.7, 0.6, 0.5], **EVERYTHING)
    expected = [(24, 24, 72, 40), (0, 44.8, 28.8, 64), (0, 0, 96, 64)]
    assert len(found) == 3
    np.testing.assert_allclose([one.box for one in found], expected, rtol=1e-5)
    assert all(type(value) is float for one in found for value in (*one.box, one.score))


def test_scores_and_areas_have_limits(base: Path) -> None:
    boxes = [[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.25, 0.25], [0.5, 0.5, 1.0, 1.0], [0.8, 0.8, 0.25, 0.25]]

    def kept(**limits: float) -> list[float]:
        settings: dict[str, Any] = EVERYTHING | limits
        return [round(one.score, 2) for one in dictated(base, [1] * 4, boxes, [0.9, 0.8, 0.7, 0.1], **settings)]

    assert kept() == [0.9, 0.8, 0.7, 0.1]
    assert kept(min_score=0.5) == [0.9, 0.8, 0.7]
    assert kept(min_area=0.1) == [0.9, 0.7]
    assert kept(max_area=0.25) == [0.9, 0.8, 0.1]
    assert kept(max_area=0.9, min_area=0.25) == [0.9]


def test_overlapping_boxes_of_one_tag_and_of_two(base: Path) -> None:
    # The second box covers the first with an IoU of 0.6, the third with 0.9; the text is [CLS] dog . car . [SEP].
    boxes = [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.3], [0.5, 0.5, 0.5, 0.45]]

    def kept(columns: list[int], same: float, other: float) -> list[float]:
        limits: dict[str, Any] = EVERYTHING | {"same_tag_iou": same, "any_tag_iou": other}
        found = dictated(base, columns, boxes, [0.9, 0.8, 0.7], ("dog", "car"), **limits)
        return [round(one.score, 2) for one in found]

    assert kept([1, 1, 1], 0.5, 0.8) == [0.9]
    assert kept([1, 1, 1], 0.65, 0.95) == [0.9, 0.8]
    assert kept([1, 3, 3], 0.5, 0.8) == [0.9, 0.8]
    assert kept([1, 3, 3], 0.7, 0.95) == [0.9, 0.8, 0.7]
    assert kept([1, 3, 3], 0.5, 0.5) == [0.9]


def test_tags_keep_their_spelling_whatever_the_network_reads(base: Path) -> None:
    detector = detector_in(base, **EVERYTHING)
    seen = texts_read_by(detector)
    (found,) = detector.detect([[picture(0)]], [["St. Bernard", "What?", "dog [SEP] T-Shirt"]])
    assert seen[0][1] == ["st bernard. what. dog sep t - shirt."]
    assert {one.tag for one in found} == {"St. Bernard", "What?", "dog [SEP] T-Shirt"}


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("...", "the tag '...' has no word to look for"),
        ("ham " * 90, "has 270 tokens, too many for a text of 256"),
        ("\a", "the 2 tags 'car, \\x07' read as 1 phrases"),
    ],
)
def test_a_tag_that_cannot_be_looked_for_is_refused(base: Path, tag: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        detector_in(base).detect([[picture(0)]], [["car", tag]])
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (8, 1000), (1000, 8)])
def test_pictures_of_any_shape_are_taken(base: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    flat, backwards = np.full_like(noise, 128), noise[:, ::-1]
    found = detector_in(base, **EVERYTHING).detect([[flat], [backwards], [noise[:, ::-1].copy()]], [TAGS[:2]] * 3)
    assert all(0 < len(one) <= QUERIES for one in found)
    np.testing.assert_allclose(*([one.score for one in some] for some in found[1:]), atol=1e-5)
    for one in (detection for detections in found for detection in detections):
        assert 0 <= one.box[0] < one.box[2] <= size[1]
        assert 0 <= one.box[1] < one.box[3] <= size[0]


def test_scores_that_are_no_numbers_are_refused(base: Path) -> None:
    detector = detector_in(base)
    detector._network = copy.deepcopy(detector._network)
    with torch.no_grad():
        detector._network.model.text_projection.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"grounding-dino-tiny gives values that are not numbers in torch\.float32"):
        detector.detect([[picture(0)]], [["dog"]])


def test_a_vocabulary_with_the_delimiters_elsewhere_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grounding-dino-tiny"
    save_tiny_grounding_dino(folder)
    places = {token: place for place, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a"])}
    BertTokenizer(vocab=places).save_pretrained(folder)
    list_weights(tmp_path)
    with pytest.raises(WeightsError, match=r"has '\[CLS\]' not at 101"):
        detector_in(tmp_path)


def test_the_files_are_those_that_the_list_of_weights_names(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "grounding-dino-tiny", tmp_path / "grounding-dino-tiny")
    assert WeightsList(tmp_path).missing("grounding-dino-tiny") == []
    written = {path.name for path in (base / "grounding-dino-tiny").iterdir()}
    assert written <= set(WeightsList(tmp_path).entry("grounding-dino-tiny").files)


def test_the_weight_stands_in_the_info(base: Path) -> None:
    info = detector_in(base).info
    assert info.name == "grounding-dino-tiny"
    assert info.revision.startswith("tiny-")
