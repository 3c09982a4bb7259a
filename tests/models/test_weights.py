"""The list of weights: what is known of each, what is there, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from models.registry import NAMES
from models.weights import (
    WEIGHTS_FILE,
    Weights,
    WeightsError,
    WeightsList,
    list_with,
    weights_folder,
    weights_folders,
)

CONTENT = b"parameters"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SHIPPED = WeightsList(Path("/nowhere")).entries


def listed(folder: Path, files: dict[str, Any], **fields: Any) -> WeightsList:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_text(json.dumps({"net": {"files": files, **fields}}))
    return WeightsList(folder)


def put(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- the list that comes with the project ---


def test_every_network_has_its_weight_in_the_list() -> None:
    names = {"ram", "grounding_dino", "sam2", "sam2_tracker", "raft", "internvl", "clip", "yolox"}
    assert names < set(NAMES)
    defaults = {
        "ram-swin-large",
        "ram-plus-swin-large",
        "grounding-dino-tiny",
        "sam2.1-hiera-large",
        "sam2.1-hiera-large-original",
        "raft-large",
        "raft-large-things-original",
        "raft-small-original",
        "internvl3-2b-hf",
        "clip-vit-base-patch16",
        "yolox-nano",
    }
    assert set(SHIPPED) == defaults


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_file_can_be_fetched_or_says_where_it_is_from(name: str) -> None:
    entry = SHIPPED[name]
    for spec in entry.files.values():
        assert spec.url or entry.hub or entry.origin
        assert spec.url is None or urlsplit(spec.url).scheme == "https"
    assert any(not spec.optional for spec in entry.files.values())


def test_the_real_files_are_those_of_the_list(shared_data: Path) -> None:
    weights = WeightsList(shared_data / "weights")
    for name in ("raft-small-original", "yolox-nano"):
        assert weights.unlocked(name) == []
        assert weights.check(name).name == name
    tags = weights.present("ram-swin-large")
    assert set(tags) == {"ram_tag_list.txt", "ram_tag_list_threshold.txt"}
    for file, path in tags.items():
        assert weights.fault(weights.entry("ram-swin-large").files[file], path) is None


# --- finding ---


def test_files_lie_in_the_weights_folder_or_flat(tmp_path: Path) -> None:
    weights = listed(tmp_path, {"a.dat": {}, "sub/b.dat": {}})
    put(tmp_path, "net/a.dat")
    put(tmp_path, "sub/b.dat")
    assert weights.find("net").paths == {"a.dat": tmp_path / "net/a.dat", "sub/b.dat": tmp_path / "sub/b.dat"}


def test_the_folder_of_nested_files_is_the_weights_own(tmp_path: Path) -> None:
    weights = Weights("net", "1", {"sub/a.dat": tmp_path / "net" / "sub" / "a.dat"})
    assert weights.folder == tmp_path / "net"


def test_a_file_is_found_by_its_ending(tmp_path: Path) -> None:
    weights = Weights("net", "1", {"a.dat": tmp_path / "a.dat", "b.txt": tmp_path / "b.txt", "c.txt": tmp_path / "c"})
    assert weights.file(".dat") == tmp_path / "a.dat"
    with pytest.raises(WeightsError, match=r"'net' has 2 files that end with '\.txt', not one"):
        weights.file(".txt")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    weights = listed(tmp_path, {"a.dat": {}, "b.dat": {}, "c.dat": {"optional": True}})
    put(tmp_path, "net/a.dat")
    with pytest.raises(WeightsError, match=r"'net' is not on this machine: b\.dat missing .*`vivid weights net`"):
        weights.find("net")


def test_an_optional_file_whose_content_was_locked_is_missed(tmp_path: Path) -> None:
    weights = listed(tmp_path, {"a.dat": {}, "c.dat": {"optional": True, "sha256": DIGEST}})
    put(tmp_path, "net/a.dat")
    assert weights.missing("net") == ["c.dat"]


def test_an_unknown_weight_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weight 'nett'; did you mean 'net'\?"):
        listed(tmp_path, {"a": {}}).find("nett")
    with pytest.raises(WeightsError, match=r"there is no weight '7'; known are .*net.*yolox-nano"):
        listed(tmp_path, {"a": {}}).find("7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON of named entries"),
        ("[]", "is not JSON of named entries"),
        ('{"net": {"files": {}}}', "files: Dictionary should have at least 1 item"),
        ('{"net": {"files": {"a": {"sha256": "123"}}}}', "files.a.sha256"),
        ('{"net": {"files": {"../a": {}}}}', "'../a' is not a path inside the weight's folder"),
    ],
)
def test_a_broken_list_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / WEIGHTS_FILE).write_text(text)
    with pytest.raises(WeightsError) as caught:
        WeightsList(tmp_path).find("net")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_is_the_one_the_user_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "vivid" / "weights"
    assert weights_folders() == (cache,)
    assert weights_folder() == cache
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path))
    assert weights_folders() == (tmp_path, cache)
    assert weights_folder() == tmp_path


def test_a_weight_is_taken_whole_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    folders = [tmp_path / "mirror", tmp_path / "cache"]
    for folder in folders:
        listed(folder, {"a.dat": {}, "b.dat": {}})
    assert list_with("net", folders).base == folders[0]
    put(folders[0], "net/a.dat")
    put(folders[1], "net/a.dat")
    assert list_with("net", folders).base == folders[0], "neither has all"
    put(folders[1], "net/b.dat")
    assert list_with("net", folders).find("net").folder == folders[1] / "net"
    put(folders[0], "b.dat")
    assert list_with("net", folders).base == folders[0]
    (folders[0] / WEIGHTS_FILE).unlink()
    assert list_with("net", folders).base == folders[1], "the first does not know the name"
    assert list_with("yolox-nano", folders).base == folders[0]


# --- checking ---


def test_size_and_hash_are_checked_where_known(tmp_path: Path) -> None:
    put(tmp_path, "net/a.dat")
    assert listed(tmp_path, {"a.dat": {"sha256": DIGEST, "size": len(CONTENT)}}).check("net")
    for wrong, message in (({"size": 9}, "has 10 bytes, not 9"), ({"sha256": "0" * 64}, "not 000000000000…")):
        with pytest.raises(WeightsError, match="is not the one in the list") as caught:
            listed(tmp_path, {"a.dat": wrong}).check("net")
        assert message in str(caught.value)


def test_another_export_is_taken_and_told_apart(tmp_path: Path) -> None:
    spec = {"sha256": "0" * 64, "size": 3, "also_sha256": [DIGEST]}
    weights = listed(tmp_path, {"a.dat": spec}, revision="v1")
    as_listed = weights.revision("net")
    put(tmp_path, "net/a.dat")
    assert weights.check("net").revision != as_listed
    put(tmp_path, "net/a.dat", b"third")
    with pytest.raises(WeightsError, match="is not the one in the list"):
        weights.check("net")


def test_the_revision_changes_with_what_is_known(tmp_path: Path) -> None:
    revisions = [
        listed(tmp_path, {"a.dat": {}}).revision("net"),
        listed(tmp_path, {"a.dat": {}}, revision="v1").revision("net"),
        listed(tmp_path, {"a.dat": {"sha256": DIGEST}}, revision="v1").revision("net"),
        listed(tmp_path, {"a.dat": {"sha256": "0" * 64}}, revision="v1").revision("net"),
        listed(tmp_path, {"a.dat": {"sha256": DIGEST}}, revision="v2").revision("net"),
    ]
    assert revisions[:2] == ["unknown-unlocked", "v1-unlocked"]
    assert len(set(revisions)) == 5


def test_damage_shows_without_a_hash(tmp_path: Path) -> None:
    put(tmp_path, "net/a.pth", b"<html>")
    with pytest.raises(WeightsError, match=r"a\.pth is not a checkpoint of torch; remove it"):
        listed(tmp_path, {"a.pth": {}}).check("net")
