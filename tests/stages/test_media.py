from __future__ import annotations

import io
import pickle
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import PIL.Image
import pytest
from filled_memory import outputs_in_filled_memory
from media_files import moving_frames, png_claiming, write_image

from stages.media import ClipWriter, MediaError, MediaSettings, decode_clip, decode_image, encode_image, iter_clip
from stages.range_file import RangeFile

FPS = Fraction(30000, 1001)
SETTINGS = MediaSettings()

ENCODE = """
import sys
from fractions import Fraction
from media_files import moving_frames
from stages.media import ClipWriter, MediaSettings

for height, width in ((64, 96), (144, 240)):
    writer = ClipWriter(width, height, Fraction(10), MediaSettings())
    for frame in moving_frames(20, height=height, width=width):
        writer.add(frame)
    sys.stdout.buffer.write(writer.finish())
"""


def encode(frames, fps=FPS, settings=SETTINGS):
    height, width = frames[0].shape[:2]
    writer = ClipWriter(width, height, fps, settings)
    for frame in frames:
        writer.add(frame)
    return writer.finish()


@pytest.fixture(scope="module")
def frames():
    return moving_frames(40)


@pytest.fixture(scope="module")
def clip(frames):
    return encode(frames)


def boxes(data):
    names, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        names.append(data[position + 4 : position + 8])
        position += size
    return names


def difference(a, b):
    return float(np.mean(np.abs(a.astype(np.int16) - b.astype(np.int16))))


def test_round_trip_keeps_every_frame(frames, clip):
    decoded = decode_clip(clip)
    assert len(decoded) == 40
    for original, back in zip(frames, decoded, strict=True):
        assert back.shape == original.shape
        assert back.dtype == np.uint8
        assert back.flags.c_contiguous
        assert difference(original, back) < 6
    # The frames are distinct, so a shift by one would show.
    assert difference(frames[0], decoded[0]) < difference(frames[1], decoded[0])


def test_same_frames_give_the_same_bytes_and_name_no_version(frames, clip):
    assert encode(frames) == clip
    for word in (b"x264", b"Lavf", b"Lavc", b"libx264"):
        assert word not in clip


def test_bytes_do_not_depend_on_what_lay_in_memory():
    one, other = outputs_in_filled_memory(ENCODE)
    assert one == other


def test_index_comes_before_the_pictures(clip):
    names = boxes(clip)
    assert names.index(b"moov") < names.index(b"mdat")


def test_stream_is_what_the_design_says(clip):
    with av.open(io.BytesIO(clip)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames, stream.start_time) == (FPS, 40, 0)
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 16, 32]
    # Closed groups: nothing after a key frame is shown before it.
    for first in (16, 32):
        assert all(packet.pts > packets[first].pts for packet in packets[first + 1 :])


def test_gop_is_kept_across_a_cut():
    data = encode(moving_frames(20, seed=1) + moving_frames(20, seed=2))
    with av.open(io.BytesIO(data)) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == [0, 16, 32]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200)])
def test_colours_survive(colour):
    data = encode([np.full((64, 64, 3), colour, np.uint8)] * 3)
    assert np.abs(decode_clip(data)[1].astype(int) - colour).max() <= 3


def test_luma_is_limited_range_bt709():
    with av.open(io.BytesIO(encode([np.full((64, 64, 3), (0, 255, 0), np.uint8)] * 2))) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:64]
    # 16 + 219 · 0.7152; BT.601 would give 145.
    assert abs(float(luma.mean()) - 172.6) < 1.5


def test_lower_quality_is_smaller(frames, clip):
    assert len(encode(frames, settings=MediaSettings(crf=35))) < len(clip) / 2


def test_frames_can_be_encoded_without_a_round_trip_through_rgb(clip):
    writer = ClipWriter(128, 96, FPS, SETTINGS)
    with av.open(io.BytesIO(clip)) as container:
        for picture in container.decode(video=0):
            writer.add(picture)
    again = decode_clip(writer.finish())
    assert max(difference(a, b) for a, b in zip(decode_clip(clip), again, strict=True)) < 2.5


@pytest.mark.parametrize("size", [(65, 64), (64, 65), (0, 64)])
def test_writer_refuses_odd_sides(size):
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]}"):
        ClipWriter(*size, FPS, SETTINGS)


def test_writer_refuses_a_frame_of_another_size_and_an_empty_clip():
    writer = ClipWriter(64, 64, FPS, SETTINGS)
    with pytest.raises(ValueError, match="64×48"):
        writer.add(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(MediaError) as error:
        writer.finish()
    assert error.value.reason == "empty"
    with pytest.raises(ValueError, match="frames per second"):
        ClipWriter(64, 64, Fraction(0), SETTINGS)


def test_abandoned_writer_can_be_forgotten(frames):
    writer = ClipWriter(128, 96, FPS, SETTINGS)
    writer.abandon()
    writer = ClipWriter(128, 96, FPS, SETTINGS)
    for frame in frames:
        writer.add(frame)
    writer.abandon()


def test_indices_pick_frames_in_the_order_asked(clip):
    full = decode_clip(clip)
    picked = decode_clip(clip, indices=[33, 0, 7, 7])
    for index, frame in zip([33, 0, 7, 7], picked, strict=True):
        np.testing.assert_array_equal(frame, full[index])
    assert decode_clip(clip, indices=[]) == []


@pytest.mark.parametrize("fps", [Fraction(12), FPS, Fraction(25), Fraction(60)])
def test_a_later_frame_is_found_from_its_key_frame(frames, fps):
    data = encode(frames, fps)
    whole = decode_clip(data)
    for index in range(len(whole)):
        assert np.array_equal(decode_clip(data, indices=[index])[0], whole[index])


def noisy_clip(count, fps=FPS):
    """A clip of many bytes: FFmpeg reads at least 32 kB at a time."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 128 + 8 * count, 3), dtype=np.uint8)
    return encode([noise[:, 8 * n : 8 * n + 128] + rng.integers(0, 40, dtype=np.uint8) for n in range(count)], fps)


def in_parts(data, asked=None):
    """The bytes as a file of small blocks; what is fetched is noted in `asked`, as offsets and sizes."""

    def fetch(offset, size):
        if asked is not None:
            asked.append((offset, size))
        return data[offset : offset + size]

    file = RangeFile(fetch, len(data), block=1000)
    # Else a file this small is fetched whole.
    file.expect(0, 0)
    return file


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(24000, 1001), FPS, Fraction(60)])
def test_every_window_is_the_same_read_in_parts(fps):
    data = noisy_clip(40, fps)
    whole = decode_clip(data)
    for start in range(len(whole) - 8):
        asked = []
        window = decode_clip(in_parts(data, asked), indices=range(start, start + 9))
        assert all(map(np.array_equal, window, whole[start : start + 9]))
        assert len(asked) <= 4
        assert all(offset + size <= following for (offset, size), (following, _) in pairwise(sorted(asked)))
    assert all(map(np.array_equal, decode_clip(in_parts(data)), whole))


def test_a_short_window_takes_few_bytes_in_few_requests():
    data = noisy_clip(160)
    for start in (0, 17, 90, 151):
        asked = []
        decode_clip(in_parts(data, asked), indices=range(start, start + 9))
        # The index, the first frame that FFmpeg looks at, and the window from its key frame on.
        assert len(asked) <= 4
        assert sum(size for _, size in asked) < len(data) / 3


def test_an_image_is_read_in_parts_too(frames):
    data = encode_image(frames[0])
    assert np.array_equal(decode_clip(in_parts(data), indices=[0])[0], decode_clip(data)[0])


@pytest.mark.parametrize(("indices", "number"), [([0, 40], 40), ([-1], -1)])
def test_a_frame_that_is_not_there_is_an_error(clip, indices, number):
    with pytest.raises(MediaError, match=f"Frame {number} ") as error:
        decode_clip(clip, indices=indices)
    assert error.value.reason == "no_frame"


def test_iteration_is_lazy_and_wants_ascending_numbers(clip):
    first = next(iter_clip(clip))
    np.testing.assert_array_equal(first, decode_clip(clip, indices=[0])[0])
    assert len(list(iter_clip(clip, indices=[3, 5, 39]))) == 3
    with pytest.raises(ValueError, match="ascend"):
        next(iter_clip(clip, indices=[5, 3]))


def test_shrinking_averages_areas(clip):
    full = decode_clip(clip)
    small = decode_clip(clip, long_side=50)
    assert {frame.shape for frame in small} == {(38, 50, 3)}
    for frame, shrunk in zip(full, small, strict=True):
        assert shrunk.flags.c_contiguous
        assert difference(cv2.resize(frame, (50, 38), interpolation=cv2.INTER_AREA), shrunk) < 4
    np.testing.assert_array_equal(decode_clip(clip, long_side=128)[3], full[3])
    np.testing.assert_array_equal(decode_clip(clip, long_side=4000)[3], full[3])


def test_shrinking_does_not_shift_brightness():
    grey = encode([np.full((96, 128, 3), 130, np.uint8)] * 2)
    assert abs(float(decode_clip(grey, long_side=30)[0].mean()) - 130) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_is_a_clip_of_one_frame(kind):
    image = moving_frames(1)[0]
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, kind, quality=95)
    decoded = decode_clip(buffer.getvalue())
    assert len(decoded) == 1
    assert difference(decoded[0], image) < (6 if kind == "JPEG" else 0.01)
    assert decode_clip(buffer.getvalue(), long_side=64)[0].shape == (48, 64, 3)


def test_jpeg_bytes_are_stable_and_decodable():
    image = moving_frames(1)[0]
    data = encode_image(image)
    assert data == encode_image(image.copy())
    assert data.startswith(b"\xff\xd8")
    assert len(encode_image(image, quality=30)) < len(data)
    np.testing.assert_array_equal(decode_image(io.BytesIO(data), 10**6), decode_clip(data)[0])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no clip at all" * 10, "unreadable"),
        (b"\xff\xd8\xff" + b"no jpeg", "unreadable"),
        (png_claiming(30_000, 30_000), "too_large"),
    ],
    ids=["empty", "text", "broken jpeg", "png bomb"],
)
@pytest.mark.parametrize("read", [bytes, in_parts])
def test_bytes_that_are_no_clip(data, reason, read):
    with pytest.raises(MediaError) as error:
        decode_clip(read(data))
    assert error.value.reason == reason
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("read", [bytes, in_parts])
@pytest.mark.parametrize("indices", [None, [38]])
@pytest.mark.parametrize("length", [30, 0.5, 0.9])
def test_truncated_clip_is_an_error(length, indices, read):
    clip = noisy_clip(40)
    kept = clip[: length if isinstance(length, int) else int(length * len(clip))]
    with pytest.raises(MediaError):
        decode_clip(read(kept), indices=indices)


@pytest.mark.parametrize("start", [0.1, 0.3, 0.7])
def test_damage_is_the_same_read_in_parts(start):
    clip = noisy_clip(40)
    first = int(start * len(clip))
    damaged = clip[:first] + bytes(200) + clip[first + 200 :]
    results = []
    for read in (bytes, in_parts):
        try:
            results.append([frame.tobytes() for frame in decode_clip(read(damaged), indices=range(8, 40))])
        except MediaError as error:
            results.append((error.reason, str(error)))
    assert results[0] == results[1]


def test_errors_cross_process_borders():
    error = pickle.loads(pickle.dumps(MediaError("empty", "The clip has no bytes.")))
    assert (error.reason, str(error)) == ("empty", "The clip has no bytes.")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", 180), ("P", 180), ("CMYK", 180), ("I;16", 180), ("RGBA", 90), ("LA", 90)],
)
def test_image_modes_become_rgb(tmp_path, mode, expected):
    if mode == "I;16":
        image = PIL.Image.fromarray(np.full((20, 30), 180 * 257, np.uint16))
    elif mode in ("RGBA", "LA"):
        # Half transparent over black.
        image = PIL.Image.new(mode, (30, 20), (180, 180, 180, 128) if mode == "RGBA" else (180, 128))
    else:
        image = PIL.Image.new("RGB", (30, 20), (180, 180, 180)).convert(mode)
    path = write_image(tmp_path / "image", image, "TIFF" if mode == "CMYK" else "PNG")
    with path.open("rb") as file:
        decoded = decode_image(file, 10**6)
    assert decoded.shape == (20, 30, 3)
    assert abs(float(decoded.mean()) - expected) <= 1


def test_exif_orientation_is_applied(tmp_path):
    image = moving_frames(1)[0]
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = write_image(tmp_path / "turned.jpg", image, "JPEG", exif=exif, quality=95)
    with path.open("rb") as file:
        decoded = decode_image(file, 10**6)
    assert difference(decoded, np.rot90(image, -1)) < 6


def test_real_clip_decodes_completely(shared_data):
    data = (shared_data / "clips" / "bedroom.mp4").read_bytes()
    picked = decode_clip(data, long_side=320, indices=[0, 199])
    assert [frame.shape for frame in picked] == [(180, 320, 3)] * 2
    with pytest.raises(MediaError, match="200 frames"):
        decode_clip(data, long_side=320, indices=[200])
