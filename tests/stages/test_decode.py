"""Decoding from a byte range, and the check against the clip's row."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_work import clip_row, context_in, image_row, work_of
from tiny_dataset import moving_square, write_clip

from stages.decode import Decode
from stages.media import MediaError, encode_image
from stages.stage import NoSettings
from stages.work import ClipWork, Location

BEFORE, AFTER = b"before " * 99, b" after" * 99


def decode(record: ClipWork, folder: Path, data: bytes) -> None:
    """Run the stage on a clip that lies in the middle of a file."""
    (folder / "clips.tar").write_bytes(BEFORE + data + AFTER)
    record.location = Location("clips.tar", len(BEFORE), len(data))
    stage = Decode(NoSettings())
    stage.setup(context_in(folder))
    stage.prepare(record)
    stage.run([record])


def test_a_video_and_an_image_are_read_from_their_byte_ranges(tmp_path: Path) -> None:
    video, image = work_of(clip_row()), work_of(image_row())
    decode(video, tmp_path, write_clip(tmp_path / "clip.mp4", 1).read_bytes())
    assert len(video.decoded()) == 12
    decode(image, tmp_path, encode_image(moving_square(1)[7]))
    (picture,) = image.decoded()
    for frame, truth in ((video.decoded()[7], moving_square(1)[7]), (picture, moving_square(1)[7])):
        assert np.abs(frame.astype(int) - truth).mean() < 6


def test_a_clip_that_is_not_what_its_row_says_is_refused(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.mp4", 1, frames=5).read_bytes()
    row = clip_row(num_frames=5)
    decode(work_of(row), tmp_path, data)
    for wrong in (replace(row, num_frames=6), replace(row, width=64, height=96)):
        says = f"decodes to 5 frames of 96×64, its row says {wrong.num_frames} of {wrong.width}×{wrong.height}"
        with pytest.raises(MediaError, match=re.escape(says)):
            decode(work_of(wrong), tmp_path, data)
