from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media_files import moving_frames, write_video

from stages.upright import Orientation, Uprighter, believable_pixel_aspect, orientation_of, upright_size

PLAIN = Orientation()
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
BARS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200)]


def bars(height=96):
    return np.ascontiguousarray(np.repeat(np.repeat(np.array([BARS], np.uint8), 20, 1), height, 0))


def yuv_picture(rgb, matrix, full_range=False, bits=8, tag=None):
    """A 4:2:0 picture computed with the matrix's own coefficients, tagged with it or with `tag`."""
    red, blue = MATRICES[matrix]
    unit = rgb / 255
    luma = unit @ np.array([red, 1 - red - blue, blue])
    chroma = [(unit[..., 2] - luma) / (2 - 2 * blue), (unit[..., 0] - luma) / (2 - 2 * red)]
    top, step = 2**bits - 1, 2 ** (bits - 8)
    planes = [luma * top if full_range else (16 + 219 * luma) * step]
    planes += [plane[::2, ::2] * (top if full_range else 224 * step) + 128 * step for plane in chroma]
    flat = np.concatenate([plane.round().clip(0, top).ravel() for plane in planes]).reshape(-1, rgb.shape[1])
    kind, name = (np.uint8, "yuv420p") if bits == 8 else (np.uint16, "yuv420p10le")
    picture = av.VideoFrame.from_ndarray(flat.astype(kind), format=name)
    picture.colorspace = matrix if tag is None else tag
    picture.color_range = 2 if full_range else 1
    return picture


def rgb_of(picture):
    return picture.to_ndarray(format="rgb24")


def bar_colours(picture):
    image = rgb_of(picture)
    return image[image.shape[0] // 2, image.shape[1] // 12 :: image.shape[1] // 6][:6].astype(int)


def upright(picture, short_side=720, orientation=PLAIN, aspect=Fraction(1)):
    return Uprighter(orientation, aspect, short_side)(picture)


@pytest.mark.parametrize("short_side", [720, 48])
@pytest.mark.parametrize(
    "options",
    [
        {"matrix": 1},
        {"matrix": 5},
        {"matrix": 6},
        {"matrix": 9, "bits": 10},
        {"matrix": 1, "full_range": True},
        {"matrix": 6, "tag": 2},
        {"matrix": 6, "tag": 3},
    ],
    ids=str,
)
def test_colours_of_every_matrix_arrive(options, short_side):
    result = upright(yuv_picture(bars(), **options), short_side)
    assert (result.format.name, result.colorspace, result.color_range) == ("yuv420p", 1, 1)
    assert np.abs(bar_colours(result) - BARS).max() <= 6


def test_untagged_high_definition_is_bt709():
    result = upright(yuv_picture(bars(720), 1, tag=2), 96)
    assert np.abs(bar_colours(result) - BARS).max() <= 6


@pytest.mark.parametrize("name", ["rgb24", "rgba", "gbrp", "yuv444p", "yuva420p", "rgb48le"])
def test_pixel_formats_arrive(name):
    picture = av.VideoFrame.from_ndarray(bars(), format="rgb24").reformat(format=name)
    assert np.abs(bar_colours(upright(picture)) - BARS).max() <= 6


@pytest.mark.parametrize("name", ["gray", "gray10le"])
def test_grey_stays_grey(name):
    source = av.VideoFrame.from_ndarray(bars(), format="rgb24").reformat(format=name)
    result = rgb_of(upright(source)).astype(int)
    assert (result.max(2) - result.min(2)).max() <= 2
    assert result[48, 70].mean() >= 252
    assert result[48, 90].mean() <= 3


@pytest.mark.slow  # swscale computes a table for seconds
def test_hdr_is_brought_down_to_bt709():
    ramp = np.tile(np.linspace(64, 940, 128), (96, 1))
    flat = np.concatenate([ramp.ravel(), np.full(128 * 96 // 2, 512)]).reshape(-1, 128).astype(np.uint16)
    picture = av.VideoFrame.from_ndarray(flat, format="yuv420p10le")
    picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc = 9, 1, 9, 18
    luma = upright(picture).to_ndarray()[:96].mean(0)
    assert luma[0] <= 18
    assert luma[-1] >= 230
    # Hybrid log-gamma keeps half its range for highlights; taken for BT.709 the middle would stay at 125.
    assert luma[64] > 130
    assert (np.diff(luma) > -1).all()


def test_what_is_right_already_is_not_touched():
    picture = yuv_picture(moving_frames(1)[0], 1)
    np.testing.assert_array_equal(upright(picture).to_ndarray(), picture.to_ndarray())


@pytest.mark.parametrize(
    ("size", "short_side", "aspect", "expected"),
    [
        ((128, 96), 96, 1, (128, 96)),
        ((129, 97), 720, 1, (128, 96)),
        ((131, 89), 720, 1, (130, 88)),
        ((333, 251), 96, 1, (126, 96)),
        ((96, 171), 48, 1, (48, 86)),
        ((128, 96), 720, 2, (256, 96)),
        ((128, 96), 48, 2, (128, 48)),
        ((256, 96), 720, Fraction(1, 2), (128, 96)),
        ((90, 96), 720, Fraction(16, 15), (96, 96)),
        ((3, 200), 720, 1, (2, 200)),
    ],
)
def test_sizes(size, short_side, aspect, expected):
    frame = moving_frames(1, width=size[0], height=size[1])[0]
    result = upright(av.VideoFrame.from_ndarray(frame, format="rgb24"), short_side, aspect=Fraction(aspect))
    assert (result.width, result.height) == expected


def test_an_odd_side_is_cropped_not_stretched():
    frame = moving_frames(1, width=129, height=97)[0]
    result = rgb_of(upright(av.VideoFrame.from_ndarray(frame, format="rgb24"))).astype(int)
    stretched = cv2.resize(frame, (128, 96), interpolation=cv2.INTER_AREA)
    far_corner = np.s_[48:, 64:]
    assert np.abs(result - frame[:96, :128])[far_corner].mean() < 5
    assert np.abs(result - stretched)[far_corner].mean() > np.abs(result - frame[:96, :128])[far_corner].mean()


def test_shrinking_averages_areas():
    frame = moving_frames(1, width=320, height=240)[0]
    result = rgb_of(upright(av.VideoFrame.from_ndarray(frame, format="rgb24"), 90)).astype(int)
    assert result.shape == (90, 120, 3)
    assert np.abs(result - cv2.resize(frame, (120, 90), interpolation=cv2.INTER_AREA)).mean() < 5


TURNS = {
    (0, False): lambda image: image,
    (90, False): lambda image: np.rot90(image, -1),
    (180, False): lambda image: np.rot90(image, 2),
    (270, False): lambda image: np.rot90(image, 1),
    (0, True): lambda image: image[:, ::-1],
}


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_display_matrix_is_obeyed(tmp_path, degrees, mirrored):
    image = moving_frames(1)[0]
    path = write_video(tmp_path / "a.mp4", [image] * 2, container="mp4", rotation=degrees, mirrored=mirrored)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    orientation = orientation_of(picture)
    assert orientation.degrees == (degrees if not mirrored else 0)
    turned = TURNS[degrees, mirrored](image)
    result = rgb_of(upright(picture, orientation=orientation)).astype(int)
    assert result.shape == turned.shape
    assert np.abs(result - turned).mean() < 8
    assert np.abs(result - np.rot90(turned, 2)).mean() > 20


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_every_orientation_does_what_it_says(transposed, flip_x, flip_y):
    image = moving_frames(1)[0]
    expected = image.transpose(1, 0, 2) if transposed else image
    expected = expected[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    orientation = Orientation(transposed, flip_x, flip_y)
    result = rgb_of(upright(av.VideoFrame.from_ndarray(image, format="rgb24"), orientation=orientation)).astype(int)
    assert np.abs(result - expected).mean() < 4
    assert upright_size(128, 96, Fraction(1), orientation) == (expected.shape[1], expected.shape[0])


def test_one_uprighter_follows_a_change_of_size():
    turn = Uprighter(PLAIN, Fraction(1), 48)
    for width, height in ((128, 96), (200, 100), (128, 96)):
        frame = moving_frames(1, width=width, height=height)[0]
        result = turn(av.VideoFrame.from_ndarray(frame, format="rgb24"))
        assert result.height == 48
        assert turn.source_size(av.VideoFrame(width, height)) == (width, height)


@pytest.mark.parametrize(
    ("claimed", "believed"), [(None, 1), (Fraction(0), 1), (Fraction(16, 11), Fraction(16, 11)), (Fraction(50), 1)]
)
def test_pixel_aspect_must_be_believable(claimed, believed):
    assert believable_pixel_aspect(claimed) == believed
