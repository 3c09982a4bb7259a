from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from train.video_files import VideoFile, read_video, write_video


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_sound_stays_beside_its_pictures(tmp_path: Path, codec: str) -> None:
    """Pictures that begin 0.3 s after the sound file, whose tone begins at 0.1 s; PCM becomes AAC."""
    source = write_with_tone(tmp_path / "in.mkv", codec, first_picture=300)
    video = read_video(source)
    assert onset(source) == pytest.approx(-0.2, abs=0.02)
    write_video(tmp_path / "out.mp4", video.frames, video)
    assert onset(tmp_path / "out.mp4") == pytest.approx(-0.2, abs=0.02)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert kinds.index("audio") < kinds.index("video") < len(kinds) - kinds[::-1].index("audio") - 1, "side by side"
    write_video(tmp_path / "out.mkv", video.frames, video, lossless=True)
    assert onset(tmp_path / "out.mkv") == pytest.approx(-0.2, abs=0.02)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.audio[0].codec_context.name == codec, "any sound fits into mkv as it is"


def test_pictures_keep_their_stamps_beside_sound_with_a_run_up(tmp_path: Path) -> None:
    """AAC begins 1024 samples before 0, which an mp4 says and a player leaves out."""
    source = write_with_tone(tmp_path / "in.mp4", "aac", first_picture=0)
    with av.open(str(source)) as container:
        assert next(container.demux(audio=0)).pts == -1024
    for target in (tmp_path / "a.mp4", tmp_path / "b.mkv", tmp_path / "c.mkv", tmp_path / "d.mp4"):
        video = read_video(source)
        assert seconds(video) == pytest.approx([0.04 * index for index in range(10)], abs=1e-6)
        write_video(target, video.frames, video, lossless=target.suffix == ".mkv")
        with av.open(str(target)) as container:
            assert [frame.time for frame in container.decode(video=0)] == pytest.approx(seconds(video), abs=1e-6)
        assert onset(target) == pytest.approx(onset(source), abs=1e-3)
        source = target


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.avi", "adpcm_ima_wav", 44100), ("a.mov", "pcm_mulaw", 8000)])
def test_sound_that_matroska_does_not_take_is_kept_losslessly(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    source = write_with_tone(tmp_path / name, codec, first_picture=0, rate=rate)
    video = read_video(source)
    for target, expected in ((tmp_path / "out.mkv", "flac"), (tmp_path / "out.mp4", "aac")):
        write_video(target, video.frames, video, lossless=target.suffix == ".mkv")
        assert sound_of(target) == (expected, rate)
        assert onset(target) == pytest.approx(onset(source), abs=0.02)


def test_sound_of_a_rate_that_aac_has_not_is_resampled(tmp_path: Path) -> None:
    source = write_with_tone(tmp_path / "in.mov", "pcm_s16le", first_picture=0, rate=192000)
    video = read_video(source)
    write_video(tmp_path / "out.mp4", video.frames, video)
    assert sound_of(tmp_path / "out.mp4") == ("aac", 48000)
    assert onset(tmp_path / "out.mp4") == pytest.approx(onset(source), abs=0.02)


def test_damaged_sound_costs_only_its_damaged_packets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_with_tone(tmp_path / "in.avi", "adpcm_ima_wav", first_picture=0, rate=44100)
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    damaged = packets[2][:2] + b"\xff" * 8 + packets[2][10:]
    source.write_bytes(source.read_bytes().replace(packets[2], damaged))
    video = read_video(source)
    with caplog.at_level(logging.WARNING):
        write_video(tmp_path / "out.mp4", video.frames, video)
    assert "1 of its packets" in caplog.text
    assert sound_of(tmp_path / "out.mp4") == ("aac", 44100)
    assert onset(tmp_path / "out.mp4") == pytest.approx(0.1, abs=0.02)


def test_no_edit_is_lost_for_its_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The source is gone when the edit is written."""
    source = write_with_tone(tmp_path / "in.mkv", "aac", first_picture=0)
    video = read_video(source)
    source.unlink()
    for target in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        write_video(target, video.frames, video, lossless=target.suffix == ".mkv")
        assert len(read_video(target).frames) == len(video.frames)
        assert sound_of(target) is None
    assert caplog.text.count("is left out") == 2


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_was_cut_away_does_not_come_back(tmp_path: Path, codec: str) -> None:
    """Half a second of sound before the first picture, which a mov leaves out by its edit list."""
    source = write_with_tone(tmp_path / "in.mov", codec, first_picture=0, first_sound=-8000)
    assert first_moment(source) < -0.4
    video = read_video(source)
    write_video(tmp_path / "out.mkv", video.frames, video, lossless=True)
    assert -0.2 < first_moment(tmp_path / "out.mkv") <= 0


def first_moment(path: Path) -> float:
    """Of the sound, in seconds, as the file has it."""
    with av.open(str(path)) as container:
        packet = next(container.demux(audio=0))
        return float(packet.pts * packet.time_base)


def sound_of(path: Path) -> tuple[str, int] | None:
    """Codec and rate of the sound, which must decode; None where there is none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0.9 * stream.rate
        return stream.codec_context.name, stream.rate


def seconds(video: VideoFile) -> list[float]:
    return [float(stamp * video.time_base) for stamp in video.stamps]


def onset(path: Path) -> float:
    """Seconds from the first picture to the first sound that is heard."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(
                np.abs(frame.to_ndarray().astype(float).ravel()) > (0.1 if frame.format.is_planar else 3000)
            )
            if len(loud):
                heard = frame.time + loud[0] / frame.sample_rate
                break
    with av.open(str(path)) as container:
        return heard - next(container.decode(video=0)).time


def write_with_tone(path: Path, codec: str, first_picture: int, rate: int = 16000, first_sound: int = 0) -> Path:
    """Ten pictures from `first_picture` ms on; a second of sound from sample `first_sound` on, a tenth of it silent."""
    pictures = {".mp4": ("libx264", "yuv420p"), ".mov": ("libx264", "yuv420p"), ".avi": ("mpeg4", "yuv420p")}
    with av.open(str(path), "w") as container:
        codec_of_pictures, layout = pictures.get(path.suffix, ("ffv1", "bgr0"))
        stream = container.add_stream(codec_of_pictures, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, layout
        if path.suffix != ".avi":
            stream.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream(codec, rate=rate, layout="mono")
        wave = (8000 * np.sin(np.arange(rate) * 2000 / rate)).astype(np.int16)[None]
        wave[:, : rate // 10] = 0
        for start in range(0, rate, rate // 10):
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + rate // 10]), "s16", "mono")
            piece.sample_rate, piece.pts, piece.time_base = rate, first_sound + start, Fraction(1, rate)
            container.mux(tone.encode(piece))
        container.mux(tone.encode(None))
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = first_picture + 40 * index, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
