from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
from media_files import (
    ODD,
    moving_frames,
    overwritten,
    truncated,
    write_bytes,
    write_faststart,
    write_image,
    write_scenes,
    write_video,
)
from pydantic import ValidationError

from stages.clip_builder import difference_hash
from stages.media import MediaError, MediaSettings, decode_clip
from stages.normalise import DroppedClip, FoundClip, NormaliseSettings, image_from_clip, normalise
from stages.probe import probe
from stages.source_frames import ReadSettings

SETTINGS = NormaliseSettings(min_short_side=64, max_short_side=96, min_duration=1, max_duration=2)


def pieces(path, settings=SETTINGS):
    return list(normalise(path, probe(path, settings.media), settings))


def broken_pieces(path, settings=SETTINGS):
    """What comes out before the error, and the error."""
    found = []
    with pytest.raises(MediaError) as error:
        found.extend(normalise(path, probe(path, settings.media), settings))
    return found, error.value


def spans(found):
    return [(piece.start_us, piece.end_us) for piece in found if isinstance(piece, FoundClip)]


def dropped(found):
    return [(piece.reason, piece.start_us, piece.end_us) for piece in found if isinstance(piece, DroppedClip)]


def difference(a, b):
    return float(np.mean(np.abs(a.astype(np.int16) - b.astype(np.int16))))


def test_scenes_become_clips_and_short_ones_are_dropped(tmp_path):
    found = pieces(write_scenes(tmp_path / "a.mp4", [15, 5, 12]))
    assert spans(found) == [(0, 1_500_000), (2_000_000, 3_200_000)]
    assert dropped(found) == [("min_duration", 1_500_000, 2_000_000)]
    assert (found[1].value, found[1].threshold) == (0.5, 1)
    assert found[1].message == "The scene lasts 0.50 s, less than 1 s."
    for clip, seed, length in ((found[0], 0, 15), (found[2], 2, 12)):
        frames = decode_clip(clip.data)
        assert len(frames) == clip.num_frames == length
        originals = moving_frames(length, seed)
        for number in (0, length // 2, length - 1):
            assert difference(frames[number], originals[number]) < 10
            assert difference(frames[number], moving_frames(1, seed + 1)[0]) > 30


def test_clip_facts(tmp_path):
    clip = pieces(write_video(tmp_path / "a.mp4", moving_frames(15)))[0]
    assert (clip.kind, clip.width, clip.height, clip.fps) == ("video", 128, 96, 10)
    frames = decode_clip(clip.data)
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    assert clip.mean_luma == pytest.approx(np.mean(lumas), abs=1)
    changes = [np.mean(cv2.absdiff(a, b)) for a, b in pairwise(lumas)]
    assert clip.motion == pytest.approx(np.mean(changes), abs=0.5)
    own_hash = int(difference_hash(lumas[0]), 16)
    assert (int(clip.keyframe_hash, 16) ^ own_hash).bit_count() <= 2
    assert len(clip.keyframe_hash) == 16


def test_frozen_and_black_clips_show_in_their_facts(tmp_path):
    black, moving = np.zeros((96, 128, 3), np.uint8), moving_frames(15)
    frozen = pieces(write_video(tmp_path / "a.mp4", [moving[0]] * 15))[0]
    assert frozen.motion < 0.3 < pieces(write_video(tmp_path / "b.mp4", moving))[0].motion
    assert pieces(write_video(tmp_path / "c.mp4", [black] * 15))[0].mean_luma < 1


def test_difference_hash_says_where_it_gets_brighter():
    ramp = np.tile(np.arange(90, dtype=np.uint8), (80, 1))
    across, down = (1 << 64) - (1 << 15), (1 << 15) - 1
    assert difference_hash(ramp) == f"{across:016x}"
    assert difference_hash(ramp[:, ::-1].copy()) == "0" * 16
    assert difference_hash(ramp.T.copy()) == f"{down:016x}"
    both = np.add.outer(np.arange(80), np.arange(90)).astype(np.uint8)
    assert difference_hash(both) == "f" * 16
    upper_three_rows = np.where(np.arange(84)[:, None] < 36, ramp[0], ramp[0, ::-1]).astype(np.uint8)
    assert int(difference_hash(upper_three_rows), 16) >> 15 == ((1 << 21) - 1) << 28
    assert difference_hash(np.full((80, 90), 77, np.uint8)) == "0" * 16


def test_long_scenes_are_split_into_consecutive_pieces(tmp_path):
    found = pieces(write_video(tmp_path / "a.mp4", moving_frames(53)))
    assert spans(found) == [(0, 2_000_000), (2_000_000, 4_000_000), (4_000_000, 5_300_000)]
    frames = [frame for clip in found for frame in decode_clip(clip.data)]
    originals = moving_frames(53)
    assert len(frames) == 53
    assert all(difference(frames[number], originals[number]) < 10 for number in (0, 19, 20, 39, 40, 52))


def test_the_same_file_gives_the_same_bytes(tmp_path):
    path = write_scenes(tmp_path / "a.mp4", [15, 12])
    assert pieces(path) == pieces(path)


def test_clips_are_encoded_as_set(tmp_path):
    settings = SETTINGS.model_copy(update={"media": MediaSettings(gop=4, crf=40)})
    path = write_video(tmp_path / "a.mp4", moving_frames(12))
    clip = pieces(path, settings)[0]
    with av.open(io.BytesIO(clip.data)) as container:
        assert [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame] == [0, 4, 8]
    assert len(clip.data) < len(pieces(path)[0].data)


@pytest.mark.parametrize("name", ODD)
def test_odd_files_become_whole_clips(tmp_path, name):
    found = pieces(ODD[name](tmp_path / "source.mp4"))
    fps = 25 if name == "raw stream without stamps" else 10
    clips = [piece for piece in found if isinstance(piece, FoundClip)]
    assert sum(clip.num_frames for clip in clips) >= 4 * fps - 1
    assert {(clip.width, clip.height, clip.fps) for clip in clips} == {(128, 96, fps)}
    originals = moving_frames(100 if fps == 25 else 40)
    if name == "grey":
        originals = [np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, 2) for frame in originals]
    limit = 25 if name in ("animated gif", "avi") else 12  # few colours; few bits
    last = decode_clip(clips[-1].data)[-1]
    assert difference(last, originals[-1]) < limit
    with av.open(io.BytesIO(clips[0].data)) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


def test_rotation_is_applied_to_the_pixels(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(12), container="mp4", rotation=90)
    clip = pieces(path)[0]
    assert (clip.width, clip.height) == (96, 128)
    turned = np.rot90(moving_frames(1)[0], -1)
    assert difference(decode_clip(clip.data)[0], turned) < 10


def test_large_sources_shrink_to_the_short_side(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(12, width=342, height=192), container="mp4")
    clip = pieces(path)[0]
    assert (clip.width, clip.height) == (170, 96)
    expected = cv2.resize(moving_frames(12, width=342, height=192)[0], (171, 96), interpolation=cv2.INTER_AREA)[:, :170]
    assert difference(decode_clip(clip.data)[0], expected) < 10


def test_small_sources_are_dropped_without_decoding(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(40))
    settings = SETTINGS.model_copy(update={"min_short_side": 97})
    facts = probe(path, settings.media)
    path.unlink()
    found = list(normalise(path, facts, settings))
    assert [(piece.reason, piece.value, piece.threshold) for piece in found] == [("min_short_side", 96, 97)]
    assert found[0].end_us == facts.duration_us


def test_portrait_is_judged_by_its_short_side(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(12, width=64, height=128), container="mp4", rotation=90)
    assert (pieces(path)[0].width, pieces(path)[0].height) == (128, 64)


def test_slide_shows_are_dropped(tmp_path):
    found = pieces(write_video(tmp_path / "a.mp4", moving_frames(10), Fraction(2), container="mp4"))
    assert [(piece.reason, piece.value) for piece in found] == [("min_fps", 2)]


@pytest.mark.parametrize(("source", "kept"), [(120, 60), (100, 50), (60, 60), (240, 60)])
def test_fast_sources_keep_every_nth_frame(tmp_path, source, kept):
    frames = moving_frames(source * 3 // 2, width=64, height=64)
    found = pieces(write_video(tmp_path / "a.mp4", frames, Fraction(source), container="mp4"))
    assert [(clip.fps, clip.num_frames) for clip in found] == [(kept, kept * 3 // 2)]


def test_variable_rate_becomes_constant_and_stays_in_step(tmp_path):
    steps = np.random.default_rng(0).integers(20, 60, 60)
    stamps = np.cumsum(steps) - steps[0]
    frames = moving_frames(60)
    path = write_video(
        tmp_path / "a.mkv", frames, Fraction(25), stamps=[int(stamp) for stamp in stamps], time_base=Fraction(1, 1000)
    )
    found = pieces(path)
    fps = found[0].fps
    for clip in found:
        if isinstance(clip, FoundClip):
            decoded = decode_clip(clip.data)
            for number in range(0, clip.num_frames, 7):
                time = clip.start_us / 1000 + 1000 * number / fps
                nearest = int(np.abs(stamps - time).argmin())
                assert difference(decoded[number], frames[nearest]) < 12


@pytest.mark.parametrize("shift", [-20, 0, 1000])
def test_times_count_from_the_first_frame(tmp_path, shift):
    stamps = [number + shift for number in range(12)]
    path = write_video(tmp_path / "a.mkv", moving_frames(12), container="matroska", stamps=stamps)
    assert spans(pieces(path)) == [(0, 1_200_000)]


def test_a_long_pause_ends_a_clip_and_keeps_time(tmp_path):
    stamps = [number + (50 if number >= 15 else 0) for number in range(30)]
    path = write_video(tmp_path / "a.mkv", moving_frames(30), container="matroska", stamps=stamps)
    assert spans(pieces(path)) == [(0, 1_500_000), (6_500_000, 8_000_000)]


def test_a_pause_within_the_limit_is_held(tmp_path):
    stamps = [number + (5 if number >= 10 else 0) for number in range(15)]
    path = write_video(tmp_path / "a.mkv", moving_frames(15), container="matroska", stamps=stamps)
    assert spans(pieces(path)) == [(0, 1_000_000)]
    clip = pieces(path, SETTINGS.model_copy(update={"read": ReadSettings(max_gap=1)}))[0]
    frames = decode_clip(clip.data)
    assert clip.num_frames == 20
    assert difference(frames[9], frames[11]) < 2 < difference(frames[9], frames[16])


def interlaced_frames(count):
    """A bar that goes to and fro, 3 pixels from field to field, fields woven."""
    frames = []
    for number in range(count):
        frame = np.full((96, 128, 3), 60, np.uint8)
        for field in (0, 1):
            left = 100 - abs(100 - 3 * (2 * number + field) % 200)
            frame[field::2, left : left + 20] = 220
        frames.append(frame)
    return frames


def combing(frame):
    luma = frame[..., 1].astype(int)
    return float(np.abs(2 * luma[1:-1] - luma[:-2] - luma[2:]).mean())


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_video_is_made_whole(tmp_path, codec):
    path = write_video(
        tmp_path / "a.mkv",
        interlaced_frames(30),
        Fraction(25),
        codec=codec,
        codec_options={"x264-params": "tff=1", "crf": "5"}
        if codec == "libx264"
        else {"flags": "+ildct+ilme", "q": "1"},
    )
    found = pieces(path)
    assert [clip.num_frames for clip in found] == [30]
    whole = decode_clip(found[0].data)
    assert combing(interlaced_frames(5)[4]) > 14
    assert max(combing(frame) for frame in whole) < 5


def test_a_change_of_size_begins_a_clip(tmp_path):
    parts = [
        write_video(tmp_path / f"{width}.ts", moving_frames(20, width=width, height=height), container="mpegts")
        for width, height in ((128, 96), (160, 80), (64, 48))
    ]
    found = pieces(write_bytes(tmp_path / "a.ts", b"".join(part.read_bytes() for part in parts)))
    assert [(clip.width, clip.height) for clip in found if isinstance(clip, FoundClip)] == [(128, 96), (160, 80)]
    small = [piece for piece in found if isinstance(piece, DroppedClip) and piece.reason == "min_short_side"]
    assert [(piece.value, piece.threshold) for piece in small] == [(48, 64)]


def test_pictures_that_grow_past_the_limit_are_refused(tmp_path):
    parts = [
        write_video(tmp_path / f"{width}.ts", moving_frames(20, width=width), container="mpegts")
        for width in (128, 256)
    ]
    path = write_bytes(tmp_path / "a.ts", b"".join(part.read_bytes() for part in parts))
    settings = SETTINGS.model_copy(update={"media": MediaSettings(max_pixels=128 * 96)})
    found, error = broken_pieces(path, settings)
    assert {clip.width for clip in found if isinstance(clip, FoundClip)} == {128}
    assert error.reason == "damaged"


def whole_frames(found, originals):
    """Every frame of every clip looks like the source's frame of that time."""
    for clip in found:
        if isinstance(clip, FoundClip):
            first = round(clip.start_us / 100_000)
            for number, frame in enumerate(decode_clip(clip.data)):
                assert difference(frame, originals[first + number]) < 10


def test_a_truncated_file_gives_its_clips_and_then_says_where_it_broke(tmp_path):
    found, error = broken_pieces(truncated(write_faststart(tmp_path / "a.mp4", 80), 0.5))
    assert error.reason == "damaged"
    assert spans(found)[0] == (0, 2_000_000)
    end = found[-1].end_us / 1e6
    assert 3 <= end <= 4.5
    assert f"{end + 0.1:.2f} s" in str(error)
    whole_frames(found, moving_frames(80))


def test_a_piece_too_short_at_the_damage_is_dropped(tmp_path):
    settings = SETTINGS.model_copy(update={"min_duration": 1.9})
    found, _ = broken_pieces(truncated(write_faststart(tmp_path / "a.mp4", 80), 0.5), settings)
    assert spans(found) == [(0, 2_000_000)]
    assert dropped(found)[0][:2] == ("min_duration", 2_000_000)


# Smaller holes may decode without complaint, as other pictures: nobody can tell.
@pytest.mark.parametrize(
    ("container", "hole"),
    [("mp4", (0.5, 0.55)), ("mp4", (0.5, 0.8)), ("matroska", (0.5, 0.55)), ("mpegts", (0.5, 0.55))],
)
def test_damage_in_the_middle_is_left_out_to_the_next_key_frame(tmp_path, hole, container):
    path = write_video(
        tmp_path / "a",
        moving_frames(80),
        container=container,
        codec_options={"g": "10", "crf": "10"},
        container_options={"movflags": "+faststart"} if container == "mp4" else None,
    )
    found = pieces(overwritten(path, *hole))
    damage = [piece for piece in found if isinstance(piece, DroppedClip) and piece.reason == "damaged"]
    assert len(damage) == 1
    assert damage[0].value == (damage[0].end_us - damage[0].start_us) / 1e6 > 0
    # Clips begin again at a key frame, every 10 frames.
    assert damage[0].end_us % 1_000_000 == 0
    assert found[-1].end_us == 8_000_000
    whole_frames(found, moving_frames(80))


def test_damage_to_the_end_is_an_error(tmp_path):
    found, error = broken_pieces(overwritten(write_faststart(tmp_path / "a.mp4", 80), 0.97, 0.99))
    assert error.reason == "damaged"
    whole_frames(found, moving_frames(80))


def test_endless_files_are_left(tmp_path):
    settings = SETTINGS.model_copy(update={"read": ReadSettings(max_source_seconds=2.5)})
    found, error = broken_pieces(write_video(tmp_path / "a.mp4", moving_frames(60)), settings)
    assert (error.reason, spans(found)) == ("too_long", [(0, 2_000_000)])
    assert "2.5 s" in str(error)


def test_one_frame_is_no_clip(tmp_path):
    assert dropped(pieces(write_video(tmp_path / "a.mp4", moving_frames(1), container="mp4"))) == [
        ("min_duration", 0, 100_000)
    ]


def test_clips_come_one_at_a_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(60))
    clips = normalise(path, probe(path, SETTINGS.media), SETTINGS)
    assert next(clips).start_us == 0
    clips.close()


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 96), (128, 96)), ((333, 251), (126, 96)), ((129, 97), (128, 96))]
)
def test_an_image_is_one_clip(tmp_path, size, expected):
    settings = SETTINGS.model_copy(update={"max_short_side": 96})
    image = moving_frames(1, width=size[0], height=size[1])[0]
    found = pieces(write_image(tmp_path / "a.png", image), settings)
    assert len(found) == 1
    clip = found[0]
    assert (clip.kind, clip.start_us, clip.end_us, clip.fps, clip.num_frames) == ("image", 0, 0, None, 1)
    assert (clip.width, clip.height) == expected
    assert clip.data.startswith(b"\xff\xd8")
    assert decode_clip(clip.data)[0].shape == (expected[1], expected[0], 3)
    assert clip.motion == 0


def test_small_images_are_dropped_and_broken_ones_are_errors(tmp_path):
    image = moving_frames(1)[0]
    small = pieces(write_image(tmp_path / "a.png", image[:50]))
    assert [(piece.reason, piece.value) for piece in small] == [("min_short_side", 50)]
    found, error = broken_pieces(truncated(write_image(tmp_path / "b.png", image), 0.5))
    assert (found, error.reason) == ([], "decode_error")
    found, error = broken_pieces(truncated(write_image(tmp_path / "c.jpg", image, "JPEG"), 0.5))
    assert (found, error.reason) == ([], "decode_error")


def test_first_frame_of_a_clip_becomes_an_image(tmp_path):
    clip = pieces(write_video(tmp_path / "a.mp4", moving_frames(50)))[1]
    image = image_from_clip(clip)
    assert (image.kind, image.start_us, image.end_us, image.num_frames, image.fps) == (
        "image",
        2000000,
        2000000,
        1,
        None,
    )
    assert (image.width, image.height, image.keyframe_hash) == (clip.width, clip.height, clip.keyframe_hash)
    assert difference(decode_clip(image.data)[0], decode_clip(clip.data)[0]) < 5
    assert image == image_from_clip(clip)


def test_settings_that_contradict_are_refused():
    with pytest.raises(ValidationError, match="max_duration 3 s is below min_duration 5 s"):
        NormaliseSettings(max_duration=3)
    with pytest.raises(ValidationError):
        NormaliseSettings(max_short_side=719)


def test_real_clip(shared_data):
    path = shared_data / "clips" / "bedroom.mp4"
    assert [piece.reason for piece in pieces(path, NormaliseSettings())] == ["min_short_side"]
    found = pieces(path, NormaliseSettings(min_short_side=540, max_short_side=180))
    assert [(clip.start_us, clip.end_us, clip.width, clip.height) for clip in found] == [(0, 6_666_667, 320, 180)]
    original = decode_clip(path.read_bytes(), long_side=320, indices=[120])[0]
    assert difference(decode_clip(found[0].data, indices=[120])[0], original) < 3


def test_an_interval_cuts_nothing_outside_it(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(40))
    read = probe(path, SETTINGS.media)
    found = list(normalise(path, read, SETTINGS, (1_000_000, 2_500_000)))
    assert spans(found) == [(1_000_000, 2_500_000)]
    whole = list(normalise(path, read, SETTINGS))
    same = decode_clip(whole[0].data)[10]
    assert difference(decode_clip(found[0].data)[0], same) < 3
    assert spans(normalise(path, read, SETTINGS, (3_000_000, None))) == [(3_000_000, 4_000_000)]
