"""Objects on web servers: what is told of them, what goes wrong, and what is tried again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from web_server import WebServer

from clipcli.errors import RemoteError
from clipcli.remote import retries, web


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv(retries.TIMEOUT, "0.4")
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    with WebServer() as running:
        yield running


def reason(url: str) -> str:
    with pytest.raises(RemoteError) as raised:
        web.fetch(url)
    return raised.value.message


def test_the_content_of_an_object(server: WebServer) -> None:
    server.site.files["a b.png"] = b"content" * 100_000
    assert web.fetch(f"{server.url}a b.png") == server.site.files["a b.png"]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, "no such object"),
        (410, "no such object"),
        (401, "access denied: HTTP 401"),
        (403, "access denied: HTTP 403"),
        (418, "refused: HTTP 418"),
    ],
)
def test_a_refusal_is_final(server: WebServer, status: int, told: str) -> None:
    server.site.statuses["a"] = status
    assert reason(f"{server.url}a") == told
    assert server.site.bodies["a"] == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: WebServer, status: int) -> None:
    server.site.statuses["a"] = status
    assert reason(f"{server.url}a") == f"server busy: HTTP {status}"
    assert server.site.bodies["a"] == 5


def test_an_object_that_comes_in_the_end(server: WebServer) -> None:
    server.site.files["a"] = b"content"
    server.site.busy["a"] = 4
    assert web.fetch(f"{server.url}a") == b"content"


def test_the_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries, "_slept", lambda seconds: bool(waits.append(seconds)))

    def fails() -> None:
        raise retries.Temporary("no")

    for _ in range(20):
        with pytest.raises(RemoteError):
            retries.retried(fails, 5)
    firsts, lasts = waits[::4], waits[3::4]
    assert 0.25 <= min(firsts) < max(firsts) <= 0.5
    assert 2 <= min(lasts) < max(lasts) <= 4


def test_a_server_that_asks_to_wait_is_heeded(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries, "_slept", lambda seconds: bool(waits.append(seconds)))
    server.site.files["a"] = b"content"
    server.site.busy["a"] = 1
    server.site.headers["a"] = {"Retry-After": "7"}
    assert web.fetch(f"{server.url}a") == b"content"
    server.site.busy["a"] = 3
    server.site.headers["a"] = {"Retry-After": formatdate(time.time() + 30, usegmt=True)}
    assert web.fetch(f"{server.url}a") == b"content"
    assert waits[0] == 7
    assert 25 < waits[1] <= 30
    server.site.busy["a"] = 5
    server.site.headers["a"] = {"Retry-After": "86400"}
    assert reason(f"{server.url}a") == "server busy: HTTP 503"
    assert len(waits) == 2


def test_a_stall_is_a_timeout_and_tried_once_more(server: WebServer) -> None:
    server.site.files["a"] = b"content" * 1000
    server.site.stalls["a"] = 1
    assert web.fetch(f"{server.url}a") == server.site.files["a"]
    server.site.stalls["a"] = 9
    started = time.monotonic()
    assert reason(f"{server.url}a") == "timeout: no data for 0.4 s"
    assert time.monotonic() - started < 5
    assert server.site.bodies["a"] == 4


def test_a_body_that_drips_is_a_timeout() -> None:
    class Dripping:
        def read1(self, size: int, decode_content: bool) -> bytes:
            time.sleep(0.05)
            return b"x"

    with pytest.MonkeyPatch.context() as patch, pytest.raises(retries.Temporary, match="1000 bytes a second"):
        patch.setenv(retries.TIMEOUT, "0.3")
        list(web._parts(Dripping()))


def test_too_large_is_told_before_and_while_it_is_read(server: WebServer) -> None:
    server.site.files["a"] = b"x" * 300_000
    with pytest.raises(RemoteError, match="too large"):
        web.fetch(f"{server.url}a", limit=299_999)
    assert len(web.fetch(f"{server.url}a", limit=300_000)) == 300_000


def test_a_body_without_an_end() -> None:
    """Of which the length is not told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
            with pytest.raises(OSError):
                while True:
                    connection.sendall(b"x" * 100_000)

    thread = threading.Thread(target=serve)
    thread.start()
    with listening, pytest.raises(RemoteError, match=r"too large: the limit is 0\.0 GB"):
        web.fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/", limit=5_000_000)
    thread.join(10)
    assert not thread.is_alive()


def test_a_page_is_no_image(server: WebServer) -> None:
    server.site.files["a"] = b"\n<!DOCTYPE html><title>Log in</title>"
    server.site.headers["a"] = {"Content-Type": "text/html; charset=utf-8"}
    assert reason(f"{server.url}a") == "no image but a page, perhaps to log in with: text/html"
    server.site.files["a"] = b"\xff\xd8 an image all the same"
    assert web.fetch(f"{server.url}a").startswith(b"\xff\xd8")


def test_redirects_are_followed_but_not_in_circles(server: WebServer) -> None:
    server.site.files["a"] = b"content"
    server.site.statuses |= {"b": 302, "c": 301}
    server.site.headers |= {"b": {"Location": "/a"}, "c": {"Location": "/c"}}
    assert web.fetch(f"{server.url}b") == b"content"
    assert reason(f"{server.url}c") == "too many redirects"


def test_no_server(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert reason(f"http://127.0.0.1:{port}/a?token=geheim") == "cannot connect: Connection refused"
    assert reason("http://no-such-server.invalid/a").startswith("cannot connect: the name of the server")
    assert reason("http://[half/a") == "no address that can be read"
    assert reason("https://127.0.0.1:" + server.url.split(":")[2]).startswith(
        ("cannot connect", "connection lost")
    )


def test_an_etag_or_a_time_tells_of_a_change(server: WebServer) -> None:
    server.site.files |= {"a": b"one", "b": b"two"}
    first = web.facts(f"{server.url}a")
    assert first.size == 3
    assert first == web.facts(f"{server.url}a")
    server.site.files["a"] = b"uno"
    assert web.facts(f"{server.url}a").token not in (None, first.token)
    server.site.headers["b"] = {"ETag": ""}
    before = web.facts(f"{server.url}b")
    server.site.headers["b"] = {"ETag": "", "Last-Modified": formatdate(1_700_000_001, usegmt=True)}
    assert web.facts(f"{server.url}b").token not in (None, before.token)
    assert not server.site.bodies


def test_nothing_tells_of_a_change(server: WebServer) -> None:
    server.site.files["a"] = b"one"
    server.site.headers["a"] = {"ETag": "", "Last-Modified": ""}
    assert web.facts(f"{server.url}a").token is None
    server.site.headers["a"] = {"ETag": "", "Last-Modified": formatdate(usegmt=True)}
    assert web.facts(f"{server.url}a").token is None, "it may change again within this second"


def test_passwords_go_to_the_server_and_to_no_other(server: WebServer) -> None:
    with WebServer() as other:
        other.site.files["b"] = b"content"
        server.site.statuses["a"] = 302
        server.site.headers["a"] = {"Location": other.url.replace("127.0.0.1", "localhost") + "b"}
        assert web.fetch(server.url.replace("//", "//me:geheim@") + "a") == b"content"
        assert server.site.seen[0]["Authorization"].startswith("Basic ")
        assert "Authorization" not in other.site.seen[0]


def test_connections_are_used_again(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.site.files["a"] = b"content"
    opened: list[object] = []
    monkeypatch.setattr(
        "urllib3.connection.HTTPConnection._new_conn",
        lambda self: opened.append(self) or socket.create_connection((self.host, self.port), 5),
    )
    for _ in range(20):
        web.facts(f"{server.url}a")
        web.fetch(f"{server.url}a")
    assert len(opened) == 1


def test_offline(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert reason(f"{server.url}a") == "offline: nothing is read from the network"
    assert not server.site.bodies


def test_what_nobody_wants_any_more_is_not_tried_again(server: WebServer) -> None:
    server.site.statuses["a"] = 503
    leaving = threading.Event()
    leaving.set()
    with retries.given_up_with(leaving):
        assert reason(f"{server.url}a") == "server busy: HTTP 503"
    assert server.site.bodies["a"] == 1
