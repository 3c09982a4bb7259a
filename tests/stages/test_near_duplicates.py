from __future__ import annotations

from dataclasses import fields, replace
from itertools import count

import cv2
import numpy as np
import pytest

from manifests.records import ClipRow, FoundRow
from stages import near_duplicates
from stages.clip_builder import difference_hash
from stages.near_duplicates import NearDuplicate, NearDuplicateSettings, find_near_duplicates

SETTINGS = NearDuplicateSettings()
HASH = 0x0F1E2D3C4B5A6978
NUMBERS = count()


def video(keyframe_hash=HASH, **changes):
    """A 10 s video of a source of its own."""
    name = f"{next(NUMBERS):016x}"
    row = FoundRow(
        clip_id=name,
        source_id=f"source of {name}",
        group="",
        start_us=0,
        end_us=10_000_000,
        kind="video",
        origin="source",
        width=1280,
        height=720,
        fps=25.0,
        num_frames=250,
        caption=None,
        licence=None,
        keyframe_hash=f"{keyframe_hash:016x}",
        mean_luma=120.0,
        frame_difference=3.0,
        member="",
        offset=0,
        size=0,
    )
    return replace(row, **changes)


def image(keyframe_hash=HASH, **changes):
    still = {"kind": "image", "end_us": 0, "fps": None, "num_frames": 1, "frame_difference": 0.0}
    return video(keyframe_hash, **(still | changes))


def laid_out(row, part=0):
    values = {field.name: getattr(row, field.name) for field in fields(FoundRow)}
    for name in ("member", "offset", "size"):
        del values[name]
    return ClipRow(**values, part=part, position=0, split="train", ingest_part=0)


def flipped(bits, keyframe_hash=HASH):
    """The hash with as many of its bits turned, spread over it."""
    places = np.random.default_rng(bits).permutation(64)[:bits]
    return keyframe_hash ^ sum(1 << int(place) for place in places)


def copies(new, before=(), settings=SETTINGS):
    """{copy: (original, distance)}"""
    found = find_near_duplicates(before, new, settings)
    return {copy.row.clip_id: (copy.kept_clip_id, copy.distance) for copy in found}


def test_a_copy_in_another_source_is_found_with_its_distance():
    first, second, other = video(), video(flipped(5)), video(flipped(30))
    assert find_near_duplicates([], [first, other, second], SETTINGS) == [NearDuplicate(second, first.clip_id, 5, 8)]
    assert copies([second, other, first]) == {first.clip_id: (second.clip_id, 5)}
    assert find_near_duplicates([], [first, second], SETTINGS)[0].message == (
        f"It repeats clip {first.clip_id} of another file (5 of 64 bits differ)."
    )


def test_clips_of_one_source_are_never_copies():
    first = video()
    assert not copies([first, video(source_id=first.source_id)])


@pytest.mark.parametrize(("bits", "is_copy"), [(0, True), (8, True), (9, False)])
def test_distance_decides(bits, is_copy):
    assert bool(copies([video(), video(flipped(bits))])) == is_copy


@pytest.mark.parametrize(
    ("changes", "is_copy"),
    [
        ({"end_us": 10_200_000}, True),
        ({"end_us": 9_000_000}, False),
        ({"start_us": 3_000_000, "end_us": 13_000_000}, True),
        ({"mean_luma": 150.0}, True),
        ({"mean_luma": 60.0}, False),
        ({"frame_difference": 1.8}, True),
        ({"frame_difference": 0.5}, False),
        ({"frame_difference": 9.0}, False),
        ({"width": 640, "height": 360}, True),
        ({"width": 720, "height": 1280}, False),
        ({"fps": 30.0, "num_frames": 300}, True),
    ],
)
def test_videos_must_agree_in_length_brightness_motion_and_shape(changes, is_copy):
    assert bool(copies([video(), video(**changes)])) == is_copy


def test_quiet_clips_may_lose_their_grain():
    assert copies([video(frame_difference=0.6), video(frame_difference=0.1)])


def test_an_image_repeats_images_and_first_frames_but_no_video_repeats_an_image():
    original = video(mean_luma=20.0)
    still, again = image(flipped(2)), image(flipped(3))
    assert copies([original, still]) == {still.clip_id: (original.clip_id, 2)}
    assert copies([still, again]) == {again.clip_id: (still.clip_id, bits_between(still, again))}
    assert not copies([still, original])
    lenient = NearDuplicateSettings(max_duration_difference=100, max_luma_difference=255, motion_slack=255)
    assert not copies([still, original], settings=lenient)
    assert not copies([original, image(width=700)])
    assert not copies([image(mean_luma=200.0), image(mean_luma=50.0)])


@pytest.mark.parametrize(("bits", "is_copy"), [(6, True), (7, False)])
def test_an_image_must_be_nearer(bits, is_copy):
    found = find_near_duplicates([], [video(), image(flipped(bits))], SETTINGS)
    assert [copy.threshold for copy in found] == ([6] if is_copy else [])


def test_clips_already_laid_out_stay_and_are_repeated():
    old, old_copy = laid_out(video()), laid_out(video(flipped(1)))
    new = video(flipped(1))
    assert copies([new], before=[old, old_copy]) == {new.clip_id: (old_copy.clip_id, 0)}


def test_only_kept_clips_are_repeated():
    """Of a chain in which each is near to the next, those too far from the first stay."""
    first = video(0x00FF00FF00FF00FF)
    second = video(0x00FF00FF00FF00FF ^ 0x3F)
    third = video(0x00FF00FF00FF00FF ^ 0xFFF)
    assert copies([first, second, third]) == {second.clip_id: (first.clip_id, 6)}
    assert copies([second, first, third]) == {
        first.clip_id: (second.clip_id, 6),
        third.clip_id: (second.clip_id, 6),
    }


def test_empty_pictures_match_nothing():
    assert not copies([video(0), video(0)])
    assert not copies([video(0x7F), video(0x7F)])
    assert copies([video(0xFF), video(0xFF)])
    assert not copies([video((1 << 64) - 1), video((1 << 64) - 1)])


def test_it_can_be_turned_off():
    assert not copies([video(), video()], settings=NearDuplicateSettings(enabled=False))
    assert not copies([])


def compared_with_all(before, new, radius):
    """What `copies` says, in the plainest way."""
    kept, expected = list(before), {}
    for row in new:
        near = [
            (bits, place, other.clip_id)
            for place, other in enumerate(kept)
            if other.source_id != row.source_id and (bits := bits_between(row, other)) <= radius
        ]
        if near:
            bits, _, original = min(near)
            expected[row.clip_id] = (original, bits)
        else:
            kept.append(row)
    return expected


def bits_between(row, other):
    return (int(row.keyframe_hash, 16) ^ int(other.keyframe_hash, 16)).bit_count()


@pytest.mark.parametrize("num_before", [0, 100])
@pytest.mark.parametrize("radius", [0, 2, 3, 5, 8, 11])
def test_no_pair_within_the_distance_is_missed(radius, num_before, monkeypatch):
    """In small blocks and chunks, so that clips meet across them."""
    monkeypatch.setattr(near_duplicates, "_BLOCK", 100)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 64)
    rng = np.random.default_rng(radius)
    centres = [int(rng.integers(1 << 62)) | 0xFFFF for _ in range(12)]
    hashes = [flip(centres[number % 12], int(rng.integers(0, 8)), rng) for number in range(240)]
    rows = [video(keyframe_hash, source_id=f"s{number % 70}") for number, keyframe_hash in enumerate(hashes)]
    before, new = [laid_out(row) for row in rows[:num_before]], rows[num_before:]
    expected = compared_with_all(before, new, radius)
    assert len(expected) >= (5 if radius else 1)
    assert copies(new, before, NearDuplicateSettings(max_distance=radius, min_set_bits=0)) == expected


def flip(keyframe_hash, bits, rng):
    return keyframe_hash ^ sum(1 << int(place) for place in rng.permutation(64)[:bits])


def scene(seed):
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, 2 * n), np.float32), (640, 360), interpolation=3) for n in (3, 8, 24)]
    return (30 + 190 * np.clip(sum(layers) / 3, 0, 1)).astype(np.uint8)


def compressed(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def marked(picture):
    picture = picture.copy()
    cv2.putText(picture, "SAMPLE", (460, 340), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 3)
    return picture


CHANGES = {
    "compressed": lambda picture: compressed(picture, 12),
    "half size": lambda picture: cv2.resize(picture, (320, 180), interpolation=cv2.INTER_AREA),
    "brighter": lambda picture: cv2.add(picture, 25),
    "darker": lambda picture: cv2.subtract(picture, 25),
    "cropped": lambda picture: np.ascontiguousarray(picture[5:-5, 10:-10]),
    "watermark": marked,
}


@pytest.mark.parametrize("name", CHANGES)
def test_hashes_of_changed_pictures_stay_near(name):
    distances = [distance(scene(seed), CHANGES[name](scene(seed))) for seed in range(40)]
    assert np.mean(np.array(distances) <= SETTINGS.max_distance) >= 0.95
    assert np.median(distances) <= 4


def test_hashes_of_different_pictures_are_far():
    hashes = [int(difference_hash(scene(seed)), 16) for seed in range(120)]
    distances = [(one ^ other).bit_count() for number, one in enumerate(hashes) for other in hashes[:number]]
    assert min(distances) > SETTINGS.max_distance
    assert 28 < np.mean(distances) < 36


def distance(one, other):
    return (int(difference_hash(one), 16) ^ int(difference_hash(other), 16)).bit_count()
