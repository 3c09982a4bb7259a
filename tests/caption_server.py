"""A small OpenAI-compatible server over real HTTP whose faults the tests choose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

Mode = Literal[
    "ok",
    "slow",
    "together",
    "html",
    "empty",
    "huge",
    "cut",
    "drip",
    "redirect",
    "close",
    "silent",
    "unauthorised",
    "400",
    "404",
    "500",
    "429",
]
MODEL = "tiny-vlm"
LONG_TEXT = (
    "A brown dog is running across the lawn. It has a short coat and a red collar. "
    "Its ears flap as it leaps towards the right."
)
GOOD_TEXT = json.dumps({"short": "a dog", "medium": "a dog with a red collar", "long": LONG_TEXT})
GRACE_S = 20.0
"""Longest that a handler waits for what a test does next: a test that hangs fails instead."""


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The words of the prompt."""
        return str(self._parts("text")[0]["text"])

    @property
    def images(self) -> list[str]:
        """The pictures' data URLs."""
        return [part["image_url"]["url"] for part in self._parts("image_url")]

    def _parts(self, kind: str) -> list[dict[str, Any]]:
        return [part for part in self.body["messages"][0]["content"] if part["type"] == kind]


class CaptionServer:
    """Serves /v1/models and /v1/chat/completions until the with-block ends.

    `modes` are used up by the first requests for captions, the last one stays. `answer` makes the text of a good reply
    from the request. With `key` every request must carry it; refusals repeat the key that came, as bad servers do.
    """

    def __init__(
        self,
        modes: Sequence[Mode] = ("ok",),
        answer: Callable[[Seen], str] | str = GOOD_TEXT,
        key: str | None = None,
        retry_after: str = "0",
        slow_s: float = 0.3,
        together: int = 2,
        models_mode: Mode = "ok",
    ) -> None:
        self.seen: list[Seen] = []
        self.most_in_flight = 0
        self.models_mode, self.key, self.retry_after, self.slow_s = models_mode, key, retry_after, slow_s
        self._modes, self._answer = list(modes), answer
        self._in_flight, self._lock, self._over = 0, threading.Lock(), threading.Event()
        self._barrier = threading.Barrier(together, timeout=GRACE_S)
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def asked(self) -> list[Seen]:
        """The requests for captions so far."""
        return [request for request in self.seen if request.method == "POST"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def handle(self, handler: _Handler, seen: Seen) -> None:
        """Answer one request."""
        with self._lock:
            self.seen.append(seen)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            mode = self._mode(seen)
        try:
            self._reply(handler, seen, mode)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _mode(self, seen: Seen) -> Mode:
        given = seen.headers.get("authorization")
        if self.key is not None and given != f"Bearer {self.key}":
            return "unauthorised"
        if seen.method == "GET":
            return self.models_mode
        return self._modes.pop(0) if len(self._modes) > 1 else self._modes[0]

    def _reply(self, handler: _Handler, seen: Seen, mode: Mode) -> None:
        given = seen.headers.get("authorization", "no key")
        if mode == "close":
            handler.close_connection = True
        elif mode == "silent":
            self._over.wait(GRACE_S)
            handler.close_connection = True
        elif mode == "html":
            handler.send(200, "<html><body>Welcome to the proxy</body></html>", kind="text/html")
        elif mode == "empty":
            handler.send(200, json.dumps({"id": "1", "object": "chat.completion", "choices": []}))
        elif mode == "huge":
            handler.send(200, " " * (4 << 20))
        elif mode == "cut":
            handler.send(200, '{"choices": [', length=1000)
            handler.close_connection = True
        elif mode == "drip":
            handler.send(200, " ", length=1000)
            for _ in range(900):
                if self._over.wait(0.02):
                    break
                handler.wfile.write(b" ")
            handler.close_connection = True
        elif mode == "redirect":
            handler.send(307, "", {"Location": f"http://localhost:{self._http.server_address[1]}/v1/elsewhere"})
        elif mode == "unauthorised":
            handler.send(401, json.dumps({"error": {"message": f"Incorrect API key provided: {given}"}}))
        elif mode in ("400", "404", "500", "429"):
            wait = {"Retry-After": self.retry_after} if mode == "429" else {}
            handler.send(int(mode), json.dumps({"error": {"message": f"it is a {mode}, sent with {given}"}}), wait)
        else:
            self._good(handler, seen, mode)

    def _good(self, handler: _Handler, seen: Seen, mode: Mode) -> None:
        if mode == "slow":
            self._over.wait(self.slow_s)
        elif mode == "together":
            self._barrier.wait()
        if seen.method == "GET":
            handler.send(200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
            return
        text = self._answer if isinstance(self._answer, str) else self._answer(seen)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        handler.send(200, json.dumps({"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice]}))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: CaptionServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def send(
        self,
        status: int,
        text: str,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
        length: int | None = None,
    ) -> None:
        """A reply; with `length` it promises so many bytes, whatever comes."""
        data = text.encode()
        promised = str(len(data) if length is None else length)
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": promised}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the parent's name)
        """Tests print nothing."""

    def _serve(self, body: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.owner.handle(self, Seen(self.command, self.path, headers, body))
