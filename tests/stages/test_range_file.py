from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from media_files import moving_frames, write_video

from manifests.storage import StorageError
from stages.media import decode_clip
from stages.range_file import SMALL, RangeFile

DATA = bytes(range(256)) * 4 * (SMALL // 1024 + 1)


class Source:
    """Bytes that note what is fetched of them, and fail from the `fail_at`-th fetch on."""

    def __init__(self, data: bytes = DATA, error: Exception | None = None, fail_at: int = 0) -> None:
        self.data, self.error, self.fail_at = data, error, fail_at
        self.asked: list[tuple[int, int]] = []

    def fetch(self, offset: int, size: int) -> bytes:
        assert size > 0
        assert offset + size <= len(self.data)
        self.asked.append((offset, size))
        if self.error is not None and len(self.asked) > self.fail_at:
            raise self.error
        return self.data[offset : offset + size]


def opened(source: Source, block: int = 1000) -> RangeFile:
    return RangeFile(source.fetch, len(source.data), block)


def test_reads_fetch_blocks_and_no_byte_twice() -> None:
    source = Source()
    file = opened(source)
    assert file.read(10) == DATA[:10]
    assert file.read(10) == DATA[10:20]
    assert source.asked == [(0, 1000)]
    # What is there comes first, as of a pipe.
    assert file.read(2000) == DATA[20:1000]
    assert file.read(2000) == DATA[1000:3000]
    file.seek(2500)
    assert file.read(10) == DATA[2500:2510]
    assert source.asked == [(0, 1000), (1000, 2000)]
    file.seek(4500)
    assert file.read(1) == DATA[4500:4501]
    # Up to what is there already.
    file.seek(4000)
    assert file.readall() == DATA[4000:]
    assert source.asked[2:] == [(4500, 1000), (4000, 500), (5500, len(DATA) - 5500)]


def test_an_expected_range_is_one_fetch() -> None:
    source = Source()
    file = opened(source)
    file.expect(3000, 9000)
    file.read(1)
    file.seek(4000)
    while file.tell() < 9000:
        assert file.read(300)
    assert source.asked == [(0, 1000), (4000, 5000)]
    file.expect(8000, 10 * len(DATA))
    assert file.read(1) == DATA[9000:9001]
    assert source.asked[2:] == [(9000, len(DATA) - 9000)]


def test_a_small_file_is_one_fetch() -> None:
    source = Source(DATA[:SMALL])
    file = opened(source)
    file.seek(-100, io.SEEK_END)
    assert file.read(1000) == source.data[-100:]
    file.seek(0)
    assert file.read() == source.data
    assert len(source.asked) == 2
    source = Source(DATA[:SMALL])
    opened(source).read(3)
    assert source.asked == [(0, SMALL)]


def test_ends_and_places() -> None:
    file = opened(Source(DATA[:50]))
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    assert file.seek(0, io.SEEK_END) == 50
    assert (file.read(1), file.read()) == (b"", b"")
    assert file.seek(-20, io.SEEK_CUR) == 30 == file.tell()
    assert file.read() == DATA[30:50]
    assert file.seek(70) == 70
    assert file.read(5) == b""
    with pytest.raises(ValueError, match="byte -1 is before"):
        file.seek(-51, io.SEEK_END)
    assert opened(Source(b"")).read(3) == b""


def test_after_an_error_the_file_is_over_and_its_context_raises() -> None:
    source = Source(error=StorageError("the disk is gone"), fail_at=1)

    def read_on() -> None:
        with opened(source) as file:
            file.read(10)
            file.seek(5000)
            with contextlib.suppress(StorageError):
                file.read(10)
            # As FFmpeg may do.
            assert file.read(10) == b""

    with pytest.raises(StorageError, match="the disk is gone"):
        read_on()
    assert len(source.asked) == 2


def decode_frame_35(source: Source) -> np.ndarray:
    with opened(source) as file:
        file.expect(0, 0)
        return decode_clip(file, indices=[35])[0]


@pytest.mark.parametrize("error", [StorageError("the disk is gone"), FileNotFoundError(2, "No such file")])
def test_an_error_of_the_store_rises_through_ffmpeg(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    frames = moving_frames(40, width=256, height=192)
    data = write_video(tmp_path / "clip.mp4", frames, codec_options={"qp": "2"}).read_bytes()
    fetches = Source(data)
    expected = decode_frame_35(fetches)
    assert len(fetches.asked) > 2
    for fail_at in range(len(fetches.asked)):
        source = Source(data, error, fail_at)
        with pytest.raises(type(error)) as raised:
            decode_frame_35(source)
        assert raised.value is error
        assert len(source.asked) == fail_at + 1
        # Nothing of it is left behind in FFmpeg's callbacks.
        assert np.array_equal(decode_frame_35(Source(data)), expected)
    assert capfd.readouterr().err == ""
