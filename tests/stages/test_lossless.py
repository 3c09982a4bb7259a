from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from filled_memory import outputs_in_filled_memory
from media_files import moving_frames

from stages.lossless import write_lossless

WRITE = """
import io, sys
from media_files import moving_frames
from stages.lossless import write_lossless

for pictures in (moving_frames(8, height=90, width=162), [frame[..., 0] for frame in moving_frames(8)]):
    target = io.BytesIO()
    write_lossless(target, pictures, 7.5)
    sys.stdout.buffer.write(target.getvalue())
"""


@pytest.mark.parametrize("size", [(51, 67), (96, 128)])
@pytest.mark.parametrize("kind", ["rgb24", "gray"])
def test_every_pixel_comes_back(size: tuple[int, int], kind: str, tmp_path: Path) -> None:
    pictures = moving_frames(5, height=size[0], width=size[1])
    if kind == "gray":
        pictures = [picture[..., 1] for picture in pictures]
    write_lossless(tmp_path / "a.mkv", pictures, 30000 / 1001)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
        back = [frame.to_ndarray(format=kind) for frame in container.decode(video=0)]
    assert len(back) == 5
    assert all(np.array_equal(one, other) for one, other in zip(back, pictures, strict=True))


def test_other_readers_see_a_mask_as_black_and_white(tmp_path: Path) -> None:
    masks = [np.where(frame[..., 0] > 127, np.uint8(255), np.uint8(0)) for frame in moving_frames(3)]
    write_lossless(tmp_path / "m.mkv", masks, 10)
    video = cv2.VideoCapture(str(tmp_path / "m.mkv"))
    for mask in masks:
        read, picture = video.read()
        assert read
        assert np.array_equal(picture, np.repeat(mask[..., None], 3, axis=2))
    assert not video.read()[0]


def test_equal_pictures_give_equal_bytes_in_memory_and_in_a_file(tmp_path: Path) -> None:
    target = io.BytesIO()
    write_lossless(target, moving_frames(4), 10)
    write_lossless(tmp_path / "a.mkv", iter(moving_frames(4)), 10)
    assert target.getvalue() == (tmp_path / "a.mkv").read_bytes()
    one, other = outputs_in_filled_memory(WRITE)
    assert one == other


def test_no_pictures_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        write_lossless(tmp_path / "a.mkv", [], 10)
