"""Downloading one file: to a temporary name, resumed where it broke off, renamed when it is what it should be."""

from __future__ import annotations

import fcntl
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

Result = TypeVar("Result")

CHUNK = 1 << 20
MIB = 2**20

Report = Callable[[str, int, int | None], None]
"""Told of the file's name, the bytes there so far, and all its bytes where known."""
Fault = Callable[[Path], str | None]
"""Says what is wrong with a finished file, in words; None when nothing is."""


class FetchError(ValueError):
    """A file could not be fetched. The text is one sentence."""


class NotThere(FetchError):
    """The server has no such file."""


class _NothingLeft(Exception):
    """The server has no more of the file than is there."""


class _Broken(Exception):
    """The connection ended before the file did; what has come is kept."""


@dataclass(frozen=True)
class FetchSettings:
    """How patient a fetch is."""

    timeout_s: float = 60
    attempts: int = 4
    pause_s: float = 2


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the token is for the host that was asked, not for where its files lie."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            request.remove_header("Authorization")
        return request


_OPENER = urllib.request.build_opener(_SameHostRedirects)


def download(
    url: str,
    target: Path,
    fault: Fault,
    pinned: bool,
    report: Report,
    settings: FetchSettings,
) -> None:
    """Download one file. `pinned`: its content cannot change, so that a rest may be appended to what broke off.

    Raises FetchError, NotThere (nothing is left behind), and OSError where the disk says no.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("ab") as scratch:
        _hold(scratch, target)
        if not pinned:
            scratch.truncate(0)
        try:
            _persist(lambda: _append(url, scratch, target.name, report, settings), url, settings)
        except _NothingLeft:
            # It is complete, or longer than the file, which its hash will tell.
            pass
        except FetchError:
            if part.stat().st_size == 0:
                part.unlink()
            raise
        wrong = fault(part)
        if wrong:
            part.unlink()
            raise FetchError(f"{shown(url)} is not the file in the list of weights: it {wrong}")
        part.replace(target)


def read_text(url: str, settings: FetchSettings) -> str:
    """A small text. Raises FetchError."""

    def read() -> str:
        with _open(url, {}, settings) as response:
            return b"".join(_chunks(response)).decode()

    return _persist(read, url, settings)


def shown(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _persist(attempt: Callable[[], Result], url: str, settings: FetchSettings) -> Result:
    """What `attempt` gives, after a few tries where connections break."""
    for number in range(settings.attempts):
        try:
            return attempt()
        except _Broken as error:
            last = error
            if number + 1 < settings.attempts:
                time.sleep(settings.pause_s * 2**number)
    raise FetchError(
        f"the connection to {urlsplit(url).hostname} broke off ({last}); the same command goes on where it stopped"
    )


def _hold(scratch: IO[bytes], target: Path) -> None:
    try:
        fcntl.flock(scratch, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise FetchError(f"another process is fetching {target}") from error


def _append(url: str, scratch: IO[bytes], name: str, report: Report, settings: FetchSettings) -> None:
    """Add what is missing of the file to `scratch`. Raises _Broken, NotThere, FetchError, OSError (the disk)."""
    there = scratch.seek(0, 2)
    with _open(url, {"Range": f"bytes={there}-"} if there else {}, settings) as response:
        if there and response.status != 206:
            scratch.truncate(0)
            there = 0
        length = response.headers.get("Content-Length")
        total = there + int(length) if length and length.isdecimal() else None
        free = shutil.disk_usage(Path(scratch.name).parent).free
        if total is not None and free < total - there:
            raise FetchError(
                f"the disk of {Path(scratch.name).parent} is too full for {name}: "
                f"{(total - there) / MIB:,.0f} MiB are missing and {free / MIB:,.0f} MiB free"
            )
        report(name, there, total)
        for chunk in _chunks(response):
            scratch.write(chunk)
            there += len(chunk)
            report(name, there, total)
    scratch.flush()
    if total is not None and there < total:
        raise _Broken(f"after {there:,} of {total:,} bytes")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


@contextmanager
def _open(url: str, headers: dict[str, str], settings: FetchSettings) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise FetchError(f"{shown(url)} is not an https address")
    request = urllib.request.Request(url, headers={"User-Agent": "vivid", **headers, **_token_header(url)})
    try:
        response = _OPENER.open(request, timeout=settings.timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                raise _NothingLeft from error
            if error.code in (404, 410):
                raise NotThere(
                    f"{shown(url)} is not there ({error.code}): the list of weights may be older than it"
                ) from None
            if error.code in (401, 403):
                raise FetchError(
                    f"{shown(url)} is not given to everyone ({error.code}): accept its licence there if it has one, "
                    "and put your token into HF_TOKEN"
                ) from None
            if error.code in (429, 500, 502, 503, 504):
                raise _Broken(f"the server answers {error.code}") from error
            raise FetchError(f"{shown(url)} cannot be fetched: the server answers {error.code}") from None
    except urllib.error.URLError as error:
        raise _unreachable(parts.hostname, error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from error
    with response:
        yield response


def _unreachable(host: str | None, reason: object) -> Exception:
    if isinstance(reason, ConnectionResetError | TimeoutError):
        return _Broken(str(reason) or type(reason).__name__)
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return FetchError(
        f"cannot reach {host} ({text}); without a network, copy the files into the folder that VIVID_WEIGHTS names"
    )


def _token_header(url: str) -> dict[str, str]:
    """The user's token, for the hub's own host alone."""
    try:
        from huggingface_hub import constants, get_token
    except ImportError:
        return {}
    if urlsplit(url)[:2] != urlsplit(constants.ENDPOINT)[:2]:
        return {}
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
