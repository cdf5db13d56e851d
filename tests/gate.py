"""Servers of buckets on 127.0.0.1, each in a process of its own, behind a gate that counts and has faults."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, TypeVar
from unittest import mock
from urllib.parse import unquote, urlsplit

from web_server import QuietServer

from clipcli.remote import clients

BUCKET = "photos"


class Request(NamedTuple):
    """A request.

    Args:
        method: GET or another.
        path: that of its address, without escapes.
        query: that of its address.
        key: the object in `BUCKET` that it is about; what is about none has a key that no object has.
        is_body: whether it asks for the content of an object.
    """

    method: str
    path: str
    query: str
    key: str = ""
    is_body: bool = False


@dataclass
class Gate:
    """What passes, and what does not. Keys are those of objects in `BUCKET`.

    Args:
        busy: how often the content of each of these is answered with 503 before it is served.
        stalls: how often the content of each of these is held up before it is served.
        statuses: with which requests for each of these are answered.
    """

    seen: list[Request] = field(default_factory=list)
    busy: Counter[str] = field(default_factory=Counter)
    stalls: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, int] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget all of it."""
        self.seen.clear()
        self.busy.clear()
        self.stalls.clear()
        self.statuses.clear()

    def bodies(self) -> int:
        """How many contents were asked for."""
        return sum(request.is_body for request in self.seen)


class BucketServer(ABC):
    """A server with an empty `BUCKET` and its gate, while the context lasts; `url` is that of the gate."""

    scheme: str

    def __init__(self) -> None:
        self.gate = Gate()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._ended = threading.Event()
        shared = {"server_behind": self, "ended": self._ended, "lock": threading.Lock()}
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), shared))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts it on its port."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """By which its client finds the gate."""

    @abstractmethod
    def about(self, request: Request) -> Request:
        """The same request, with its key."""

    @abstractmethod
    def make_bucket(self) -> None:
        """Create `BUCKET`."""

    @abstractmethod
    def put(self, key: str, content: bytes) -> None:
        """Store an object, whose key has the escapes of addresses."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object."""

    def __enter__(self: Running) -> Running:
        self._process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._wait()
        self.make_bucket()
        return self

    def _wait(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.command[0]} does not start")

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._process.kill()
        self._process.wait()

    def request(
        self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """What the server itself answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status < 300, (method, path, answer.status, body)
        return body


Running = TypeVar("Running", bound=BucketServer)


@contextlib.contextmanager
def connected(server: Running) -> Iterator[Running]:
    """Let this process find the server, by new connections and without the faults of earlier tests."""
    clients.file_system_of.cache_clear()
    server.gate.reset()
    with mock.patch.dict(os.environ, server.environment):
        yield server
    clients.file_system_of.cache_clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_behind: BucketServer
    ended: threading.Event
    lock: threading.Lock

    def _respond(self) -> None:
        parts = urlsplit(self.path)
        request = self.server_behind.about(Request(self.command, unquote(parts.path), parts.query))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = self._chunks()
        gate, key = self.server_behind.gate, request.key
        with self.lock:
            gate.seen.append(request)
            busy = request.is_body and gate.busy[key] > 0
            gate.busy[key] -= busy
            stalls = request.is_body and not busy and gate.stalls[key] > 0
            gate.stalls[key] -= stalls
        status = 503 if busy else gate.statuses.get(key)
        if stalls:
            self.ended.wait(30)
        elif status is not None:
            self._answer(status, [], b"")
        else:
            self._forward(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _respond

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return content

    def _forward(self, content: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server_behind.port, timeout=60)
        left_out = ("content-length", "transfer-encoding", "connection", "expect")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        connection.request(self.command, self.path, content or None, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self._answer(answer.status, answer.getheaders(), body)

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
