"""S3 on 127.0.0.1: moto's server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from gate import BUCKET, BucketServer, Request, connected

from clipcli.remote import retries

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "geheim",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"


class S3Server(BucketServer):
    """Moto's server and its gate, while the context lasts."""

    scheme = "s3"

    @property
    def command(self) -> list[str]:
        """What starts it on its port."""
        return [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(self.port)]

    @property
    def environment(self) -> dict[str, str]:
        """By which its client finds the gate."""
        return {**_ENVIRONMENT, "AWS_ENDPOINT_URL": self.url}

    def about(self, request: Request) -> Request:
        """The same request, with its key: the path as it is where it is not that of an object."""
        key = request.path.removeprefix(f"/{BUCKET}/")
        is_body = request.method == "GET" and request.path.count("/") > 1 and key != ""
        return request._replace(key=key, is_body=is_body)

    def make_bucket(self) -> None:
        """Create `BUCKET`."""
        self._ask("PUT", f"/{BUCKET}")

    def put(self, key: str, content: bytes) -> None:
        """Store an object, whose key has the escapes of addresses."""
        self._ask("PUT", f"/{BUCKET}/{key}", content)

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._ask("DELETE", f"/{BUCKET}/{key}")

    def _ask(self, method: str, path: str, content: bytes = b"") -> None:
        self.request(method, path, content, {"Authorization": _AUTHORIZATION})


@pytest.fixture(scope="module")
def s3_of_module() -> Iterator[S3Server]:
    """A server of its own for each module, in which its tests find what earlier ones have stored."""
    for library in ("s3fs", "moto"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    with S3Server() as running:
        yield running


@pytest.fixture
def s3(s3_of_module: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The module's server, which this process finds, without faults, and tried again with short waits."""
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    with connected(s3_of_module):
        yield s3_of_module
