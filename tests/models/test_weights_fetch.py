"""Fetching from a real server: what arrives is whole and what was asked for, or there is one sentence and no file."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from weight_server import WeightServer, weight_server

from models import download
from models.download import FetchError, FetchSettings
from models.weights import WEIGHTS_FILE, WeightsError, WeightsList
from models.weights_fetch import fetch_weight, lock_weight

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HURRY = FetchSettings(timeout_s=5, attempts=2, pause_s=0)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as site:
        site.files["/net.dat"] = CONTENT
        yield site


def listed(folder: Path, files: dict[str, Any], **fields: Any) -> WeightsList:
    """A weights folder whose own list knows one weight, `net`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_text(json.dumps({"net": {"files": files, **fields}}))
    return WeightsList(folder)


def fetch(weights: WeightsList) -> tuple[str, ...]:
    return fetch_weight(weights, "net", lambda name, done, total: None, HURRY)


def refusal(weights: WeightsList) -> str:
    """The one sentence of a fetch that fails; what it was to fetch is not there."""
    with pytest.raises(ValueError) as caught:
        fetch(weights)
    text = str(caught.value)
    assert isinstance(caught.value, FetchError | WeightsError)
    assert "\n" not in text
    assert not any(path.is_file() for path in (weights.base / "net").rglob("*") if not path.name.startswith("."))
    return text


# --- what arrives ---


def test_a_file_arrives_whole_and_is_not_fetched_again(server: WeightServer, tmp_path: Path) -> None:
    files = {"sub/net.dat": {"url": f"{server.url}/net.dat", "sha256": DIGEST, "size": len(CONTENT)}}
    weights = listed(tmp_path / "w", files)
    reports: list[tuple[str, int, int | None]] = []
    assert fetch_weight(weights, "net", lambda *news: reports.append(news), HURRY) == ("sub/net.dat",)
    assert (tmp_path / "w" / "net" / "sub" / "net.dat").read_bytes() == CONTENT
    assert reports[0] == ("net.dat", 0, len(CONTENT))
    assert reports[-1] == ("net.dat", len(CONTENT), len(CONTENT))
    assert fetch(weights) == ()
    assert server.paths_asked() == ["/net.dat"]
    assert weights.check("net").file("net.dat").read_bytes() == CONTENT


def test_a_redirect_to_another_host_is_followed(server: WeightServer, tmp_path: Path) -> None:
    server.redirect["/moved"] = f"{server.url.replace('127.0.0.1', 'localhost')}/net.dat"
    fetch(listed(tmp_path, {"net.dat": {"url": f"{server.url}/moved"}}))
    assert (tmp_path / "net" / "net.dat").read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_where_it_broke(server: WeightServer, tmp_path: Path) -> None:
    server.cut["/net.dat"] = 3000
    fetch(listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat", "sha256": DIGEST}}))
    assert (tmp_path / "net" / "net.dat").read_bytes() == CONTENT
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=3000-"]


def test_the_rest_of_a_file_that_may_change_is_not_appended(server: WeightServer, tmp_path: Path) -> None:
    part = tmp_path / "net" / "net.dat.part"
    part.parent.mkdir()
    part.write_bytes(b"the beginning of another version")
    fetch(listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}}))
    assert (tmp_path / "net" / "net.dat").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(server: WeightServer, tmp_path: Path) -> None:
    part = tmp_path / "net" / "net.dat.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    fetch(listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat", "sha256": DIGEST}}))
    assert (tmp_path / "net" / "net.dat").read_bytes() == CONTENT


def test_an_optional_file_may_be_absent(server: WeightServer, tmp_path: Path) -> None:
    files = {
        "net.dat": {"url": f"{server.url}/net.dat"},
        "extra.json": {"url": f"{server.url}/extra.json", "optional": True},
    }
    weights = listed(tmp_path, files)
    assert fetch(weights) == ("net.dat",)
    assert set(weights.find("net").paths) == {"net.dat"}


# --- what does not ---


def test_a_connection_that_keeps_breaking_leaves_only_the_part(server: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat", "sha256": DIGEST}})
    server.cut["/net.dat"] = 3000
    with pytest.raises(FetchError, match=r"broke off \(after 3,000 of 10,240 bytes\); the same command goes on"):
        fetch_weight(weights, "net", lambda *news: None, FetchSettings(attempts=1))
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["net.dat.part"]
    assert fetch(weights) == ("net.dat",)
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=3000-"]


def test_another_content_is_refused(server: WeightServer, tmp_path: Path) -> None:
    files = {"net.dat": {"url": f"{server.url}/net.dat?key=secret", "sha256": "0" * 64}}
    text = refusal(listed(tmp_path, files))
    assert f"is not the file in the list of weights: it has the sha256 {DIGEST[:12]}…, not 000000000000…" in text
    assert "secret" not in text
    assert refusal(listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat", "size": 7}})).endswith(
        "it has 10,240 bytes, not 7"
    )


def test_a_page_in_place_of_a_checkpoint_is_refused(server: WeightServer, tmp_path: Path) -> None:
    server.files["/net.safetensors"] = b"<html>please log in</html>"
    text = refusal(listed(tmp_path, {"net.safetensors": {"url": f"{server.url}/net.safetensors"}}))
    assert text.endswith("is not the file in the list of weights: it is not a safetensors file, or cut off")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "is not there (404)"),
        (401, "is not given to everyone (401): accept its licence"),
        (403, "is not given to everyone (403)"),
        (503, "broke off (the server answers 503)"),
        (400, "cannot be fetched: the server answers 400"),
    ],
)
def test_what_a_server_refuses_is_said(server: WeightServer, tmp_path: Path, status: int, message: str) -> None:
    server.status["/net.dat"] = status
    assert message in refusal(listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}}))


def test_no_network_is_said(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = refusal(listed(tmp_path, {"net.dat": {"url": f"http://127.0.0.1:{port}/net.dat"}}))
    assert "cannot reach 127.0.0.1 (Connection refused)" in text
    assert "VIVID_WEIGHTS" in text


def test_a_full_disk_is_said(server: WeightServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}})
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda path: free)
        with pytest.raises(FetchError, match=r"the disk of .* is too full for net\.dat"):
            fetch(weights)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_append", full)
    with pytest.raises(FetchError, match=r"cannot write .*: No space left on device"):
        fetch(weights)


def test_a_mirror_that_is_read_only_stays_as_it_is(server: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path / "w", {"net.dat": {"url": f"{server.url}/net.dat"}})
    (tmp_path / "w").chmod(0o555)
    try:
        assert "is read-only: name another in VIVID_WEIGHTS" in refusal(weights)
    finally:
        (tmp_path / "w").chmod(0o755)
    assert not (tmp_path / "w" / "net").exists()


def test_two_fetches_of_one_file_do_not_mix(server: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}})
    part = tmp_path / "net" / "net.dat.part"
    part.parent.mkdir()
    with part.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another process is fetching"):
            fetch(weights)


@pytest.mark.parametrize("path", ["../net.dat", "/etc/net.dat", "a/../../b", ""])
def test_a_list_cannot_write_outside_its_folder(tmp_path: Path, path: str) -> None:
    weights = listed(tmp_path / "w", {path: {"url": "http://127.0.0.1:9/x"}})
    with pytest.raises(WeightsError, match="is not a path inside the weight's folder"):
        fetch(weights)


def test_a_file_without_an_address_says_where_to_put_it(tmp_path: Path) -> None:
    text = refusal(listed(tmp_path, {"net.dat": {}}, origin="the authors' archive"))
    assert f"put it at {tmp_path}/net/net.dat (it is the authors' archive)" in text


def test_only_the_web_is_asked(tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    text = refusal(listed(tmp_path, {"net.dat": {"url": f"file://{tmp_path}/local"}}))
    assert text.endswith("is not an https address")


# --- the hub ---


@pytest.fixture
def hub(server: WeightServer, monkeypatch: pytest.MonkeyPatch) -> WeightServer:
    """The server as the hub, with a repository of two files."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    server.add_json("/api/models/team/net/revision/main", {"sha": COMMIT})
    server.files[f"/team/net/resolve/{COMMIT}/config.json"] = b"{}"
    server.files["/stored"] = CONTENT
    server.redirect[f"/team/net/resolve/{COMMIT}/net.dat"] = f"{server.url.replace('127.0.0.1', 'localhost')}/stored"
    return server


HUB_FILES: dict[str, Any] = {"config.json": {}, "net.dat": {}}


def test_all_files_come_from_one_commit_and_locking_notes_it(hub: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path, HUB_FILES, hub="team/net")
    assert weights.revision("net") == "unknown-unlocked"
    fetch(weights)
    assert lock_weight(weights, "net") == 5
    locked = WeightsList(tmp_path)
    assert locked.entry("net").revision == COMMIT
    assert locked.entry("net").files["net.dat"].sha256 == DIGEST
    assert locked.entry("net").files["net.dat"].size == len(CONTENT)
    assert locked.revision("net").startswith(f"{COMMIT}-")
    assert locked.unlocked("net") == []
    assert lock_weight(locked, "net") == 0


def test_an_interrupted_fetch_goes_on_with_its_own_commit(hub: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path, HUB_FILES, hub="team/net")
    target = hub.redirect.pop(f"/team/net/resolve/{COMMIT}/net.dat")
    with pytest.raises(FetchError, match="404"):
        fetch(weights)
    hub.redirect[f"/team/net/resolve/{COMMIT}/net.dat"] = target
    hub.add_json("/api/models/team/net/revision/main", {"sha": "f" * 40})
    assert fetch(weights) == ("net.dat",)


def test_a_pinned_revision_is_the_one_fetched(hub: WeightServer, tmp_path: Path) -> None:
    fetch(listed(tmp_path, HUB_FILES, hub="team/net", revision=COMMIT))
    assert all("/api/" not in path for path in hub.paths_asked())


def test_the_token_goes_to_the_hub_alone_and_is_never_shown(
    hub: WeightServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    weights = listed(tmp_path, {**HUB_FILES, "elsewhere.dat": {"url": f"{hub.url}/gone"}}, hub="team/net")
    with pytest.raises(FetchError) as caught:
        fetch(weights)
    by_path = {path: headers.get("Authorization") for path, headers in hub.asked}
    assert by_path[f"/team/net/resolve/{COMMIT}/config.json"] == "Bearer hf_very_secret"
    assert by_path["/stored"] is None
    assert "hf_very_secret" not in caplog.text + str(caught.value) + "".join(capfd.readouterr())


def test_an_answer_that_is_no_commit_is_refused(hub: WeightServer, tmp_path: Path) -> None:
    hub.files["/api/models/team/net/revision/main"] = b"<html>"
    assert "does not say which commit is the newest" in refusal(listed(tmp_path, HUB_FILES, hub="team/net"))


# --- locking ---


def test_after_locking_another_content_is_an_error(server: WeightServer, tmp_path: Path) -> None:
    weights = listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}})
    fetch(weights)
    (tmp_path / "net" / "net.dat").write_bytes(CONTENT[::-1])
    assert weights.check("net")
    assert lock_weight(weights, "net") == 2
    (tmp_path / "net" / "net.dat").write_bytes(CONTENT)
    locked = WeightsList(tmp_path)
    with pytest.raises(WeightsError, match=r"is not the one in the list: .*net\.dat has the sha256"):
        locked.check("net")
    with pytest.raises(WeightsError, match="is not the one in the list"):
        lock_weight(locked, "net")


def test_locking_keeps_what_else_the_folder_lists(server: WeightServer, tmp_path: Path) -> None:
    listed(tmp_path, {"net.dat": {"url": f"{server.url}/net.dat"}})
    document = json.loads((tmp_path / WEIGHTS_FILE).read_text())
    document["other"] = {"files": {"other.dat": {"size": 3}}, "licence": "MIT"}
    (tmp_path / WEIGHTS_FILE).write_text(json.dumps(document))
    weights = WeightsList(tmp_path)
    fetch(weights)
    lock_weight(weights, "net")
    assert WeightsList(tmp_path).entry("other").files["other.dat"].size == 3
    assert WeightsList(tmp_path).entry("net").files["net.dat"].url == f"{server.url}/net.dat"
