"""A Hugging Face hub on 127.0.0.1, with faults to order: what `huggingface_hub` asks for, and no more.

Like the real one it answers for large files with a redirect to another origin (its CDN), which
serves ranges. Requests are recorded.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from abc import abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"
OLDER_COMMIT = "decade" * 6 + "deca"
REVISIONS = {"main": COMMIT, "v1": OLDER_COMMIT}  # with the same files
LARGE = 100_000  # bytes from which a file lies on the CDN


class Request(NamedTuple):
    """A request that the hub or its CDN has seen."""

    server: str
    method: str
    path: str
    range: str
    token: str


@dataclass
class Faults:
    """What is wrong with the hub.

    Args:
        cut: the CDN sends no byte of a file past this position, then hangs up.
        cuts: how often it does that.
        altered: the CDN sends other bytes than the hub announced.
        missing: files that the listing names and the hub does not have.
        status: answer everything with this status.
    """

    cut: int | None = None
    cuts: int = 1_000
    altered: bool = False
    missing: set[str] = field(default_factory=set)
    status: int | None = None


class Hub:
    """Two servers, for the hub and its CDN, while the context lasts.

    Args:
        repositories: files by name, by repository.
        gated: repositories that want their licence accepted.
    """

    def __init__(self, repositories: dict[str, dict[str, bytes]], gated: set[str] | None = None) -> None:
        self.repositories = repositories
        self.gated = gated or set()
        self.blobs = {
            sha256(content): content for files in repositories.values() for content in files.values()
        }
        self.requests: list[Request] = []
        self.faults = Faults()
        self._servers = [self._server("hub", _HubHandler), self._server("cdn", _CdnHandler)]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def _server(self, name: str, handler: type[_Handler]) -> ThreadingHTTPServer:
        return _Server(("127.0.0.1", 0), type(name, (handler,), {"hub": self, "name": name}))

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def reset(self) -> None:
        """Forget the requests and mend all faults."""
        self.requests.clear()
        self.faults = Faults()

    def ranges(self) -> list[str]:
        """The `Range` of every download from the CDN; empty for a whole file."""
        return [request.range for request in self.requests if request.server == "cdn"]


def sha256(content: bytes) -> str:
    """The name of a large file in the hub's cache."""
    return hashlib.sha256(content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; there is nobody to tell of the rest."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    name: str

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.hub.requests.append(
            Request(self.name, self.command, path, headers.get("Range", ""), headers.get("Authorization", ""))
        )
        if self.hub.faults.status is not None:
            self._answer(self.hub.faults.status)
        else:
            self._respond(path)

    do_HEAD = do_GET

    @abstractmethod
    def _respond(self, path: str) -> None:
        """Answer a request for a path."""

    def _answer(self, status: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class _HubHandler(_Handler):
    def _respond(self, path: str) -> None:
        parts = path.strip("/").split("/")
        api = parts[0] == "api" and parts[1:2] in (["models"], ["datasets"])
        before = 2 if api else int(parts[0] == "datasets")
        organisation, name, route, *rest = parts[before:] + [""] * 3
        repository = f"{organisation}/{name}"
        files = self.hub.repositories.get(repository)
        if files is None:
            status = 404 if self.headers.get("Authorization") else 401
            self._answer(status, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif api and route in ("", "revision"):
            self._json({"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        elif api and route == "tree":
            self._json([_entry(name, content) for name, content in files.items()])
        elif route == "resolve":
            self._resolve(repository, rest[0], "/".join(part for part in rest[1:] if part))
        else:
            self._answer(404)

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        content = self.hub.repositories[repository].get(name)
        commit = REVISIONS.get(revision, revision)
        if commit not in REVISIONS.values():
            self._answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        elif content is None or name in self.hub.faults.missing:
            self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif repository in self.hub.gated:
            self._answer(401, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted.")
        elif len(content) < LARGE:
            self._answer(200, content, ETag=f'"{_git_sha1(content)}"', X_Repo_Commit=commit)
        else:
            self._answer(
                302,
                b"Found",
                Location=f"{self.hub.cdn}/{sha256(content)}/{name}",
                X_Repo_Commit=commit,
                X_Linked_Size=len(content),
                X_Linked_ETag=f'"{sha256(content)}"',
            )


class _CdnHandler(_Handler):
    def _respond(self, path: str) -> None:
        digest, _, name = path.strip("/").partition("/")
        content = self.hub.blobs[digest]
        if self.hub.faults.altered:
            content = bytes(len(content))
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Disposition", f'inline; filename="{name}";')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = self.hub.faults.cut
        if cut is None or self.hub.faults.cuts <= 0:
            self.wfile.write(content[start:])
            return
        self.hub.faults.cuts -= 1
        self.wfile.write(content[start:cut])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the listing of a repository has it."""
    entry = {"type": "file", "path": name, "size": len(content), "oid": _git_sha1(content)}
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return entry
