from __future__ import annotations

import resource
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from media_files import (
    ODD,
    UNUSABLE,
    jpeg_claiming,
    moving_frames,
    patched,
    playlists,
    png_claiming,
    write_bytes,
    write_faststart,
    write_image,
    write_video,
)

from stages.media import MediaError, MediaSettings
from stages.probe import probe

SETTINGS = MediaSettings()


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_named_errors(tmp_path, name):
    reason, make = UNUSABLE[name]
    with pytest.raises(MediaError) as error:
        probe(make(tmp_path / "source.mp4"), SETTINGS)
    assert error.value.reason == reason
    sentence = str(error.value)
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_seen_through(tmp_path, name):
    found = probe(ODD[name](tmp_path / "source.mp4"), SETTINGS)
    assert (found.kind, found.width, found.height, found.rotation) == ("video", 128, 96, 0)
    assert found.fps == (25 if name == "raw stream without stamps" else 10)
    if name not in ("claims a year", "raw stream without stamps"):
        assert found.duration_us == pytest.approx(4_000_000, abs=200_000)


def test_plain_video(tmp_path):
    found = probe(write_video(tmp_path / "a.mp4", moving_frames(20), Fraction(30000, 1001)), SETTINGS)
    assert (found.fps, found.codec) == (Fraction(30000, 1001), "h264")
    assert found.duration_us == pytest.approx(667_333, abs=1000)
    assert found.pixel_aspect == 1
    assert "mp4" in found.container


def test_content_decides_not_the_extension(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_frames(5))
    assert probe(shutil.copy(video, tmp_path / "a.jpg"), SETTINGS).kind == "video"
    image = write_image(tmp_path / "b.mp4", moving_frames(1)[0], "JPEG")
    found = probe(image, SETTINGS)
    assert (found.kind, found.codec, found.fps, found.duration_us) == ("image", "jpeg", None, None)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_turns_the_size(tmp_path, degrees):
    path = write_video(tmp_path / "a.mp4", moving_frames(5), container="mp4", rotation=degrees)
    found = probe(path, SETTINGS)
    assert found.rotation == degrees
    assert (found.width, found.height) == ((128, 96) if degrees == 180 else (96, 128))


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 256), (Fraction(1, 2), 64), (Fraction(100), 128)])
def test_pixel_shape_counts_if_believable(tmp_path, aspect, width):
    path = write_video(tmp_path / "a.mp4", moving_frames(5), container="mp4", pixel_aspect=aspect)
    found = probe(path, SETTINGS)
    assert (found.width, found.height) == (width, 96)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_size(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    found = probe(write_image(tmp_path / "a.jpg", moving_frames(1)[0], "JPEG", exif=exif), SETTINGS)
    assert (found.width, found.height) == ((96, 128) if orientation >= 5 else (128, 96))
    assert found.rotation == {3: 180, 4: 180, 5: 90, 6: 90, 7: 90, 8: 270}.get(orientation, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_image_formats(tmp_path, kind):
    found = probe(write_image(tmp_path / "a", moving_frames(1)[0], kind), SETTINGS)
    assert (found.kind, found.width, found.height, found.codec) == ("image", 128, 96, kind.lower())


def test_rate_is_measured_where_the_header_lies(tmp_path):
    # Stamps every 40 ms in a file that declares 100 frames per second.
    path = write_video(
        tmp_path / "a.mkv",
        moving_frames(60),
        Fraction(100),
        stamps=[4 * number for number in range(60)],
        container="matroska",
    )
    assert probe(path, SETTINGS).fps == 25


def test_rate_of_jittering_stamps_is_a_standard_one(tmp_path):
    jitter = np.random.default_rng(0).integers(-4, 5, 90)
    stamps = [round(number * 1001 / 30) + int(shift) for number, shift in enumerate(jitter, 1)]
    path = write_video(
        tmp_path / "a.mkv",
        moving_frames(90),
        Fraction(30000, 1001),
        stamps=stamps,
        time_base=Fraction(1, 1000),
        container="matroska",
    )
    assert probe(path, SETTINGS).fps == Fraction(30000, 1001)


@pytest.mark.parametrize("name", playlists(Path()))
def test_files_that_point_elsewhere_open_nothing(tmp_path, name):
    target = write_video(tmp_path / "secret.ts", moving_frames(20), container="mpegts")
    for extension in (".mp4", ".m3u8"):
        with pytest.raises(MediaError) as error:
            probe(write_bytes(tmp_path / f"a{extension}", playlists(target)[name]), SETTINGS)
        assert error.value.reason == "unreadable"


@pytest.mark.parametrize(("name", "extension"), [("hls playlist", ".m3u8"), ("concat script", ".txt")])
def test_those_files_do_open_others_where_ffmpeg_is_let(tmp_path, name, extension):
    """The control of the test above: the attack works, only not on us."""
    target = write_video(tmp_path / "secret.ts", moving_frames(20), container="mpegts")
    path = write_bytes(tmp_path / f"a{extension}", playlists(target)[name])
    with av.open(str(path), options={"safe": "0"}) as container:
        assert container.streams.video[0].width == 128


def test_own_pixel_limit_holds_for_images_and_video(tmp_path):
    tight = MediaSettings(max_pixels=128 * 96)
    probe(write_video(tmp_path / "a.mp4", moving_frames(3)), tight)
    probe(write_image(tmp_path / "a.png", moving_frames(1)[0]), tight)
    wide = moving_frames(3, width=130)
    for path in (write_video(tmp_path / "b.mp4", wide), write_image(tmp_path / "b.png", wide[0])):
        with pytest.raises(MediaError, match="130×96") as error:
            probe(path, tight)
        assert error.value.reason == "too_large"


def test_claims_allocate_nothing(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    liars = [
        write_bytes(tmp_path / "a.png", png_claiming(60_000, 60_000)),
        write_bytes(tmp_path / "b.png", png_claiming(12_000, 12_000)),
        write_bytes(tmp_path / "a.jpg", jpeg_claiming(65_000, 65_000)),
        patched(write_faststart(tmp_path / "a.mp4"), b"stsz", 8, b"\x3b\x9a\xca\x00"),
    ]
    for path in liars:
        with pytest.raises(MediaError):
            probe(path, SETTINGS)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # KiB


def test_real_clips(shared_data):
    found = probe(shared_data / "clips" / "01_dog.mp4", SETTINGS)
    assert (found.width, found.height, found.fps) == (1280, 720, Fraction(30000, 1001))
    assert probe(shared_data / "clips" / "05_default_juggle.mp4", SETTINGS).fps == 24
