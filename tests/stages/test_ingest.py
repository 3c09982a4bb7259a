from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media_files import moving_frames, truncated, write_faststart, write_image, write_scenes, write_video
from small_work import context_in

from manifests.ids import clip_id
from stages.ingest import Ingest, IngestSettings
from stages.listing import ListingSettings, list_sources
from stages.media import decode_clip
from stages.work import SourceWork

TINY = {"normalise": {"min_short_side": 64, "max_short_side": 96, "min_duration": 1, "max_duration": 2}}


def ingested(path: Path, image_fraction: float = 0.0, **changes: object) -> SourceWork:
    """What becomes of one file."""
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    listing = list_sources([str(path)], ListingSettings())
    (source,) = listing.sources
    stage = Ingest(IngestSettings.model_validate({**TINY, "image_fraction": image_fraction}))
    stage.setup(context_in(scratch, roots=listing.roots))
    work = SourceWork(source.source_id, replace(source, **changes))
    stage.run([work])
    return work


def clip_rejects(work: SourceWork) -> list[tuple[str, str]]:
    return [(reject.id, reject.reason) for reject in work.rejects if reject.level == "clip"]


def test_a_clip_has_its_row_and_its_bytes(tmp_path: Path) -> None:
    frames = moving_frames(15)
    path = write_video(tmp_path / "a.mp4", frames)
    work = ingested(path, caption="a square", licence="CC0", group="g")
    (clip,) = work.clips
    row = clip.row
    assert row.clip_id == clip_id(work.source.root, "a.mp4", 0, 1_500_000, "video", "source")
    assert (row.source_id, row.group, row.caption, row.licence) == (work.id, "g", "a square", "CC0")
    assert (row.kind, row.width, row.height, row.fps, row.num_frames) == ("video", 128, 96, 10.0, 15)
    assert row.member == f"{row.clip_id}.mp4"
    data = clip.file.read_bytes()
    assert row.size == len(data)
    assert np.abs(decode_clip(data)[7].astype(int) - frames[7]).mean() < 10
    assert (work.state, work.rejects) == ("kept", [])


def test_pieces_too_short_are_named(tmp_path: Path) -> None:
    work = ingested(write_scenes(tmp_path / "a.mp4", [15, 5, 12]))
    assert [(clip.row.start_us, clip.row.end_us) for clip in work.clips] == [(0, 1_500_000), (2_000_000, 3_200_000)]
    name = clip_id(work.source.root, "a.mp4", 1_500_000, 2_000_000, "video", "source")
    assert clip_rejects(work) == [(name, "min_duration")]
    assert work.state == "kept"


def test_a_dull_clip_is_named_with_its_share_and_threshold(tmp_path: Path) -> None:
    frames = [*moving_frames(15), *[moving_frames(1, seed=1)[0]] * 15]
    work = ingested(write_video(tmp_path / "a.mp4", frames))
    assert [(clip.row.start_us, clip.row.end_us) for clip in work.clips] == [(0, 1_500_000)]
    (reject,) = work.rejects
    assert reject.id == clip_id(work.source.root, "a.mp4", 1_500_000, 3_000_000, "video", "source")
    assert (reject.level, reject.stage, reject.state, reject.reason) == ("clip", "ingest", "filtered", "frozen")
    assert (reject.value, reject.threshold) == (1.0, 0.98)
    assert reject.message == "100% of the frames show the same still picture, at least 98%."


def test_a_source_of_dull_clips_alone_is_filtered(tmp_path: Path) -> None:
    work = ingested(write_video(tmp_path / "a.mp4", [moving_frames(1)[0]] * 15))
    assert (work.clips, work.state) == ([], "filtered")
    assert [reason for _, reason in clip_rejects(work)] == ["frozen"]


def test_the_image_subset_takes_first_frames(tmp_path: Path) -> None:
    work = ingested(write_video(tmp_path / "a.mp4", moving_frames(15)), image_fraction=1)
    (clip,) = work.clips
    assert (clip.row.kind, clip.row.num_frames, clip.row.fps) == ("image", 1, None)
    assert clip.row.clip_id == clip_id(work.source.root, "a.mp4", 0, 0, "image", "source")
    assert clip.row.member.endswith(".jpg")
    assert clip.file.read_bytes().startswith(b"\xff\xd8")


def test_a_black_first_frame_is_no_image_but_its_video_is_kept(tmp_path: Path) -> None:
    # In grey: colours that come out of black all at once are a cut.
    grey = [frame.mean(axis=2, keepdims=True).repeat(3, 2) for frame in moving_frames(20)]
    fading = [(frame * min(1.0, number / 16)).astype(np.uint8) for number, frame in enumerate(grey)]
    path = write_video(tmp_path / "a.mp4", fading)
    assert [clip.row.kind for clip in ingested(path).clips] == ["video"]
    work = ingested(path, image_fraction=1)
    assert work.clips == []
    assert clip_rejects(work) == [(clip_id(work.source.root, "a.mp4", 0, 0, "image", "source"), "black")]


@pytest.mark.parametrize(("level", "reason"), [(3, "black"), (200, "blank")])
def test_an_empty_image_is_left_out(tmp_path: Path, level: int, reason: str) -> None:
    work = ingested(write_image(tmp_path / "a.png", np.full((96, 128, 3), level, np.uint8)))
    assert [found for _, found in clip_rejects(work)] == [reason]
    assert work.state == "filtered"


def test_a_damaged_source_keeps_its_clips_and_fails_with_a_reason(tmp_path: Path) -> None:
    work = ingested(truncated(write_faststart(tmp_path / "a.mp4", 80), 0.5))
    assert work.state == "kept"
    assert work.clips
    (failed,) = [reject for reject in work.rejects if reject.level == "source"]
    assert (failed.id, failed.state, failed.reason) == (work.id, "failed", "damaged")


def test_a_source_that_is_gone_fails(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(15))
    work = ingested(path, size=path.stat().st_size + 1)
    assert (work.state, [reject.reason for reject in work.rejects]) == ("failed", ["changed"])
