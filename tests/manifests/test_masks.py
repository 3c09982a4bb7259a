"""Mask tracks: exact round trips, equal bytes for equal masks, and no trust in bytes from outside."""

from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manifests import masks as masks_module
from manifests.masks import MAX_SIDE, MaskTrack, iou, mean_iou

mask_stacks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=17))


def packed(document: object) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def coco_string(*counts: int) -> str:
    """The COCO string of run lengths, written without the encoder under test."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + (group | 32 if more else group))
    return text


@settings(max_examples=50)
@given(mask_stacks)
def test_a_track_gives_back_its_masks_through_bytes(stack):
    track = MaskTrack.from_masks(stack)
    again = MaskTrack.from_bytes(track.to_bytes())
    assert again == track
    assert np.array_equal(np.stack(list(again.masks())), stack)
    assert all(mask.dtype == np.bool_ and mask.flags.c_contiguous for mask in again.masks())
    assert (track.size, len(track)) == (stack.shape[1:], len(stack))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 5), (479, 853), (2, 5000)])
@pytest.mark.parametrize("value", [False, True])
def test_full_and_empty_masks_of_odd_sizes(size: tuple[int, int], value: bool):
    mask = np.full(size, value)
    track = MaskTrack.from_bytes(MaskTrack.from_masks([mask]).to_bytes())
    assert np.array_equal(track.mask(0), mask)
    assert track.areas().tolist() == [mask.sum()]
    assert track.boxes().tolist() == [[0, 0, size[1], size[0]] if value else [0, 0, 0, 0]]


def test_a_large_mask_of_noise_comes_back_exactly():
    mask = np.random.default_rng(0).random((719, 1281)) < 0.3
    assert np.array_equal(MaskTrack.from_bytes(MaskTrack.from_masks([mask]).to_bytes()).mask(0), mask)


@settings(max_examples=50)
@given(mask_stacks)
def test_areas_and_boxes_are_those_of_the_pixels(stack):
    track = MaskTrack.from_masks(stack)
    assert track.areas().tolist() == stack.sum(axis=(1, 2)).tolist()
    for mask, box in zip(stack, track.boxes().tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
        assert box == tight


@settings(max_examples=50)
@given(mask_stacks)
def test_equal_masks_give_equal_bytes_however_they_lie_in_memory(stack):
    data = MaskTrack.from_masks(stack).to_bytes()
    strided = np.repeat(stack, 2, axis=2)[:, :, ::2]
    assert MaskTrack.from_masks([np.asfortranarray(mask) for mask in stack]).to_bytes() == data
    assert MaskTrack.from_masks(strided).to_bytes() == data
    assert MaskTrack.from_masks(mask.astype(np.uint8) for mask in stack).to_bytes() == data


def test_the_document_is_plain_coco_without_a_time_stamp():
    mask = np.zeros((3, 4), np.bool_)
    mask[1, 1:3] = True
    data = MaskTrack.from_masks([mask, ~mask]).to_bytes()
    assert data[4:8] == b"\0\0\0\0"
    assert gzip.decompress(data) == b'{"size":[3,4],"counts":["41202","041N02"]}'
    assert coco_string(0, 4, 1, 2, 1, 4) == "041N02"


def test_an_empty_track_and_a_selection_of_frames():
    track = MaskTrack.empty((5, 7), 3)
    assert track == MaskTrack.from_masks(np.zeros((3, 5, 7), np.bool_))
    stack = np.eye(4, 9, dtype=np.bool_)[None] & (np.arange(4)[:, None, None] > 0)
    taken = MaskTrack.from_masks(stack).take([3, 0, 0])
    assert np.array_equal(np.stack(list(taken.masks())), stack[[3, 0, 0]])


def test_masks_that_make_no_track_are_refused():
    with pytest.raises(ValueError, match="at least one mask"):
        MaskTrack.from_masks([])
    with pytest.raises(ValueError, match=r"\(3, 4\) in a track of \(4, 3\)"):
        MaskTrack.from_masks([np.zeros((4, 3), np.bool_), np.zeros((3, 4), np.bool_)])
    with pytest.raises(ValueError, match=r"\(0, 5\) has no pixels"):
        MaskTrack.from_masks([np.zeros((0, 5), np.bool_)])


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^not a mask track: ") as caught:
        MaskTrack.from_bytes(data)
    text = str(caught.value)
    assert type(caught.value) is ValueError
    assert "\n" not in text
    assert len(text) < 250
    return text


GOOD = MaskTrack.from_masks([np.eye(4, dtype=np.bool_)]).to_bytes()
FULL = coco_string(0, 16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip at all",
        GOOD[:-9],
        GOOD[:5],
        GOOD + b"more",
        GOOD[:12] + b"\xff\xff" + GOOD[14:],
        GOOD[:-6] + b"\0\0" + GOOD[-4:],
        gzip.compress(b"no json"),
        gzip.compress(b"\xff\xfe\xfd"),
        gzip.compress(b"[" * 100_000),
        packed([]),
        packed("size"),
        packed({}),
        packed({"size": [4, 4]}),
        packed({"counts": [FULL]}),
        packed({"size": [4, 4], "counts": []}),
        packed({"size": [4, 4], "counts": FULL}),
        packed({"size": [4, 4], "counts": {FULL: 1}}),
        packed({"size": [4, 4], "counts": [[0, 16]]}),
        packed({"size": [4, 4], "counts": [None]}),
    ],
)
def test_bytes_that_are_no_document_are_refused_in_one_sentence(data: bytes):
    refusal(data)


@pytest.mark.parametrize(
    "size",
    [
        [4],
        [4, 4, 1],
        "44",
        {"4": 4, "5": 5},
        ["4", "4"],
        [4.0, 4.0],
        [True, True],
        [float("inf"), 4],
        [None, 4],
        [0, 0],
        [-4, -4],
        [10**6, 10**6],
        [2**32, 2**32],
        [MAX_SIDE + 1, 1],
        [[1] * 10_000, 4],
    ],
)
def test_a_senseless_size_is_refused(size: object):
    assert "its size" in refusal(packed({"size": size, "counts": [FULL]}))


@pytest.mark.parametrize(
    "counts",
    [
        "",
        coco_string(0, 3),  # stops short: the decoder would leave the rest of the mask undefined
        coco_string(0, 17),
        coco_string(0, 10**6),
        coco_string(5, -3, 14),  # a negative run, the right sum
        coco_string(0, 2**32 - 1, 17),  # 16 modulo 2³²
        coco_string(2**32 + 16),
        "P",  # says that another group follows
        "o" * 100 + "0",
        "`" + "P" * 7 + "0",  # 16 in nine groups: the decoder would shift by more bits than it has
        "o" * 11 + "0",
        "\x01\x02 zz",
        FULL + "\0",
        "é",
        "~" + FULL,
    ],
)
def test_counts_that_do_not_fill_the_frame_are_refused(counts: str):
    good = coco_string(0, 16)
    assert "frame 1 do not fill 4 × 4 pixels" in refusal(packed({"size": [4, 4], "counts": [good, counts]}))


def test_a_document_that_unzips_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(masks_module, "MAX_DOCUMENT_BYTES", 10_000)
    refusal(gzip.compress(b" " * 10_001 + gzip.decompress(GOOD)))
    assert len(MaskTrack.from_bytes(GOOD)) == 1


def test_the_largest_size_that_is_read():
    track = MaskTrack.from_bytes(packed({"size": [MAX_SIDE, MAX_SIDE], "counts": [coco_string(0, MAX_SIDE**2)]}))
    assert track.areas().tolist() == [MAX_SIDE**2]


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_no_bytes_do_harm(data: bytes):
    for tried in (data, gzip.compress(data)):
        with pytest.raises(ValueError, match=r"^not a mask track: "):
            MaskTrack.from_bytes(tried)


@settings(max_examples=120)
@given(mask_stacks, st.data())
def test_counts_that_are_accepted_decode_to_a_whole_mask(stack, data):
    """Damage one place of a good document: it is refused, or every pixel of the mask it now says is defined."""
    good = MaskTrack.from_masks(stack[:1])
    code = good.counts[0]
    place = data.draw(st.integers(0, len(code) - 1))
    letter = data.draw(st.sampled_from([chr(number) for number in range(48, 112)] + ["", "00", "1O"]))
    damaged = code[:place] + letter + code[place + 1 :]
    try:
        track = MaskTrack.from_bytes(packed({"size": list(good.size), "counts": [damaged]}))
    except ValueError:
        assert damaged != code
        return
    area = int(track.areas()[0])
    assert [int(track.mask(0).sum()) for _ in range(3)] == [area] * 3
    assert MaskTrack.from_masks(track.masks()).areas().tolist() == [area]


@settings(max_examples=50)
@given(mask_stacks)
def test_the_codec_follows_the_published_rule(stack):
    """Runs down the columns, starting with a run of zeros; see the COCO API."""
    flat = np.asfortranarray(stack[0]).ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [2]))))
    runs = np.diff(np.concatenate(([0], edges)))
    assert MaskTrack.from_masks(stack[:1]).counts[0] == coco_string(*runs.tolist())


def test_a_damaged_stream_never_gives_other_masks():
    for place in range(10, len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[place] ^= 0x10
        try:
            assert MaskTrack.from_bytes(bytes(damaged)) == MaskTrack.from_bytes(GOOD)
        except ValueError:
            continue
    assert zlib.decompress(GOOD, wbits=31).startswith(b'{"size":[4,4]')


def test_iou():
    one, two = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    assert iou(one, two) == 1.0
    one[:2], two[1:3] = True, True
    assert iou(one, two) == pytest.approx(4 / 12)
    assert iou(one, ~one) == 0.0
    tracks = MaskTrack.from_masks([one, one]), MaskTrack.from_masks([two, one])
    assert mean_iou(*tracks) == pytest.approx((4 / 12 + 1) / 2)
    with pytest.raises(ValueError, match=r"2 × \(4, 4\) and 1 × \(4, 4\)"):
        mean_iou(tracks[0], tracks[1].take([0]))
    with pytest.raises(ValueError, match="cannot be compared"):
        mean_iou(tracks[0], MaskTrack.empty((4, 5), 2))


def test_shared_areas_and_unions_are_those_of_the_pixels() -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.random((4, 20, 30)) < share for share in (0.4, 0.2))
    a, b = MaskTrack.from_masks(one), MaskTrack.from_masks(other)
    assert a.shared_areas(b).tolist() == [int((x & y).sum()) for x, y in zip(one, other, strict=True)]
    assert a.union(b) == MaskTrack.from_masks(one | other)
    with pytest.raises(ValueError, match="do not fit together"):
        a.union(MaskTrack.from_masks(other[:3]))
