"""Azure's Blob Storage and Google's Cloud Storage on 127.0.0.1: Azurite, and an emulator in Python."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from gate import BUCKET, BucketServer, Request, connected

from clipcli.remote import retries

_ACCOUNT = "devstoreaccount1"  # Azurite's own, whose key is no secret
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_NO_OBJECT = "\0"  # no key has it


class AzureServer(BucketServer):
    """Azurite and its gate, while the context lasts."""

    scheme = "az"

    @property
    def command(self) -> list[str]:
        """What starts it on its port."""
        quietly = ("--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck")
        return [installed("azurite-blob"), "--blobPort", str(self.port), "--loose", *quietly]

    @property
    def environment(self) -> dict[str, str]:
        """By which its client finds the gate."""
        return {"AZURE_STORAGE_CONNECTION_STRING": _connection_string(self.url)}

    def about(self, request: Request) -> Request:
        """The same request, with its key."""
        key = _after(f"/{_ACCOUNT}/{BUCKET}/", request.path)
        is_body = request.method == "GET" and key != _NO_OBJECT and "comp=" not in request.query
        return request._replace(key=key, is_body=is_body)

    def make_bucket(self) -> None:
        """Create `BUCKET`."""
        self._client().create_container()

    def put(self, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        """Store an object, whose key has the escapes of addresses."""
        self._client().upload_blob(unquote(key), content, overwrite=True, metadata=metadata)

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._client().delete_blob(unquote(key))

    def _client(self) -> Any:
        from azure.storage.blob import ContainerClient

        address = _connection_string(f"http://127.0.0.1:{self.port}")
        return ContainerClient.from_connection_string(address, BUCKET)


def _connection_string(url: str) -> str:
    account = f"AccountName={_ACCOUNT};AccountKey={_KEY}"
    return f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={url}/{_ACCOUNT};"


class GoogleServer(BucketServer):
    """The emulator and its gate, while the context lasts."""

    scheme = "gs"

    @property
    def command(self) -> list[str]:
        """What starts it on its port."""
        place = ("--host=127.0.0.1", f"--port={self.port}")
        return [installed("gcp-storage-emulator"), "start", *place, "--in-memory"]

    @property
    def environment(self) -> dict[str, str]:
        """By which its client finds the gate, and neither credentials nor a place to ask for them."""
        return {"STORAGE_EMULATOR_HOST": self.url, "NO_GCE_CHECK": "true"}

    def about(self, request: Request) -> Request:
        """The same request, with its key."""
        start, _, path = request.path.partition(f"/storage/v1/b/{BUCKET}/o/")
        key = path or parse_qs(request.query).get("name", [_NO_OBJECT])[0]
        return request._replace(key=key, is_body=start == "/download")

    def make_bucket(self) -> None:
        """Create `BUCKET`."""
        content_type = {"Content-Type": "application/json"}
        self.request("POST", "/storage/v1/b?project=p", b'{"name": "%s"}' % BUCKET.encode(), content_type)

    def put(self, key: str, content: bytes) -> None:
        """Store an object, whose key has the escapes of addresses."""
        about = json.dumps({"name": unquote(key)}).encode()
        parts = (
            b"Content-Type: application/json; charset=UTF-8\r\n\r\n" + about,
            b"Content-Type: application/octet-stream\r\n\r\n" + content,
        )
        body = b"".join(b"--between\r\n" + part + b"\r\n" for part in parts) + b"--between--\r\n"
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
        self.request("POST", path, body, {"Content-Type": "multipart/related; boundary=between"})

    def remove(self, key: str) -> None:
        """Remove an object."""
        self.request("DELETE", f"/storage/v1/b/{BUCKET}/o/{key.replace('/', '%2F')}")


def _after(start: str, path: str) -> str:
    return path.removeprefix(start) if path.startswith(start) else _NO_OBJECT


def installed(program: str) -> str:
    """Where a program is, beside this Python or elsewhere; a test is skipped without it."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(program, path=folders)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture(scope="module")
def azure_of_module() -> Iterator[AzureServer]:
    """A server of its own for each module, in which its tests find what earlier ones have stored."""
    pytest.importorskip("adlfs", reason="adlfs is not installed")
    with AzureServer() as running:
        yield running


@pytest.fixture(scope="module")
def google_of_module() -> Iterator[GoogleServer]:
    """A server of its own for each module, in which its tests find what earlier ones have stored."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    with GoogleServer() as running:
        yield running


@pytest.fixture(params=["s3", "google", "azure"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """The server of each service in turn, which this process finds, and tried again with short waits."""
    server: BucketServer = request.getfixturevalue(f"{request.param}_of_module")
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    with connected(server):
        yield server
