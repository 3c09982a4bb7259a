"""Entities and free background of clips, images and noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.masks import iou
from models.discovery import DiscoverySettings, MotionDiscovery
from models.grabcut import GrabCutSegmenter, GrabCutSettings

SEQUENCES = ("blackswan", "camel", "car-shadow", "dog", "horsejump-high", "libby")


@pytest.fixture
def discovery() -> MotionDiscovery:
    return MotionDiscovery(DiscoverySettings())


def crossing(height: int, width: int, num_frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A striped disc crossing a mottled ground from left to right, and the disc in the first frame."""
    coarse = np.random.default_rng(7).normal(0, 25, (12, 18, 3)).astype(np.float32)
    ground = np.clip(110 + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    side = min(height, width) // 3
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = rows**2 + columns**2 < (side / 2) ** 2
    stripes = ((rows + columns) // max(2, side // 6)).astype(int) % 2
    paint = np.where(stripes[..., None] == 1, (230, 60, 40), (250, 200, 60)).astype(np.uint8)
    frames = []
    top, step = height // 3, max(1, width // 90)
    for index in range(num_frames):
        frame, left = ground.copy(), width // 3 + step * index
        frame[top : top + side, left : left + side][disc] = paint[disc]
        frames.append(frame)
    mask = np.zeros((height, width), np.bool_)
    mask[top : top + side, width // 3 : width // 3 + side] = disc
    return frames, mask


@pytest.mark.parametrize(("height", "width", "num_frames"), [(720, 1280, 12), (640, 360, 12), (64, 96, 5)])
def test_a_moving_thing_is_the_entity_and_the_rest_background(
    discovery: MotionDiscovery, height: int, width: int, num_frames: int
) -> None:
    frames, disc = crossing(height, width, num_frames)
    (tags,) = discovery.tag([frames])
    assert [tag.name for tag in tags.entities] == ["object"]
    assert [tag.name for tag in tags.background] == ["background"]
    entities = discovery.detect([frames], [["object"]])[0]
    assert entities[0].score == tags.entities[0].score
    assert entities[0].seed is not None
    assert entities[0].seed.shape == (height, width)
    (mask,) = GrabCutSegmenter(GrabCutSettings()).segment(frames[0], entities[:1])
    assert iou(mask, disc) > 0.75
    (background,) = discovery.detect([frames], [["background"]])[0]
    assert not background.refine
    assert background.seed is not None
    assert background.seed.mean() > 0.4
    assert not (background.seed & cv2.dilate(disc.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)).any()


def test_an_image_gets_low_scores(discovery: MotionDiscovery) -> None:
    frames, disc = crossing(360, 640, 12)
    moving = discovery.detect([frames], [["object"]])[0][0]
    still = discovery.detect([frames[:1]], [["object"]])[0][0]
    assert still.seed is not None
    assert iou(still.seed, disc) > 0.5
    assert still.score <= 0.3
    assert still.score < moving.score


def test_tags_choose_what_is_detected(discovery: MotionDiscovery) -> None:
    frames, _ = crossing(240, 426, 4)
    assert {d.tag for d in discovery.detect([frames], [["background", "object"]])[0]} == {"object", "background"}
    assert {d.tag for d in discovery.detect([frames], [["object"]])[0]} == {"object"}
    assert discovery.detect([frames], [["dog"]])[0] == []
    assert discovery.detect([frames], [[]])[0] == []


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("size", [(240, 427), (64, 96)])
def test_noise_and_darkness_hold_nothing(discovery: MotionDiscovery, size: tuple[int, int], changing: bool) -> None:
    rng = np.random.default_rng(11)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2)]
    frames = noise if changing else noise[:1] * 2
    assert discovery.detect([frames], [["object"]])[0] == []
    assert discovery.tag([frames])[0].entities == []
    assert discovery.detect([[np.zeros((*size, 3), np.uint8)] * 2], [["object"]])[0] == []


def test_nothing_to_paste_into_where_all_moves(discovery: MotionDiscovery) -> None:
    settings = DiscoverySettings.model_validate({"background": {"gap": 400}})
    frames, _ = crossing(240, 426, 6)
    assert MotionDiscovery(settings).tag([frames])[0].background == []
    assert MotionDiscovery(settings).detect([frames], [["background"]])[0] == []
    assert discovery.tag([frames])[0].background != []


def test_frames_beyond_the_lookahead_change_nothing(discovery: MotionDiscovery) -> None:
    frames, _ = crossing(240, 426, 14)
    assert discovery.lookahead == 11
    first = discovery.detect([frames], [["object", "background"]])[0]
    again = MotionDiscovery(DiscoverySettings()).detect([frames[:11]], [["object", "background"]])[0]
    assert first == again
    assert all(np.array_equal(a.seed, b.seed) for a, b in zip(first, again, strict=True))


def test_the_kept_scene_is_not_mistaken_for_another_clips(discovery: MotionDiscovery) -> None:
    frames, disc = crossing(240, 426, 6)
    mirrored = [frame[:, ::-1].copy() for frame in frames]
    discovery.detect([frames], [["object"]])
    (seed,) = (d.seed for d in discovery.detect([mirrored], [["object"]])[0][:1])
    assert seed is not None
    assert iou(seed, disc[:, ::-1]) > 0.5 > iou(seed, disc)


def test_frames_must_be_there_and_of_one_size(discovery: MotionDiscovery) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        discovery.tag([[]])
    with pytest.raises(ValueError, match="different sizes"):
        discovery.detect([[np.zeros((64, 96, 3), np.uint8), np.zeros((96, 64, 3), np.uint8)]], [["object"]])


def test_the_main_thing_of_real_clips_is_found(discovery: MotionDiscovery, shared_data: Path) -> None:
    segmenter = GrabCutSegmenter(GrabCutSettings())
    found = []
    for sequence in SEQUENCES:
        files = sorted((shared_data / "davis" / "JPEGImages" / sequence).glob("*.jpg"))[: discovery.lookahead]
        frames = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
        annotation = shared_data / "davis" / "Annotations" / sequence / "00000.png"
        thing = cv2.imread(str(annotation), cv2.IMREAD_GRAYSCALE) > 127
        detections = discovery.detect([frames], [["object"]])[0]
        assert len(detections) <= 3
        found.append(iou(segmenter.segment(frames[0], detections[:1])[0], thing))
        (background,) = discovery.detect([frames], [["background"]])[0]
        assert background.seed is not None
        assert np.count_nonzero(background.seed & thing) < 0.03 * np.count_nonzero(thing)
    assert sum(value >= 0.5 for value in found) >= 5
    assert float(np.mean(found)) > 0.68


def test_what_stands_still_is_found_beside_what_moves(discovery: MotionDiscovery) -> None:
    frames, disc = crossing(360, 640, 12)
    for frame in frames:
        cv2.rectangle(frame, (490, 120), (600, 240), (30, 30, 250), -1)
    moving, *still = discovery.detect([frames], [["object"]])[0]
    box = np.zeros(frames[0].shape[:2], np.bool_)
    box[120:241, 490:601] = True
    assert moving.seed is not None
    assert iou(moving.seed, disc) > 0.4
    assert max(iou(other.seed, box) for other in still if other.seed is not None) > 0.5
    assert all(other.score < moving.score for other in still)
