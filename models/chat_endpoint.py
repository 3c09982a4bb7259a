"""An OpenAI-compatible server: single requests, and what can go wrong with them in words.

Plain HTTP with `requests`: the `openai` package would add the organisation, project and custom headers it finds in the
environment to requests for any server, and the waits between its attempts cannot be set. The key is read from the
environment when work starts and stands in no setting, log or error; answers of servers that repeat it are cleaned.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, Field, ValidationError, field_validator

MOST_BYTES = 1 << 20
"""Longest answer read: captions are hundreds of times smaller, and a server that never stops must not fill memory."""
_PIECE = 1 << 16


class EndpointSettings(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """Where the server is."""

    url: str = Field(description="base URL of the server, such as http://localhost:8000/v1, without user or key")
    key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the key, such as OPENAI_API_KEY; null: the server wants none",
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="longest time for one attempt, seconds; waiting in the server's queue counts"
    )
    connect_timeout_s: float = Field(default=10.0, gt=0, description="longest time to reach the server, seconds")

    @field_validator("url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("the URL of the caption endpoint is not a URL") from None
        if "@" in parts.netloc:
            raise ValueError("the URL of the caption endpoint holds a user or password; name a key in key_env instead")
        if parts.query or parts.fragment:
            raise ValueError("the URL of the caption endpoint must end with its path, without ? and #")
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("the URL of the caption endpoint must be of the form http://host:port/v1")
        return value.rstrip("/")


class EndpointError(ValueError):
    """The server gives no answer; the text is one sentence. `passing`: another attempt may do better."""

    def __init__(self, message: str, passing: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.passing, self.retry_after_s = passing, retry_after_s


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """What is read of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


class ChatEndpoint:
    """One server: sends single requests and puts what goes wrong in words."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings, self._key, self._local = settings, _key(settings.key_env), threading.local()

    def models(self) -> list[str]:
        """Names of the models it serves. Raises EndpointError."""
        reply = self._send("GET", "/models", None, self._settings.connect_timeout_s)
        try:
            return [model.id for model in _Models.model_validate_json(reply).data]
        except ValidationError:
            raise self._error("gave no list of models; its URL usually ends with /v1") from None

    def answer(self, body: dict[str, Any]) -> str:
        """The text of a chat completion, empty where the model said nothing. Raises EndpointError."""
        reply = self._send("POST", "/chat/completions", body, self._settings.timeout_s)
        try:
            return _Completion.model_validate_json(reply).choices[0].message.content or ""
        except ValidationError:
            raise self._error("answered with something that is no chat completion", passing=True) from None

    def clean(self, text: str) -> str:
        """The text without the key, should a server have repeated it."""
        return text.replace(self._key, "***") if self._key else text

    def _send(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        try:
            with self._session().request(
                method,
                self._settings.url + path,
                json=body,
                auth=self._sign,
                timeout=(self._settings.connect_timeout_s, timeout_s),
                # A redirect would turn a POST into a GET, and may lead elsewhere with the key.
                allow_redirects=False,
                stream=True,
                headers={"Accept-Encoding": "identity"},
            ) as reply:
                data = self._read(reply.raw, deadline, timeout_s)
        except (requests.ConnectTimeout, requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            raise self._late(timeout_s) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._error(f"gave no answer ({_cause(error)})", passing=True) from None
        if reply.status_code != requests.codes.ok:
            raise self._refused(path, reply.status_code, data, reply.headers.get("Retry-After"))
        return data

    def _session(self) -> requests.Session:
        """This thread's own: sessions are not promised to be safe between threads."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As `auth`, even without a key: else `requests` would send what a .netrc says of the host.
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _read(self, stream: urllib3.HTTPResponse, deadline: float, timeout_s: float) -> bytes:
        """The body; the time limit holds for a server that sends a byte now and then, too."""
        data = bytearray()
        while piece := stream.read1(_PIECE):
            data += piece
            if time.monotonic() > deadline:
                raise self._late(timeout_s)
            if len(data) > MOST_BYTES:
                raise self._error(f"sent more than {MOST_BYTES} bytes")
        return bytes(data)

    def _refused(self, path: str, status: int, data: bytes, retry_after: str | None) -> EndpointError:
        if status in (401, 403):
            key = f"the key in {self._settings.key_env}" if self._settings.key_env else "requests without key_env"
            return self._error(f"does not accept {key} (HTTP {status})")
        said = " ".join(self.clean(data.decode("utf-8", "replace")).split())[:200]
        passing = status in (408, 429) or status >= 500
        return self._error(f"answered HTTP {status} to {path}: {said}", passing, _seconds(retry_after))

    def _late(self, timeout_s: float) -> EndpointError:
        return self._error(f"did not answer within {timeout_s:g} seconds", passing=True)

    def _error(self, what: str, passing: bool = False, retry_after_s: float = 0.0) -> EndpointError:
        return EndpointError(f"the caption endpoint {self._settings.url} {what}", passing, retry_after_s)


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable}, which should hold the key of the endpoint, is not set")
    if not key.isascii() or not key.isprintable():
        raise ValueError(f"the environment variable {variable} does not hold a key: it has characters no key can have")
    return key


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After header; 0 for dates, whose use would hang on two clocks being equal."""
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        return 0.0
    return seconds if seconds > 0 else 0.0


def _cause(error: BaseException) -> str:
    """What the system said at the bottom of a chain of errors."""
    bottom = error
    while (deeper := bottom.__cause__ or bottom.__context__) is not None:
        bottom = deeper
    return (bottom.strerror if isinstance(bottom, OSError) else None) or type(bottom).__name__
