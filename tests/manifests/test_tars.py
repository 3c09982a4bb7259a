"""Tars: equal bytes for equal members, readable by everything that reads tars, exact byte ranges."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.storage import StorageError
from manifests.tars import TarWriter, read_tar, write_tar

MEMBERS = [
    ("0123456789abcdef.mp4", bytes(range(256)) * 5),
    ("0123456789abcdef.track-00.json.gz", b""),
    ("0123456789abcdef.json", b"{}"),
    ("fedcba9876543210.jpg", b"x" * 512),
    ("fedcba9876543210.json", b"y" * 513),
]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_tar(tmp_path / "part.tar", MEMBERS)
    return tmp_path / "part.tar"


def test_equal_members_give_equal_bytes(shard: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setenv("USER", "somebody")
    write_tar(tmp_path / "elsewhere.tar", MEMBERS)
    assert (tmp_path / "elsewhere.tar").read_bytes() == shard.read_bytes()


def test_headers_hold_nothing_of_the_machine(shard: Path):
    with tarfile.open(shard) as tar:
        headers = tar.getmembers()
    assert [header.name for header in headers] == [name for name, _ in MEMBERS]
    facts = {(header.mtime, header.uid, header.gid, header.uname, header.gname, header.mode) for header in headers}
    assert facts == {(0, 0, 0, "", "", 0o644)}
    assert all(header.isreg() for header in headers)


def test_byte_ranges_hold_exactly_the_data(tmp_path: Path):
    members = write_tar(tmp_path / "part.tar", MEMBERS)
    data = (tmp_path / "part.tar").read_bytes()
    assert list(members) == [name for name, _ in MEMBERS]
    for name, content in MEMBERS:
        member = members[name]
        assert (member.name, member.size) == (name, len(content))
        assert data[member.offset : member.offset + member.size] == content
    with tarfile.open(tmp_path / "part.tar") as tar:
        assert {info.name: info.offset_data for info in tar} == {m.name: m.offset for m in members.values()}


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text("abcdé-_.0123456789", min_size=1, max_size=12).filter(lambda name: name.strip("."))
        | st.text("abc", min_size=90, max_size=100)
        | st.tuples(st.text("abc", min_size=60, max_size=90), st.text("abc", min_size=60, max_size=90)).map("/".join),
        st.binary(max_size=1500),
        max_size=5,
    )
)
def test_any_members_come_back_and_lie_where_it_says(contents: dict[str, bytes]):
    with pytest.MonkeyPatch.context() as patch:
        sink = io.BytesIO()
        real_open = tarfile.open
        patch.setattr("tarfile.open", lambda _path, mode, **more: real_open(fileobj=sink, mode=mode, **more))
        members = write_tar(Path("folder/part.tar"), contents.items())
    data = sink.getvalue()
    assert read_tar(data) == contents
    assert {name: data[m.offset : m.offset + m.size] for name, m in members.items()} == contents


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar command here")
def test_the_tar_command_lists_and_unpacks_it(shard: Path, tmp_path: Path):
    listed = subprocess.run(["tar", "tf", str(shard)], capture_output=True, text=True, check=True).stdout
    assert listed.split() == [name for name, _ in MEMBERS]
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xf", str(shard), "-C", str(tmp_path / "unpacked"), "--no-same-owner"], check=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "unpacked").iterdir()} == dict(MEMBERS)


def test_webdataset_groups_the_members_by_clip(shard: Path):
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["0123456789abcdef", "fedcba9876543210"]
    assert samples[0]["mp4"] == MEMBERS[0][1]
    assert samples[0]["track-00.json.gz"] == b""
    assert samples[1]["jpg"] == MEMBERS[3][1]
    assert samples[1]["json"] == MEMBERS[4][1]


def test_a_repeated_name_is_refused_and_what_came_before_stays(tmp_path: Path):
    with TarWriter(tmp_path / "part.tar") as tar:
        tar.add("a", b"1")
        with pytest.raises(ValueError, match="already has a member a"):
            tar.add("a", b"2")
        tar.add("b", b"3")
    assert read_tar((tmp_path / "part.tar").read_bytes()) == {"a": b"1", "b": b"3"}


def test_an_empty_tar_is_a_tar(tmp_path: Path):
    assert write_tar(tmp_path / "part.tar", []) == {}
    assert read_tar((tmp_path / "part.tar").read_bytes()) == {}


def test_reading_takes_regular_members_only():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert read_tar(buffer.getvalue()) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_sentence():
    with pytest.raises(StorageError, match="cannot write to /dev: No space left on device; free some space"):  # noqa: SIM117
        with TarWriter(Path("/dev/full")) as tar:
            tar.add("a", bytes(1 << 20))


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path):
    with pytest.raises(StorageError, match="gone: No such file or directory"):
        TarWriter(tmp_path / "gone" / "part.tar")
