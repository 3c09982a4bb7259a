"""What the user names becomes one sorted, safe list of sources."""

from __future__ import annotations

import io
import json
import os
import tarfile
import unicodedata
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.ids import source_id
from stages.listing import Listing, ListingSettings, list_sources

SETTINGS = ListingSettings()


def put(path: Path, data: bytes = b"media") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(*inputs: object) -> Listing:
    return list_sources([str(one) for one in inputs], SETTINGS)


def paths(*inputs: object) -> list[str]:
    return [source.path for source in listed(*inputs).sources]


def reasons(listing: Listing) -> dict[str, str]:
    return {refused.path: refused.reason for refused in listing.refused}


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    put(folder / "b.mp4", b"bb")
    put(folder / "sub" / "a.MOV", b"aaa")
    put(folder / "sub" / "still.JPG")
    put(folder / "notes.md")
    put(folder / ".hidden.mp4")
    put(folder / ".cache" / "c.mp4")
    return folder


@pytest.fixture
def bucket() -> str:
    """A fresh folder in the in-memory store, which all tests share."""
    return f"memory://{uuid.uuid4().hex}"


def put_url(url: str, data: bytes = b"media") -> None:
    with fsspec.open(url, "wb") as stream:
        stream.write(data)


# ---- folders


def test_folder_is_walked_sorted_and_counted(clips: Path) -> None:
    listing = listed(clips)
    assert [source.path for source in listing.sources] == ["b.mp4", "sub/a.MOV", "sub/still.JPG"]
    assert listing.ignored == 1
    assert listing.refused == ()
    assert listing.roots == {"clips": str(clips)}
    first = listing.sources[0]
    assert (first.root, first.size, first.etag) == ("clips", 2, None)
    assert first.mtime_ns == (clips / "b.mp4").stat().st_mtime_ns
    assert first.source_id == source_id("clips", "b.mp4")


def test_order_does_not_depend_on_the_disk(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = listed(clips)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Backwards)
    assert listed(clips) == plain


def test_empty_folder_gives_an_empty_list(tmp_path: Path) -> None:
    listing = listed(tmp_path)
    assert (listing.sources, listing.refused, listing.ignored) == ((), (), 0)


def test_folder_named_like_a_video_is_walked(tmp_path: Path) -> None:
    put(tmp_path / "x.mp4" / "inside.mp4")
    assert paths(tmp_path) == ["x.mp4/inside.mp4"]


def test_odd_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["-rf.mp4", "a b.mp4", 'it\'s "x".mp4', "two\nlines.mp4", "50%#1?.mp4"]
    names += [unicodedata.normalize(form, "é.mp4") for form in ("NFC", "NFD")]
    for name in names:
        put(tmp_path / name)
    assert paths(tmp_path) == sorted(names)


def test_names_no_manifest_can_hold_are_refused(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"bad\xff.mp4"))
    put(tmp_path / os.fsdecode(b"dir\xfe") / "a.mp4")
    put(tmp_path / "x.tar!y.mp4")
    listing = listed(tmp_path)
    assert listing.sources == ()
    assert reasons(listing) == {"bad\\xff.mp4": "bad_name", "dir\\xfe": "bad_name", "x.tar!y.mp4": "bad_name"}
    for refused in listing.refused:
        (refused.path + refused.message).encode("utf-8")


def test_pipes_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reasons(listed(tmp_path)) == {"pipe.mp4": "not_a_file"}


def test_unreadable_file_and_folder_are_refused(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access, scandir = os.access, os.scandir

    def guarded_scandir(path):
        if str(path).endswith("/sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("b.mp4") and access(path, mode))
    monkeypatch.setattr(os, "scandir", guarded_scandir)
    listing = listed(clips)
    assert listing.sources == ()
    assert reasons(listing) == {"b.mp4": "unreadable", "sub": "unreadable"}


# ---- links


def test_links_inside_the_root_give_each_file_once_under_its_plain_name(clips: Path) -> None:
    (clips / "a_link.mp4").symlink_to("b.mp4")
    (clips / "a_folder").symlink_to("sub")
    (clips / "sub" / "loop").symlink_to("..")
    assert paths(clips) == ["b.mp4", "sub/a.MOV", "sub/still.JPG"]


def test_link_to_a_hidden_folder_of_the_root_is_followed(clips: Path) -> None:
    (clips / "shown").symlink_to(".cache")
    assert "shown/c.mp4" in paths(clips)


def test_links_out_of_the_root_are_refused(clips: Path, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret" / "s.mp4")
    # A sibling whose name begins like the root's.
    put(tmp_path / "clips2" / "t.mp4")
    (clips / "file.mp4").symlink_to(secret)
    (clips / "folder").symlink_to(secret.parent)
    (clips / "near").symlink_to(tmp_path / "clips2")
    listing = listed(clips)
    assert reasons(listing) == {"file.mp4": "outside_root", "folder": "outside_root", "near": "outside_root"}
    assert len(listing.sources) == 3


def test_dead_links_are_missing(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    assert reasons(listed(tmp_path)) == {"gone.mp4": "missing", "self.mp4": "missing"}


def test_a_root_may_itself_be_a_link(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("clips")
    listing = listed(tmp_path / "current")
    assert listing.roots == {"current": str(clips)}
    assert len(listing.sources) == 3


# ---- single files, patterns, aliases


def test_a_file_named_itself_is_taken_whatever_its_name(clips: Path) -> None:
    listing = listed(clips / "notes.md")
    assert [(source.root, source.path) for source in listing.sources] == [("clips", "notes.md")]


def test_missing_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.mp4 does not exist$"):
        listed(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match="no file matches"):
        listed(tmp_path / "*.mp4")
    with pytest.raises(ValueError, match="names no file"):
        listed("")


def test_patterns(clips: Path) -> None:
    assert paths(clips / "*") == ["b.mp4"]
    assert listed(clips / "*").ignored == 1
    assert paths(clips / "**" / "*.[mJ]*") == ["b.mp4", "sub/still.JPG"]
    assert paths(clips / "s?b" / "*") == ["sub/a.MOV", "sub/still.JPG"]
    assert paths(clips / ".hid*") == [".hidden.mp4"]
    # The extension is written out, so the match is named itself.
    assert paths(clips / "*.md") == ["notes.md"]


def test_double_star_must_stand_alone(clips: Path) -> None:
    with pytest.raises(ValueError, match=r"^the pattern a\*\*/b\.mp4 has"):
        listed(clips / "a**" / "b.mp4")


def test_root_of_a_pattern_is_its_plain_beginning(clips: Path, tmp_path: Path) -> None:
    assert listed(clips / "b*.mp4").roots == {"clips": str(clips)}
    assert listed(tmp_path / "c*" / "b.mp4").roots == {tmp_path.name: str(tmp_path)}


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    put(tmp_path / "take[1].mp4")
    put(tmp_path / "take1.mp4")
    assert paths(tmp_path / "take[1].mp4") == ["take[1].mp4"]


def test_alias(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(f"raw={clips}").roots == {"raw": str(clips)}
    put(tmp_path / "été 1" / "a.mp4")
    assert list(listed(tmp_path / "été 1").roots) == ["-t--1"]
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "day=1" / "a.mp4")
    assert list(listed("day=1").roots) == ["day-1"]
    assert list(listed("day=./day=1").roots) == ["day"]


def test_two_roots_of_one_name_are_refused(clips: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "more" / "clips" / "z.mp4").parent
    with pytest.raises(ValueError, match=r"two different roots are called 'clips'.*alias=path"):
        listed(clips, other)
    assert list(listed(clips, f"new={other}").roots) == ["clips", "new"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_file_named_twice_is_one_source(clips: Path, tmp_path: Path, order: tuple[int, ...]) -> None:
    inputs = [str(clips), str(clips / "sub"), str(clips / "b.mp4")]
    listing = listed(*(inputs[i] for i in order))
    assert [(source.root, source.path) for source in listing.sources] == [
        ("clips", "b.mp4"),
        ("clips", "sub/a.MOV"),
        ("clips", "sub/still.JPG"),
    ]
    declared = listed(*(inputs[i] for i in order), f"raw={clips / 'sub'}")
    assert [source.path for source in declared.sources if source.root == "raw"] == ["a.MOV", "still.JPG"]
    assert len(declared.sources) == 3


# ---- listing files


def test_text_listing(clips: Path) -> None:
    listing = put(clips / "list.txt", b"\xef\xbb\xbf# comment\r\nb.mp4\r\n\r\n./sub//a.MOV\r\nnotes.md\nb.mp4")
    assert paths(listing) == ["b.mp4", "notes.md", "sub/a.MOV"]
    assert listed(listing).roots == {"clips": str(clips)}


def test_rows_that_leave_the_root_are_refused_with_their_number(clips: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret.mp4")
    (clips / "out").symlink_to(tmp_path)
    rows = ["../secret.mp4", str(tmp_path / "secret.mp4"), "s3://other/x.mp4", "nul\0.mp4", "out/secret.mp4"]
    rows += ["sub/../b.mp4", "file://host/etc/passwd", "gone.mp4", "sub", "b.mp4"]
    listing = listed(put(clips / "list.txt", "\n".join(rows).encode()))
    assert [source.path for source in listing.sources] == ["b.mp4"]
    assert reasons(listing) == {
        "../secret.mp4": "outside_root",
        str(tmp_path / "secret.mp4"): "outside_root",
        "s3://other/x.mp4": "outside_root",
        "nul\\x00.mp4": "bad_name",
        "out/secret.mp4": "outside_root",
        "sub/../b.mp4": "outside_root",
        "file://host/etc/passwd": "outside_root",
        "gone.mp4": "missing",
        "sub": "not_a_file",
    }
    by_path = {refused.path: refused.message for refused in listing.refused}
    assert by_path["gone.mp4"] == "row 8 of list.txt (gone.mp4) does not exist"
    assert "row 3 of list.txt" in by_path["s3://other/x.mp4"]


def test_absolute_rows_under_a_declared_root(clips: Path, tmp_path: Path) -> None:
    rows = [str(clips / "b.mp4"), f"file://{clips}/notes.md", f"{clips}/../lists/all.txt", f"{clips}2/x.mp4"]
    listing = put(tmp_path / "lists" / "all.txt", "\n".join(rows).encode())
    assert listed(listing).sources == ()
    found = listed(listing, f"raw={clips}")
    assert [(source.root, source.path) for source in found.sources] == [
        ("raw", "b.mp4"),
        ("raw", "notes.md"),
        ("raw", "sub/a.MOV"),
        ("raw", "sub/still.JPG"),
    ]
    assert set(reasons(found).values()) == {"outside_root"}
    assert len(found.refused) == 2


def test_absolute_rows_match_the_root_as_the_user_wrote_it(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to("clips")
    listing = put(tmp_path / "lists" / "all.txt", f"{tmp_path}/mount/notes.md".encode())
    found = listed(listing, f"raw={tmp_path / 'mount'}")
    assert ("raw", "notes.md") in [(source.root, source.path) for source in found.sources]


def test_csv_columns_and_intervals(clips: Path) -> None:
    text = (
        "Path,caption,licence,group,start,end\n"
        'b.mp4,"a man, walking",CC0,g1,0.1,2.5\n'
        "b.mp4,second,,,3,\n"
        "b.mp4,whole,,,0,\n"
        "sub/a.MOV,,,,,4\n"
        "b.mp4,backwards,,,5,4\n"
        "b.mp4,word,,,soon,4\n"
        "b.mp4,negative,,,-1,4\n"
        "b.mp4,endless,,,0,inf\n"
    )
    listing = listed(put(clips / "rows.csv", text.encode()))
    rows = [(source.path, source.start_us, source.end_us, source.caption) for source in listing.sources]
    assert rows == [
        ("b.mp4", None, None, "whole"),
        ("b.mp4", 100_000, 2_500_000, "a man, walking"),
        ("b.mp4", 3_000_000, None, "second"),
        ("sub/a.MOV", 0, 4_000_000, None),
    ]
    assert (listing.sources[1].licence, listing.sources[1].group) == ("CC0", "g1")
    assert len({source.source_id for source in listing.sources}) == 4
    assert listing.sources[0].source_id == source_id("clips", "b.mp4")
    assert {refused.reason for refused in listing.refused} == {"bad_interval"}
    assert len(listing.refused) == 4


def test_one_bad_csv_row_never_costs_the_others(clips: Path) -> None:
    text = b'path,caption\nb.mp4,ok\n"open.mp4,never closed\nnotes.md,a,b\nlatin\xe9.mp4,x\n,none\nsub/a.MOV,caf\xe9\n'
    text += b"sub/still.JPG,last\n"
    listing = listed(put(clips / "rows.csv", text))
    assert [source.path for source in listing.sources] == ["b.mp4", "sub/still.JPG"]
    numbers = sorted(refused.message.split(" of ")[0] for refused in listing.refused)
    assert numbers == ["row 3", "row 4", "row 5", "row 6", "row 7"]
    assert {refused.reason for refused in listing.refused} == {"bad_row"}


def test_quoted_newline_in_a_csv_name(tmp_path: Path) -> None:
    put(tmp_path / "two\nlines.mp4")
    put(tmp_path / "next.mp4")
    listing = put(tmp_path / "rows.csv", b'path\r\n"two\nlines.mp4"\r\nnext.mp4\r\ngone.mp4\r\n')
    found = listed(listing)
    assert [source.path for source in found.sources] == ["next.mp4", "two\nlines.mp4"]
    assert found.refused[0].message.startswith("row 5 ")


def test_tsv(clips: Path) -> None:
    listing = listed(put(clips / "rows.tsv", b"caption\tpath\na cat, asleep\tb.mp4\n"))
    assert [(source.path, source.caption) for source in listing.sources] == [("b.mp4", "a cat, asleep")]


def test_jsonl(clips: Path) -> None:
    rows = [
        json.dumps({"path": "b.mp4", "caption": " é ", "license": "MIT", "group": 7, "start": 0.3, "end": 1}),
        "{broken",
        json.dumps(["b.mp4"]),
        json.dumps({"path": 5}),
        json.dumps({"path": "\ud800.mp4"}),
        json.dumps({"path": "b.mp4", "start": True}),
        "[" * 100_000,
        json.dumps({"path": "sub/a.MOV", "caption": None}),
    ]
    listing = listed(put(clips / "rows.jsonl", "\n".join(rows).encode()))
    first, second = listing.sources
    assert (first.path, first.caption, first.licence, first.group) == ("b.mp4", "é", "MIT", "7")
    assert (first.start_us, first.end_us) == (300_000, 1_000_000)
    assert second.path == "sub/a.MOV"
    assert sorted(refused.message[:5] for refused in listing.refused) == [f"row {n}" for n in range(2, 8)]


def test_parquet(clips: Path) -> None:
    table = pa.table(
        {
            "path": pa.array(["b.mp4", None, "gone.mp4", "sub/a.MOV"]).dictionary_encode(),
            "caption": ["one", "two", "three", None],
            "start": pa.array([1.5, None, None, None], pa.float32()),
            "other": [1, 2, 3, 4],
        }
    )
    pq.write_table(table, clips / "rows.parquet")
    listing = listed(clips / "rows.parquet")
    assert [(source.path, source.caption, source.start_us) for source in listing.sources] == [
        ("b.mp4", "one", 1_500_000),
        ("sub/a.MOV", None, None),
    ]
    assert [refused.message[:5] for refused in listing.refused] == ["row 2", "row 3"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("rows.csv", b"file,caption\nb.mp4,x\n", "has no column 'path'; its columns are: file, caption$"),
        ("rows.csv", b"", "has no column 'path'; its columns are: none$"),
        ("rows.csv", b"path,path\nb.mp4,c.mp4\n", "two columns of one name"),
        ("rows.jsonl", b'{"file": "b.mp4"}\n', "has no column 'path'; its columns are: file$"),
        ("rows.txt", "b.mp4".encode("utf-16"), "UTF-16"),
        ("rows.parquet", b"PAR1 not really", "cannot be read as Parquet"),
    ],
)
def test_unusable_listings_are_one_sentence(clips: Path, name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        listed(put(clips / name, data))


def test_caption_of_a_row_joins_the_file_of_a_folder(clips: Path) -> None:
    listing = put(clips / "rows.csv", b"path,caption\nb.mp4,first\nb.mp4,second\n")
    for inputs in ([clips, listing], [listing, clips]):
        sources = listed(*inputs).sources
        assert (sources[0].path, sources[0].caption) == ("b.mp4", "first")
        assert len(sources) == 3


# ---- archives


def test_tar_members(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "shard.tar",
        {
            "./000.mp4": b"four",
            "000.json": b"{}",
            "in/001.jpg": b"x",
            "._000.mp4": b"fork",
            "nested.tar": b"",
            "/etc/x.mp4": b"",
            "../y.mp4": b"",
            os.fsdecode(b"bad\xff.mp4"): b"",
        },
    )
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    listing = listed(path)
    assert [(source.path, source.size) for source in listing.sources] == [
        ("shard.tar!000.mp4", 4),
        ("shard.tar!in/001.jpg", 1),
    ]
    assert listing.sources[0].mtime_ns == path.stat().st_mtime_ns
    assert listing.ignored == 2
    assert reasons(listing) == {
        "shard.tar!/etc/x.mp4": "outside_root",
        "shard.tar!../y.mp4": "outside_root",
        "shard.tar!bad\\xff.mp4": "bad_name",
    }


def test_pattern_of_tars_and_folder_with_a_tar(tmp_path: Path) -> None:
    for number in range(2):
        make_tar(tmp_path / f"{number}.tar", {"a.mp4": b"x"})
    assert paths(tmp_path / "*.tar") == ["0.tar!a.mp4", "1.tar!a.mp4"]
    assert listed(tmp_path).ignored == 2


@pytest.mark.parametrize("cut", ["in data", "in a header", "broken header"])
def test_damaged_tar_keeps_what_precedes_the_damage(tmp_path: Path, cut: str) -> None:
    path = make_tar(tmp_path / "t.tar", {"a.mp4": b"a" * 512, "b.mp4": b"b" * 512, "c.mp4": b"c" * 512})
    data = bytearray(path.read_bytes())
    if cut == "in data":
        data = data[: 1024 + 512 + 100]
    elif cut == "in a header":
        data = data[: 1024 + 100]
    else:
        data[1024 : 1024 + 512] = b"\xaa" * 512
    path.write_bytes(data)
    listing = listed(path)
    assert [source.path for source in listing.sources] == ["t.tar!a.mp4"]
    assert set(reasons(listing).values()) == {"damaged_archive"}


def test_compressed_or_false_archives_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.tar.gz")
    put(tmp_path / "b.tar", b"not a tar at all" * 100)
    assert [one.reason for one in listed(tmp_path / "a.tar.gz").refused] == ["compressed_archive"]
    assert [one.reason for one in listed(tmp_path / "b.tar").refused] == ["damaged_archive"]


def test_rows_may_name_members(tmp_path: Path) -> None:
    make_tar(tmp_path / "s.tar", {"a.mp4": b"x", "b.raw": b"yy"})
    text = b"path,caption\ns.tar!b.raw,kept\ns.tar!none.mp4,\ns.tar!../a.mp4,\ngone.tar!a.mp4,\n"
    listing = listed(put(tmp_path / "rows.csv", text))
    assert [(source.path, source.size, source.caption) for source in listing.sources] == [("s.tar!b.raw", 2, "kept")]
    assert reasons(listing) == {
        "s.tar!none.mp4": "missing",
        "s.tar!../a.mp4": "outside_root",
        "gone.tar!a.mp4": "missing",
    }


# ---- stores


def test_store_folder_pattern_and_file(bucket: str) -> None:
    for name in ("b.mp4", "sub/a.mp4", "sub/notes.md", ".hid/c.mp4", "sub/.d.mp4"):
        put_url(f"{bucket}/{name}", name.encode())
    listing = listed(f"raw={bucket}")
    assert [(source.root, source.path, source.size) for source in listing.sources] == [
        ("raw", "b.mp4", 5),
        ("raw", "sub/a.mp4", 9),
    ]
    assert listing.roots == {"raw": bucket}
    assert listing.ignored == 1
    assert all(source.mtime_ns is None and source.etag for source in listing.sources)
    assert list(listed("memory://").roots) == ["root"]
    assert paths(f"{bucket}/*/*.mp4") == ["sub/a.mp4"]
    assert paths(f"{bucket}/**/a.*") == ["sub/a.mp4"]
    alone = listed(f"{bucket}/sub/a.mp4")
    assert alone.roots == {"sub": f"{bucket}/sub"}
    # One tag, whether it comes from listing a folder or from asking for the file.
    assert alone.sources[0].etag == listing.sources[1].etag


def test_same_names_in_a_folder_and_in_a_store_have_the_same_ids(clips: Path, bucket: str) -> None:
    for source in listed(clips).sources:
        put_url(f"{bucket}/{source.path}")
    local = [source.source_id for source in listed(f"x={clips}").sources]
    assert [source.source_id for source in listed(f"x={bucket}").sources] == local


@pytest.mark.parametrize("rows_per_folder_request", [1, 1000])
def test_listing_in_a_store(bucket: str, rows_per_folder_request: int) -> None:
    for name in ("b.mp4", "sub/a.mp4"):
        put_url(f"{bucket}/{name}")
    rows = ["b.mp4", "sub/a.mp4", "gone.mp4", "../x.mp4", "/etc/passwd", "sub", f"{bucket}x/y.mp4", "no/where.mp4"]
    put_url(f"{bucket}/list.txt", "\n".join(rows).encode())
    settings = ListingSettings(rows_per_folder_request=rows_per_folder_request)
    listing = list_sources([f"{bucket}/list.txt"], settings)
    assert [source.path for source in listing.sources] == ["b.mp4", "sub/a.mp4"]
    assert reasons(listing) == {
        "gone.mp4": "missing",
        "../x.mp4": "outside_root",
        "/etc/passwd": "outside_root",
        "sub": "not_a_file",
        f"{bucket}x/y.mp4": "outside_root",
        "no/where.mp4": "missing",
    }


def test_local_listing_of_urls_under_a_declared_root(tmp_path: Path, bucket: str) -> None:
    put_url(f"{bucket}/b.mp4")
    listing = put(tmp_path / "rows.csv", f"path,caption\n{bucket}/b.mp4,cap\n{bucket}/../b.mp4,\n".encode())
    found = listed(listing, f"raw={bucket}")
    assert [(source.root, source.path, source.caption) for source in found.sources] == [("raw", "b.mp4", "cap")]
    assert [refused.reason for refused in found.refused] == ["outside_root"]


def test_tar_in_a_store(tmp_path: Path, bucket: str) -> None:
    tar = make_tar(tmp_path / "s.tar", {"a.mp4": b"xyz", "b.txt": b""})
    put_url(f"{bucket}/s.tar", tar.read_bytes())
    assert [(source.path, source.size) for source in listed(f"{bucket}/s.tar").sources] == [("s.tar!a.mp4", 3)]


def test_store_that_cannot_be_used_is_one_sentence(bucket: str) -> None:
    fsspec.register_implementation("needy", "no_such_package.FileSystem", errtxt="Install needyfs", clobber=True)
    with pytest.raises(ValueError, match=r"^needy:// needs a package that is not installed: Install needyfs$"):
        listed("needy://bucket/x")
    with pytest.raises(ValueError, match="Protocol not known: nosuch"):
        listed("nosuch://bucket/x")
    with pytest.raises(ValueError, match=r"does not exist$"):
        listed(f"{bucket}/nothing.mp4")
    with pytest.raises(ValueError, match="chains file systems"):
        listed("simplecache::s3://bucket/x")
    with pytest.raises(ValueError, match="query or fragment"):
        listed("https://host/a.mp4?signature=abc")


def test_file_urls_are_local(clips: Path) -> None:
    assert listed(f"file://{clips}") == listed(clips)
