from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import moving_frames

from stages.media import ClipWriter, MediaSettings, encode_image
from train.video_files import read_masks, read_picture, read_video, write_video


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
    with pytest.raises(ValueError, match="is not one picture of"):
        read_picture(clip, video)


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
