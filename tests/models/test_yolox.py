"""YOLOX as tagger and detector: a tiny random one for how it works, the real one for what it finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip("onnxruntime", reason="the extra `lite` is not installed")

from tiny_models.yolox import save_tiny_yolox, tiny_yolox

from manifests.masks import iou as mask_iou
from models.boxes import area, iou
from models.coco import COCO_NAMES
from models.grabcut import GrabCutSegmenter, GrabCutSettings
from models.placement import Placement
from models.protocols import Image
from models.weights import Weights, WeightsError
from models.yolox import Yolox, YoloxSettings

SEQUENCES = {
    "blackswan": "bird",
    "camel": "horse",
    "car-shadow": "car",
    "dog": "dog",
    "horsejump-high": "horse",
    "libby": "dog",
}
"""COCO has no camel; the jockey's name would do for horsejump-high as well."""
CPU = Placement("cpu", "float32")
Make = Callable[..., Yolox]


def weights_at(path: Path) -> Weights:
    return Weights("yolox-nano", "0.1.1", {"yolox_nano.onnx": path})


@pytest.fixture(scope="module")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("yolox")
    save_tiny_yolox(folder)
    return lambda **given: Yolox(YoloxSettings(**given), weights_at(folder / "yolox_nano.onnx"), CPU)


@pytest.fixture(scope="module")
def make_real(shared_data: Path) -> Make:
    path = shared_data / "weights" / "yolox_nano.onnx"
    if not path.is_file():
        pytest.skip("the real yolox_nano.onnx is not in ../shared/data/weights")
    return lambda **given: Yolox(YoloxSettings(**given), weights_at(path), CPU)


def davis_frames(shared_data: Path, sequence: str, count: int = 11) -> list[Image]:
    files = sorted((shared_data / "davis" / "JPEGImages" / sequence).glob("*.jpg"))[:count]
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]


def clip_frames(path: Path, count: int = 11) -> list[Image]:
    video = cv2.VideoCapture(str(path))
    return [cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in range(count)]


def sliding_patch(count: int = 6, seed: int = 1) -> list[Image]:
    """A patch of noise crossing a smooth ground."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 190, (6, 9, 3), np.uint8), (160, 100), interpolation=cv2.INTER_CUBIC)
    patch = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (36, 36), interpolation=cv2.INTER_NEAREST)
    frames = []
    for index in range(count):
        frame = ground.copy()
        frame[32:68, 50 + 3 * index : 86 + 3 * index] = patch
        frames.append(frame)
    return frames


# --- how it works ---


def test_what_it_finds_depends_on_the_picture(make_tiny: Make) -> None:
    yolox = make_tiny()
    clips = [sliding_patch(seed=seed) for seed in range(4)]
    found = [[(thing.name, thing.box) for thing in yolox.find(frames[0])] for frames in clips]
    assert len({str(things) for things in found}) == 4
    assert any(found)
    assert yolox.find(clips[0][0]) != []
    assert [(thing.name, thing.box) for thing in yolox.find(clips[0][0])] == found[0]


def test_tags_are_what_is_detected(make_tiny: Make) -> None:
    yolox = make_tiny(fallback=False)
    clips = [sliding_patch(seed=seed) for seed in range(2)]
    for frames in clips:
        each = yolox.tag([frames])[0]
        assert each.entities
        names = [tag.name for tag in each.entities]
        detections = yolox.detect([frames], [names])[0]
        assert {detection.tag for detection in detections} == set(names)
        assert len(detections) <= 3
        for tag in each.entities:
            assert tag.score == max(found.score for found in detections if found.tag == tag.name)
            assert 0 < tag.score <= 1
        for found in detections:
            assert 0 <= found.box[0] < found.box[2] <= 160
            assert 0 <= found.box[1] < found.box[3] <= 100
            assert found.seed is None or found.seed.shape == (100, 160)
        assert yolox.detect([frames], [[]])[0] == []


def test_several_clips_are_each_as_alone(make_tiny: Make) -> None:
    yolox = make_tiny()
    clips = [sliding_patch(seed=seed) for seed in range(2)]
    together = yolox.detect(clips, [COCO_NAMES, COCO_NAMES])
    assert together[0] != together[1]
    alone = [yolox.detect([frames], [COCO_NAMES])[0] for frames in clips]
    assert alone == together
    for one, same in zip(alone[0], together[0], strict=True):
        assert (one.seed is None) == (same.seed is None)
        assert one.seed is None or np.array_equal(one.seed, same.seed)


def test_settings_of_another_network_are_not_answered_from_the_latest_scene(make_tiny: Make) -> None:
    frames = sliding_patch()
    many = make_tiny(max_entities=20, ranking={"min_rank": 0}).tag([frames])[0].entities
    one = make_tiny(max_entities=1, ranking={"min_rank": 0}).tag([frames])[0].entities
    assert len(many) > len(one) == 1


def test_ignored_names_are_passed_over(make_tiny: Make) -> None:
    frames = sliding_patch()
    names = [tag.name for tag in make_tiny(max_entities=20).tag([frames])[0].entities]
    left = [tag.name for tag in make_tiny(max_entities=20, ignored=(names[0],)).tag([frames])[0].entities]
    assert names[0] not in left
    with pytest.raises(ValidationError, match="COCO has no name 'sofa'"):
        YoloxSettings(ignored=("sofa",))


def test_a_nameless_thing_is_an_object_where_nothing_has_a_name(make_tiny: Make) -> None:
    frames = sliding_patch()
    yolox = make_tiny(ignored=COCO_NAMES)
    assert [tag.name for tag in yolox.tag([frames])[0].entities] == ["object"]
    found, *_ = yolox.detect([frames], [["object"]])[0]
    assert iou(found.box, (50, 32, 86, 68)) > 0.3
    alone = make_tiny(ignored=COCO_NAMES, fallback=False)
    assert alone.tag([frames])[0].entities == []


def test_the_background_keeps_away_from_named_boxes(make_tiny: Make) -> None:
    frames, narrow = sliding_patch(), {"background": {"gap": 4, "min_width": 5, "min_area": 0.01}}
    (all_free,) = make_tiny(ignored=COCO_NAMES, discovery=narrow).detect([frames], [["background"]])[0]
    alone = {"following": {"frames": []}, "discovery": narrow, "background_gap": 0}
    sizes: dict[str, float] = {}
    for thing in make_tiny(**alone).find(frames[0]):
        sizes[thing.name] = sizes.get(thing.name, 0.0) + area(thing.box)
    smallest = min(sizes, key=lambda name: sizes[name])
    yolox = make_tiny(ignored=[name for name in COCO_NAMES if name != smallest], **alone)
    entities = yolox.detect([frames], [[smallest]])[0]
    (region,) = yolox.detect([frames], [["background"]])[0]
    assert entities
    assert region.seed is not None
    assert not region.refine
    assert region.score == pytest.approx(region.seed.mean())
    assert 0 < region.score < all_free.score
    for entity in entities:
        x0, y0, x1, y1 = (round(edge) for edge in entity.box)
        assert not region.seed[y0:y1, x0:x1].any()


def test_frames_must_be_there_and_of_one_size(make_tiny: Make) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        make_tiny().tag([[]])
    with pytest.raises(ValueError, match="different sizes"):
        make_tiny().tag([[np.zeros((64, 96, 3), np.uint8), np.zeros((96, 64, 3), np.uint8)]])


def test_it_says_which_weights_it_has(make_tiny: Make) -> None:
    assert (make_tiny().info.name, make_tiny().info.revision) == ("yolox-nano", "0.1.1")


@pytest.mark.parametrize("fault", ["truncated", "text", "empty", "other names"])
def test_a_wrong_file_is_one_sentence(fault: str, tmp_path: Path) -> None:
    good = tiny_yolox()
    content = {"truncated": good[: len(good) // 2], "text": b"no network", "empty": b"", "other names": tiny_yolox(25)}
    path = tmp_path / "yolox_nano.onnx"
    path.write_bytes(content[fault])
    with pytest.raises(WeightsError) as caught:
        Yolox(YoloxSettings(), weights_at(path), CPU)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert ("no YOLOX of COCO's names" if fault == "other names" else "cannot be read") in text


def test_without_a_gpu_in_onnx_runtime_cuda_means_the_cpu(make_tiny: Make, tmp_path: Path) -> None:
    save_tiny_yolox(tmp_path)
    on_cuda = Yolox(YoloxSettings(), weights_at(tmp_path / "yolox_nano.onnx"), Placement("cuda:1", "bfloat16"))
    (frame,) = sliding_patch(1)
    here, there = make_tiny().find(frame), on_cuda.find(frame)
    assert [thing.box for thing in there] == [thing.box for thing in here] != []
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(here, there, strict=True))


# --- what the real one finds ---


def test_the_main_thing_of_real_clips_has_its_name(make_real: Make, shared_data: Path) -> None:
    yolox, segmenter = make_real(), GrabCutSegmenter(GrabCutSettings())
    names, boxes, masks = {}, [], []
    for sequence in SEQUENCES:
        frames = davis_frames(shared_data, sequence)
        annotation = shared_data / "davis" / "Annotations" / sequence / "00000.png"
        truth = cv2.imread(str(annotation), cv2.IMREAD_GRAYSCALE) > 127
        rows, columns = np.nonzero(truth)
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        tags = yolox.tag([frames])[0]
        best, *_ = yolox.detect([frames], [[tag.name for tag in tags.entities]])[0]
        names[sequence] = best.tag
        boxes.append(iou(best.box, box))
        masks.append(mask_iou(segmenter.segment(frames[0], [best])[0], truth))
        (background,) = yolox.detect([frames], [["background"]])[0]
        assert background.seed is not None
        assert not (background.seed & truth).any()
        print(f"{sequence:15s} {best.tag:8s} {best.score:.2f}  box IoU {boxes[-1]:.2f}  mask IoU {masks[-1]:.2f}")
    recall = float(np.mean([value >= 0.5 for value in boxes]))
    print(f"box recall {recall:.2f} (of 20: .85), first-mask IoU {np.mean(masks):.2f} (of 20: .64)")
    assert names["blackswan"] == "bird"
    right = {sequence for sequence, name in SEQUENCES.items() if names[sequence] == name}
    assert len(right & {"dog", "car-shadow", "horsejump-high"}) >= 2
    assert recall >= 0.85
    assert float(np.mean(masks)) > 0.7


def test_the_things_of_real_clips_have_their_names(make_real: Make, shared_data: Path) -> None:
    yolox = make_real()
    found = {}
    for path in sorted((shared_data / "clips").glob("*.mp4")):
        found[path.stem] = [tag.name for tag in yolox.tag([clip_frames(path)])[0].entities]
        print(path.stem, found[path.stem])
    assert {"person", "dog"} <= set(found["01_dog"])
    assert found["05_default_juggle"][0] == "person"
    assert found["bedroom"][0] == "person"
    assert "bed" not in found["bedroom"]


def test_an_image_goes_by_its_scores(make_real: Make, shared_data: Path) -> None:
    yolox = make_real()
    (frame,) = davis_frames(shared_data, "horsejump-high", 1)
    tags = yolox.tag([[frame]])[0]
    assert tags.entities[0].name == "horse"
    detections = yolox.detect([[frame]], [[tag.name for tag in tags.entities]])[0]
    scores = [detection.score for detection in detections]
    assert scores == sorted(scores, reverse=True)
    assert all(detection.seed is None for detection in detections)
    # The jockey is part of the horse's box.
    assert detections[0].box[1] < 120


def test_more_frames_make_the_name_surer(make_real: Make, shared_data: Path) -> None:
    frames = davis_frames(shared_data, "dog")
    assert make_real(following={"frames": []}).tag([frames])[0].entities[0].name != "dog"
    assert make_real().tag([frames])[0].entities[0].name == "dog"
