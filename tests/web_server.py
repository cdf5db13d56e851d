"""A web server on 127.0.0.1 with images, faults to order, and a list of what was asked for."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

OLD = formatdate(1_700_000_000, usegmt=True)


@dataclass
class Site:
    """What the server has, and what is wrong with it. Paths have no slash in front.

    Args:
        files: contents by their paths.
        latency: seconds before any answer.
        busy: how often each of these paths is answered with 503 before it is served, by each method.
        stalls: how often each of these paths is sent by half and then held up, before it is served.
        headers: that certain paths have besides, or instead.
        statuses: of paths that are answered with nothing else.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    latency: float = 0.0
    busy: dict[str, int] = field(default_factory=dict)
    stalls: Counter[str] = field(default_factory=Counter)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    bodies: Counter[str] = field(default_factory=Counter)
    heads: Counter[str] = field(default_factory=Counter)
    seen: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


class WebServer:
    """The server, while the context lasts; `url` is its address, with a slash at its end."""

    def __init__(self) -> None:
        self.site = Site()
        self._ended = threading.Event()
        handler = type(
            "Handler", (_Handler,), {"site": self.site, "ended": self._ended, "lock": threading.Lock()}
        )
        self._server = QuietServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: Site
    ended: threading.Event
    lock: threading.Lock

    def do_HEAD(self) -> None:
        self._counted(self.site.heads)

    def do_GET(self) -> None:
        self._counted(self.site.bodies)

    def _counted(self, counter: Counter[str]) -> None:
        site, path = self.site, unquote(urlsplit(self.path).path).lstrip("/")
        with self.lock:
            counter[path] += 1
            site.seen.append({**self.headers, "path": self.path})
            site.at_once += 1
            site.most_at_once = max(site.most_at_once, site.at_once)
            is_busy = counter[path] <= site.busy.get(path, 0)
            stalls = not is_busy and self.command == "GET" and site.stalls[path] > 0
            site.stalls[path] -= stalls
        try:
            time.sleep(site.latency)
            self._respond(path, 503 if is_busy else site.statuses.get(path), stalls)
        finally:
            with self.lock:
                site.at_once -= 1

    def _respond(self, path: str, status: int | None, stalls: bool) -> None:
        content = self.site.files.get(path)
        if status is not None or content is None:
            self._answer(status or 404, b"", self.site.headers.get(path, {}))
            return
        tag = hashlib.md5(content).hexdigest()
        headers = {"Content-Type": "image/png", "ETag": f'"{tag}"', "Last-Modified": OLD}
        self._answer(
            200, content, headers | self.site.headers.get(path, {}), len(content) // 2 if stalls else None
        )

    def _answer(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
            if cut is not None:
                self.wfile.flush()
                self.ended.wait(30)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
