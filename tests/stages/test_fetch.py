"""One source as a local file, checked against what was listed."""

from __future__ import annotations

import dataclasses
import io
import os
import tarfile
import uuid
from pathlib import Path

import fsspec
import pytest

from stages.fetch import FetchSettings, SourceChanged, SourceMissing, SourceUnreadable, open_local
from stages.listing import Listing, ListingSettings, Source, list_sources

DATA = bytes(range(256)) * 20
SMALL_CHUNKS = FetchSettings(chunk_bytes=512)


def listed(*inputs: object) -> Listing:
    return list_sources([str(one) for one in inputs], ListingSettings())


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def fetch(listing: Listing, scratch: Path, source: Source | None = None) -> bytes:
    with open_local(source or listing.sources[0], listing.roots, scratch, SMALL_CHUNKS) as path:
        return path.read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clips" / "-a b.mp4"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


@pytest.fixture
def stored() -> str:
    url = f"memory://{uuid.uuid4().hex}/a.mp4"
    with fsspec.open(url, "wb") as stream:
        stream.write(DATA)
    return url


def test_local_file_is_used_in_place(clip: Path, scratch: Path) -> None:
    listing = listed(clip.parent)
    with open_local(listing.sources[0], listing.roots, scratch) as path:
        assert path == clip
    assert clip.read_bytes() == DATA
    assert not scratch.exists()


def test_stored_file_is_copied_and_removed(stored: str, scratch: Path) -> None:
    listing = listed(stored)
    with open_local(listing.sources[0], listing.roots, scratch, SMALL_CHUNKS) as path:
        assert path.parent == scratch
        assert path.suffix == ".mp4"
        assert path.read_bytes() == DATA
    assert list(scratch.iterdir()) == []


def test_scratch_is_emptied_when_the_reader_fails(stored: str, scratch: Path) -> None:
    listing = listed(stored)
    with (
        pytest.raises(RuntimeError, match="decoder"),
        open_local(listing.sources[0], listing.roots, scratch),
    ):
        raise RuntimeError("decoder")
    assert list(scratch.iterdir()) == []


def test_one_source_may_be_open_twice(stored: str, scratch: Path) -> None:
    listing = listed(stored)
    source = listing.sources[0]
    with open_local(source, listing.roots, scratch) as first, open_local(source, listing.roots, scratch) as second:
        assert first != second
        assert first.read_bytes() == second.read_bytes() == DATA


@pytest.mark.parametrize("where", ["local", "store"])
def test_tar_member(tmp_path: Path, scratch: Path, where: str) -> None:
    place = str(make_tar(tmp_path / "s.tar", {"x/a.mp4": DATA, "b.mp4": b"", "c.jpg": b"image"}))
    if where == "store":
        url = f"memory://{uuid.uuid4().hex}/s.tar"
        with fsspec.open(url, "wb") as stream:
            stream.write(Path(place).read_bytes())
        place = url
    listing = listed(place)
    assert [source.path for source in listing.sources] == ["s.tar!b.mp4", "s.tar!c.jpg", "s.tar!x/a.mp4"]
    assert [fetch(listing, scratch, source) for source in listing.sources] == [b"", b"image", DATA]
    assert list(scratch.iterdir()) == []


def test_changed_size_or_time(clip: Path, scratch: Path) -> None:
    listing = listed(clip)
    status = clip.stat()
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SourceChanged, match=r"clips/-a b\.mp4 changed since it was listed: its modification time"):
        fetch(listing, scratch)
    clip.write_bytes(DATA + b"+")
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChanged, match=f"its size was {len(DATA)} and is {len(DATA) + 1}"):
        fetch(listing, scratch)


def test_times_and_tags_that_were_not_listed_are_not_compared(clip: Path, scratch: Path) -> None:
    listing = listed(clip)
    os.utime(clip, ns=(0, 0))
    untimed = dataclasses.replace(listing.sources[0], mtime_ns=None)
    assert fetch(listing, scratch, untimed) == DATA


def test_replaced_object_of_the_same_size(stored: str, scratch: Path) -> None:
    listing = listed(stored)
    with fsspec.open(stored, "wb") as stream:
        stream.write(DATA[::-1])
    with pytest.raises(SourceChanged, match="entity tag"):
        fetch(listing, scratch)
    assert not scratch.exists()


def test_object_replaced_while_it_is_read(stored: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = listed(stored)
    store_class = type(fsspec.filesystem("memory"))
    plain_open = store_class.open

    def open_then_replace(self, path, *args, **kwargs):
        stream = io.BytesIO(plain_open(self, path, "rb").read())
        with plain_open(self, path, "wb") as target:
            target.write(DATA[::-1])
        return stream

    monkeypatch.setattr(store_class, "open", open_then_replace)
    with pytest.raises(SourceChanged):
        fetch(listing, scratch)
    assert list(scratch.iterdir()) == []


def test_gone(clip: Path, stored: str, scratch: Path) -> None:
    local, store = listed(clip), listed(stored)
    clip.unlink()
    fsspec.filesystem("memory").rm(stored)
    for listing in (local, store):
        with pytest.raises(SourceMissing, match="is gone"):
            fetch(listing, scratch)


def test_changed_archive_and_missing_member(tmp_path: Path, scratch: Path) -> None:
    path = make_tar(tmp_path / "s.tar", {"a.mp4": DATA, "b.mp4": b"b"})
    listing = listed(path)
    assert fetch(listing, scratch) == DATA
    make_tar(path, {"a.mp4": DATA[:-1]})
    with pytest.raises(SourceChanged, match="modification time"):
        fetch(listing, scratch)
    shorter, gone = (dataclasses.replace(source, mtime_ns=None) for source in listing.sources)
    with pytest.raises(SourceChanged, match=f"its size was {len(DATA)} and is {len(DATA) - 1}"):
        fetch(listing, scratch, shorter)
    with pytest.raises(SourceMissing, match="no such member"):
        fetch(listing, scratch, gone)


def test_file_swapped_for_a_link_out_of_the_root(clip: Path, tmp_path: Path, scratch: Path) -> None:
    listing = listed(clip)
    status = clip.stat()
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(DATA)
    os.utime(outside, ns=(status.st_atime_ns, status.st_mtime_ns))
    clip.unlink()
    clip.symlink_to(outside)
    with pytest.raises(SourceUnreadable, match="leads out of its root"):
        fetch(listing, scratch)


def test_folder_swapped_for_a_link_out_of_the_root(tmp_path: Path, scratch: Path) -> None:
    for folder in ("root/sub", "outside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.mp4").write_bytes(DATA)
        os.utime(tmp_path / folder / "a.mp4", ns=(0, 0))
    listing = listed(tmp_path / "root")
    (tmp_path / "root" / "sub").rename(tmp_path / "was")
    (tmp_path / "root" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceUnreadable, match="leads out of its root"):
        fetch(listing, scratch)


@pytest.mark.parametrize("path", ["../outside.mp4", "/etc/passwd", "a\0.mp4", "memory://x/y.mp4"])
def test_a_forged_source_never_leaves_the_root(clip: Path, stored: str, scratch: Path, path: str) -> None:
    for listing in (listed(clip), listed(stored)):
        with pytest.raises(SourceUnreadable):
            fetch(listing, scratch, dataclasses.replace(listing.sources[0], path=path))


def test_unreadable(clip: Path, stored: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local, store = listed(clip), listed(stored)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SourceUnreadable, match="permission denied"):
        fetch(local, scratch)

    def refuse(*_args, **_kwargs):
        raise RuntimeError("connection reset")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", refuse)
    with pytest.raises(SourceUnreadable, match="connection reset"):
        fetch(store, scratch)
    assert list(scratch.iterdir()) == []


def test_full_disk_is_not_the_fault_of_the_source(stored: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = listed(stored)

    class FullDisk(io.BytesIO):
        def write(self, _data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_args, **_kwargs: FullDisk())
    with pytest.raises(OSError, match="No space left"):
        fetch(listing, scratch)
    monkeypatch.undo()
    assert list(scratch.iterdir()) == []


def test_unknown_root_is_named(clip: Path, scratch: Path) -> None:
    listing = listed(clip)
    with (
        pytest.raises(ValueError, match="among the known roots: other"),
        open_local(listing.sources[0], {"other": "/"}, scratch),
    ):
        pass


def test_what_a_store_remembers_does_not_hide_a_change(
    stored: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_class = type(fsspec.filesystem("memory"))
    plain_info = store_class.info
    remembered: dict[str, dict[str, object]] = {}

    def remembering_info(self, path, **kwargs):
        return remembered.setdefault(path, plain_info(self, path, **kwargs))

    monkeypatch.setattr(store_class, "info", remembering_info)
    monkeypatch.setattr(store_class, "invalidate_cache", lambda *_args, **_kwargs: remembered.clear())
    listing = listed(stored)
    assert fetch(listing, scratch) == DATA
    with fsspec.open(stored, "wb") as stream:
        stream.write(DATA[::-1])
    with pytest.raises(SourceChanged, match="entity tag"):
        fetch(listing, scratch)
    assert not list(scratch.iterdir())
