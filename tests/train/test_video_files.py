from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import media_files
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from filled_memory import outputs_in_filled_memory
from media_files import moving_frames

from stages.media import ClipWriter, MediaSettings, RgbConverter, encode_image
from stages.upright import UPRIGHT, Uprighter
from train.video_files import read_masks, read_picture, read_video, write_picture, write_video

WRITE = """
import os, sys
from pathlib import Path
from train.video_files import read_video, write_video

target = Path(sys.argv[2]) / f"{os.getpid()}.mp4"
video = read_video(sys.argv[1])
write_video(target, video.frames, video)
sys.stdout.buffer.write(target.read_bytes())
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = moving_frames(10)
    writer = ClipWriter(frames[0].shape[1], frames[0].shape[0], Fraction(30000, 1001), MediaSettings())
    for frame in frames:
        writer.add(frame)
    path = tmp_path / "clip.mp4"
    path.write_bytes(writer.finish())
    return path


def write_odd(path: Path, stamps: list[int], size: tuple[int, int] = (51, 67), sound: bool = False) -> Path:
    """A video of odd sides and uneven stamps (milliseconds), with or without a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream("aac", rate=48000) if sound else None
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            wave = np.zeros((1, 1024), np.float32)
            for index in range(20):
                piece = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                piece.sample_rate, piece.pts = 48000, 1024 * index
                container.mux(tone.encode(piece))
            container.mux(tone.encode(None))
    return path


def test_lossless_is_every_pixel(clip: Path, tmp_path: Path) -> None:
    video = read_video(clip)
    assert video.fps == pytest.approx(30000 / 1001)
    write_video(tmp_path / "out.mkv", video.frames, video, lossless=True)
    again = read_video(tmp_path / "out.mkv")
    assert np.array_equal(again.frames, video.frames)
    assert again.fps == pytest.approx(video.fps, rel=1e-3)


def test_bytes_do_not_depend_on_what_lay_in_memory(tmp_path: Path) -> None:
    clip = media_files.write_video(tmp_path / "clip.mkv", moving_frames(20, width=240, height=144), codec="ffv1")
    one, other = outputs_in_filled_memory(WRITE, str(clip), str(tmp_path))
    assert one == other


def test_stamps_and_odd_sides_are_kept(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 200, 210, 400]
    video = read_video(write_odd(tmp_path / "odd.mkv", stamps))
    assert video.frames.shape == (6, 51, 67, 3)
    write_video(tmp_path / "out.mp4", video.frames, video)
    again = read_video(tmp_path / "out.mp4")
    assert again.frames.shape == video.frames.shape
    assert [float(stamp * again.time_base) for stamp in again.stamps] == pytest.approx([s / 1000 for s in stamps])
    assert np.abs(again.frames.astype(int) - video.frames).mean() < 3


def test_sound_is_kept(tmp_path: Path) -> None:
    video = read_video(write_odd(tmp_path / "sound.mkv", [0, 40, 80], sound=True))
    write_video(tmp_path / "out.mp4", video.frames, video)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]
        assert sum(packet.size for packet in container.demux(container.streams.audio[0])) > 0


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    picture = moving_frames(1)[0]
    (tmp_path / "one.png").write_bytes(encode_image(picture))
    video = read_video(tmp_path / "one.png")
    assert video.is_image
    assert video.frames.shape == (1, *picture.shape)


def test_mask_files(clip: Path, tmp_path: Path) -> None:
    video = read_video(clip)
    masks = np.zeros((*video.frames.shape[:3], 3), np.uint8)
    masks[:, 10:20, 10:30] = 255
    write_video(tmp_path / "mask.mkv", masks, video, lossless=True)
    assert np.array_equal(read_masks(tmp_path / "mask.mkv", video), masks[..., 0] > 0)
    (tmp_path / "mask.png").write_bytes(encode_image(masks[0]))
    assert read_masks(tmp_path / "mask.png", video).shape == (1, *video.frames.shape[1:3])


def test_masks_that_do_not_fit_are_one_sentence(clip: Path, tmp_path: Path) -> None:
    video = read_video(clip)
    height, width = video.frames.shape[1:3]
    (tmp_path / "small.png").write_bytes(encode_image(np.full((height, width - 2, 3), 255, np.uint8)))
    with pytest.raises(ValueError, match=f"is {width - 2}×{height}, and the video is {width}×{height}"):
        read_masks(tmp_path / "small.png", video)
    (tmp_path / "black.png").write_bytes(encode_image(np.zeros((height, width, 3), np.uint8)))
    with pytest.raises(ValueError, match="black everywhere"):
        read_masks(tmp_path / "black.png", video)
    short = write_odd(tmp_path / "short.mkv", [0, 40, 80, 120], (height, width))
    with pytest.raises(ValueError, match="has 4 frames, and the video has 10"):
        read_masks(short, video)
    with pytest.raises(ValueError, match="has 10 frames, and it must be one picture"):
        read_picture(clip, video)
    with pytest.raises(ValueError, match=rf"keyframe .* is {width - 2}×{height}, and the video is {width}×{height}"):
        read_picture(tmp_path / "small.png", video)


def test_turned_videos_are_upright(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = (250, 20, 20)
    video = read_video(media_files.write_video(tmp_path / "turned.mp4", [picture] * 3, rotation=90))
    assert video.frames.shape == (3, 64, 48, 3)
    assert video.frames[0, 10, 40, 0] > 150, "what was at the top left is at the top right after a clockwise turn"
    assert video.frames[0, 10, 5, 0] < 50
    mirror = read_video(media_files.write_video(tmp_path / "mirror.mp4", [picture] * 3, mirrored=True))
    assert mirror.frames.shape == (3, 48, 64, 3)
    assert mirror.frames[0, 10, 50, 0] > 150, "what was at the top left is at the top right of a mirror"
    assert mirror.frames[0, 10, 5, 0] < 50


@pytest.mark.slow  # swscale computes a table for seconds
def test_hdr_is_brought_down_as_for_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "hlg.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        codec = stream.codec_context
        codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc = 9, 1, 9, 18
        ramp = np.tile(np.linspace(64, 940, 128), (96, 1))
        flat = np.concatenate([ramp.ravel(), np.full(128 * 96 // 2, 512)]).reshape(-1, 128).astype(np.uint16)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="yuv420p10le")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        clip = Uprighter(UPRIGHT, Fraction(1), 96)(next(container.decode(video=0)))
    expected = RgbConverter(None)(clip).astype(int)
    assert np.abs(read_video(path).frames[0] - expected).mean() < 2


def test_edits_of_edits_keep_their_brightness(tmp_path: Path) -> None:
    video = original = read_video(media_files.write_video(tmp_path / "0.mp4", moving_frames(4)))
    for number in range(1, 5):
        write_video(tmp_path / f"{number}.mp4", video.frames, video)
        video = read_video(tmp_path / f"{number}.mp4")
    difference = video.frames.astype(int) - original.frames
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.5


def test_the_first_frame_alone_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = media_files.write_video(tmp_path / "long.mp4", moving_frames(30))
    whole = read_video(path)
    monkeypatch.setattr("train.video_files.AVAILABLE_SHARE", 2 * whole.frames[0].nbytes / 2**40)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2**40))
    with pytest.raises(ValueError, match="does not fit into memory"):
        read_video(path)
    assert np.array_equal(read_video(path, first_only=True).frames, whole.frames[:1])


def test_names_that_ffmpeg_takes_for_addresses_are_names(clip: Path, tmp_path: Path) -> None:
    odd = clip.rename(tmp_path / "2024-05-01T12:30:05.mp4")
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        video = read_video(odd.name)
        for target in ("edited:1.mp4", "edited%d:1.mkv"):
            write_video(target, video.frames, video, lossless=target.endswith("mkv"))
            assert len(read_video(target).frames) == len(video.frames)
    finally:
        os.chdir(before)


def test_a_pictures_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    PIL.Image.fromarray(moving_frames(1)[0]).save(tmp_path / "in.png", icc_profile=profile)
    video = read_video(tmp_path / "in.png")
    write_picture(tmp_path / "out.png", video.frames[0], video.colour_profile)
    with PIL.Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == profile
    grey = profile[:16] + b"GRAY" + profile[20:]
    PIL.Image.fromarray(moving_frames(1)[0][..., 0]).save(tmp_path / "grey.png", icc_profile=grey)
    assert read_video(tmp_path / "grey.png").colour_profile is None


def test_colours_survive_decoding_and_encoding(tmp_path: Path) -> None:
    """Strong colours at a size where an untagged video is BT.709 and at one where it is BT.601."""
    for height, width in ((72, 96), (720, 960)):
        picture = np.zeros((height, width, 3), np.uint8)
        for place, colour in enumerate([(220, 30, 30), (30, 200, 40), (40, 40, 220)]):
            picture[:, place * width // 3 : (place + 1) * width // 3] = colour
        like = read_video(media_files.write_video(tmp_path / "in.mkv", [picture] * 2, codec="ffv1", pix_fmt="bgr0"))
        assert np.array_equal(like.frames[0], picture)
        write_video(tmp_path / "out.mp4", like.frames, like)
        again = read_video(tmp_path / "out.mp4").frames[0].astype(int)
        # In the middle of each stripe: at its edges the halved colour planes mix.
        assert np.abs(again - picture)[:, width // 6 :: width // 3].max() <= 2


def test_pixels_that_are_no_squares_stay_so(tmp_path: Path) -> None:
    frames = moving_frames(3)
    video = read_video(media_files.write_video(tmp_path / "in.mp4", frames, pixel_aspect=Fraction(4, 3)))
    write_video(tmp_path / "out.mp4", video.frames, video)
    assert read_video(tmp_path / "out.mp4").pixel_aspect == Fraction(4, 3)


def test_a_video_of_one_frame_is_no_image(tmp_path: Path) -> None:
    video = read_video(media_files.write_video(tmp_path / "one.mp4", moving_frames(1)))
    assert not video.is_image
    write_video(tmp_path / "out.mp4", video.frames, video)
    assert len(read_video(tmp_path / "out.mp4").frames) == 1


def test_a_cut_off_video_is_used_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = media_files.write_video(tmp_path / "cut.mkv", moving_frames(30), codec_options={"g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames = read_video(path).frames
    assert 3 < len(frames) < 30


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    picture = moving_frames(1)[0]
    write_picture(tmp_path / "new" / "one.png", picture)
    assert np.array_equal(read_video(tmp_path / "new" / "one.png").frames[0], picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.png"]
    with pytest.raises(ValueError, match=r"must end with \.png for a picture"):
        write_picture(tmp_path / "one.jpg", picture)
    with pytest.raises(ValueError, match="cannot write"):
        write_picture(tmp_path / "new" / "one.png" / "two.png", picture)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 5000])
def test_unreadable_files_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read"):
        read_video(path)
    with pytest.raises(ValueError, match="cannot read"):
        read_video(tmp_path / "missing.mp4")


def test_the_output_name_must_fit(clip: Path, tmp_path: Path) -> None:
    video = read_video(clip)
    with pytest.raises(ValueError, match=r"must end with \.mkv when lossless"):
        write_video(tmp_path / "out.mp4", video.frames, video, lossless=True)
    with pytest.raises(ValueError, match=r"must end with \.mp4"):
        write_video(tmp_path / "out.avi", video.frames, video)
    with pytest.raises(ValueError, match="9 frames cannot take"):
        write_video(tmp_path / "out.mp4", video.frames[:9], video)
    assert not list(tmp_path.glob(".out*"))
