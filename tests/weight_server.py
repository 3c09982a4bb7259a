"""A small http server with files, faults on order, and a record of what it was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class WeightServer:
    """`files` by path. `status`, `redirect` and `cut` (bytes after which the connection ends, once) are by path too."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.redirect: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def add_json(self, path: str, document: Any) -> None:
        self.files[path] = json.dumps(document).encode()

    def paths_asked(self) -> list[str]:
        return [path for path, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    site: WeightServer

    def log_message(self, *arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        site, path = self.site, self.path.split("?")[0]
        site.asked.append((path, dict(self.headers)))
        if path in site.redirect:
            self.send_response(302)
            self.send_header("Location", site.redirect[path])
            self.end_headers()
            return
        if path in site.status or path not in site.files:
            self.send_response(site.status.get(path, 404))
            self.end_headers()
            return
        self._send(path, site.files[path])

    def _send(self, path: str, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        if asked and start >= len(content):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.site.cut.pop(path, len(content))])


@contextmanager
def weight_server() -> Iterator[WeightServer]:
    site = WeightServer()
    handler = type("SiteHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
