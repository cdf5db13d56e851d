"""Objects in buckets: S3 by a server of its own, what all services have in common by fsspec's memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from gate import BUCKET
from s3_server import S3Server
from web_server import WebServer

from clipcli.errors import RemoteError
from clipcli.remote import buckets, clients, failures, objects, places, retries


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retries.TIMEOUT, "2")


def url(key: str) -> str:
    return f"s3://{BUCKET}/{key}"


def reason(key: str) -> str:
    with pytest.raises(RemoteError) as raised:
        buckets.fetch(url(key))
    return raised.value.message


def enters(_: str) -> bool:
    return True


def test_an_object_with_an_odd_name(s3: S3Server) -> None:
    s3.put("odd/a%20b%23%3F%25%C3%A9.png", b"content")
    assert buckets.fetch(url("odd/a b#?%é.png")) == b"content"
    (entry,) = buckets.below(url("odd/"), enters)
    assert entry.url == url("odd/a b#?%é.png")
    assert entry.facts == buckets.facts(entry.url), "a listing and a question tell the same"
    assert entry.facts.size == 7


def test_an_empty_object(s3: S3Server) -> None:
    s3.put("empty", b"")
    assert buckets.fetch(url("empty")) == b""


def test_nothing_there(s3: S3Server) -> None:
    assert reason("nothing") == "no such object"
    with pytest.raises(RemoteError, match="no such bucket"):
        list(buckets.below("s3://no-such-bucket/", enters))


def test_no_access(s3: S3Server) -> None:
    s3.put("secret", b"content")
    s3.gate.statuses["secret"] = 403
    assert reason("secret").startswith("access denied: ")
    assert len(s3.gate.seen) == 1


def test_what_may_pass_is_tried_again_as_often_as_we_say(s3: S3Server) -> None:
    s3.put("a", b"content")
    s3.gate.busy["a"] = 4
    assert buckets.fetch(url("a"), 7) == b"content"
    assert s3.gate.bodies() == len(s3.gate.seen) == 5, "nothing else is asked"
    s3.gate.busy["a"] = 9
    assert reason("a") == "server busy: HTTP 503"
    assert s3.gate.bodies() == 10


def test_a_stall_is_a_timeout(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retries.TIMEOUT, "0.3")
    s3.put("a", b"content")
    s3.gate.stalls["a"] = 1
    assert buckets.fetch(url("a"), 7) == b"content"
    s3.gate.stalls["a"] = 9
    assert reason("a") == "timeout: no data for 0.3 s"


def test_no_server(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert reason("a") == "connection lost, or none to be had"


def test_no_credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert reason("a") == "access denied: no credentials are found"


def test_too_large(s3: S3Server) -> None:
    s3.put("a", b"content")
    with pytest.raises(RemoteError, match="too large"):
        buckets.fetch(url("a"), limit=6)
    assert not s3.gate.bodies()


def test_a_listing_comes_page_by_page(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        s3.put(f"many/{number}.png", b"content")
    system = clients.file_system_of("s3", os.getpid())
    real = system.call_s3
    monkeypatch.setattr(system, "call_s3", lambda *args, **kwargs: real(*args, MaxKeys=3, **kwargs))
    listing = buckets.below(url("many/"), enters)
    assert [next(listing).url for _ in range(3)] == [url(f"many/{number}.png") for number in range(3)]
    assert sum("list-type=2" in request.query for request in s3.gate.seen) == 1
    assert [entry.url for entry in listing] == [url(f"many/{number}.png") for number in range(3, 7)]
    assert sum("list-type=2" in request.query for request in s3.gate.seen) == 3


def test_folders_that_are_not_wanted_are_asked_for_once_each(s3: S3Server) -> None:
    for key in (
        "tree/a/1",
        "tree/a/b/2",
        "tree/a/b/3",
        "tree/a-b/4",
        "tree/c/b/5",
        "tree/c/6",
        "tree/7",
        "tree/d/",
    ):
        s3.put(key, b"content")
    asked: list[str] = []

    def wanted(folder: str) -> bool:
        asked.append(folder)
        return folder != "a/b"

    found = [entry.url.removeprefix(url("tree/")) for entry in buckets.below(url("tree/"), wanted)]
    assert found == ["7", "a-b/4", "a/1", "c/6", "c/b/5"]
    assert sorted(asked) == ["a", "a-b", "a/b", "c", "c/b"]
    level = [
        (entry.url.removeprefix(url("tree/")), entry.is_folder) for entry in buckets.children(url("tree/"))
    ]
    assert level == [("7", False), ("a-b/", True), ("a/", True), ("c/", True), ("d/", True)]


def test_many_threads_share_one_file_system(s3: S3Server) -> None:
    s3.put("a", b"content")
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(buckets.fetch(url("a"), 7))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [b"content"] * 20


def test_a_stream_reads_what_is_needed(s3: S3Server) -> None:
    content = bytes(range(256)) * 100_000
    s3.put("large", content)
    with objects.opened(url("large")) as stream:
        stream.seek(-100, io.SEEK_END)
        assert stream.read() == content[-100:]
        stream.seek(1000)
        assert stream.read(16) == content[1000:1016]
    with pytest.raises(RemoteError, match="no such object"):
        objects.opened(url("nothing"))


def test_a_stream_whose_object_goes_away(s3: S3Server) -> None:
    s3.put("going", b"x" * 10_000_000)
    with objects.opened(url("going")) as stream:
        s3.remove("going")
        with pytest.raises(OSError, match="no such object"):
            stream.read(10)


def test_an_upload_appears_whole(s3: S3Server, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_bytes(b"a,b\n" * 4_000_000)  # in several parts
    objects.check_writable(url("out/out.csv"))
    assert list(buckets.below(url("out/"), enters)) == [], "nothing is left of the check"
    objects.upload(str(file), url("out/out.csv"))
    assert buckets.fetch(url("out/out.csv")) == file.read_bytes()


def test_places_that_cannot_be_written(s3: S3Server) -> None:
    with pytest.raises(RemoteError, match="no such bucket"):
        objects.check_writable("s3://no-such-bucket/out.csv")
    s3.gate.statuses["out.csv"] = 403
    with pytest.raises(RemoteError, match="access denied"):
        objects.check_writable(url("out.csv"))
    with pytest.raises(RemoteError, match="http has no way to write"):
        objects.check_writable("http://127.0.0.1/out.csv")


@pytest.mark.parametrize(
    ("address", "library", "extra"),
    [("s3://b/a", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs"), ("az://b/a", "adlfs", "azure")],
)
def test_a_library_that_is_not_installed(
    address: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)
    with pytest.raises(RemoteError, match=library) as raised:
        buckets.fetch(address)
    assert raised.value.hint == f"pip install 'clipcli[{extra}]'"


_FORKS = """
import os, sys
from clipcli.remote import objects

def contents():
    return b"".join(map(objects.fetch, sys.argv[1:])).decode()

before = contents()
child = os.fork()
if not child:
    os._exit(0 if contents() == before else 1)
print(before, os.waitpid(child, 0)[1], contents() == before)
"""


def test_a_process_that_was_forked_has_its_own_connections(s3: S3Server) -> None:
    s3.put("a", b"content")
    with WebServer() as web:
        web.site.files["a"] = b"content"
        command = [sys.executable, "-W", "ignore", "-c", _FORKS, url("a"), f"{web.url}a"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed == "contentcontent 0 True\n"


# --- What all services have in common ---------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """fsspec's file system in memory, in the place of the hub's."""
    import fsspec

    system = fsspec.filesystem("memory", skip_instance_cache=True)
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for name in ("b/x/1.png", "b/x/y/2.png", "b/x/z/3.png", "b/w.png"):
        system.pipe_file(name, name.encode())
    for module in (buckets, places):
        monkeypatch.setattr(module, "file_system", lambda url: _Stripped(system))
    yield system
    system.store.clear()


class _Stripped:
    """A file system that knows addresses by another scheme, and names without a slash in front."""

    def __init__(self, system: object) -> None:
        self._system = system

    def __getattr__(self, name: str) -> object:
        function = getattr(self._system, name)

        def called(*args: object, **kwargs: object) -> object:
            plain = [one.removeprefix("hf://") if isinstance(one, str) else one for one in args]
            found = function(*plain, **kwargs)
            return [{**info, "name": info["name"].lstrip("/")} for info in found] if name == "ls" else found

        return called


def test_any_service_lists_what_it_has(memory: object) -> None:
    found = [entry.url for entry in buckets.below("hf://b/", lambda folder: folder != "x/z")]
    assert found == ["hf://b/w.png", "hf://b/x/1.png", "hf://b/x/y/2.png"]
    level = [(entry.url, entry.is_folder) for entry in buckets.children("hf://b/x/")]
    assert level == [("hf://b/x/1.png", False), ("hf://b/x/y/", True), ("hf://b/x/z/", True)]


def test_any_service_gives_and_takes(memory: object, tmp_path: Path) -> None:
    assert buckets.fetch("hf://b/w.png") == b"b/w.png"
    (tmp_path / "a").write_bytes(b"content")
    places.check_writable("hf://b/new")
    with pytest.raises(RemoteError, match="no such object"):
        buckets.fetch("hf://b/new")
    buckets.upload(str(tmp_path / "a"), "hf://b/new")
    with buckets.opened("hf://b/new") as stream:
        assert stream.read() == b"content"
    with pytest.raises(RemoteError, match="no such object"):
        buckets.facts("hf://b/x")


def test_what_tells_of_a_change() -> None:
    time = datetime(2026, 1, 2, tzinfo=timezone.utc)
    google = {
        "name": "b/a",
        "size": 3,
        "etag": "CK=",
        "generation": "17",
        "crc32c": "x",
        "updated": "2026-01-02",
    }
    azure = {"name": "b/a", "size": 3, "etag": "0x8", "last_modified": time}
    hub = {"name": "datasets/o/n/a", "size": 3, "blob_id": "c0ffee", "last_commit": None}
    assert buckets.facts_of(google).token == "CK= 2026-01-02 3"
    assert buckets.facts_of(azure).token == f"0x8 {int(time.timestamp())} 3"
    assert buckets.facts_of(hub).token == "c0ffee 3"
    assert buckets.facts_of({"name": "b/a", "size": 3}).token is None


def test_failures_of_any_library_without_their_secrets() -> None:
    class Refused(Exception):
        status = 400

    class Response:
        status_code = 503

    class Busy(Exception):
        response = Response()

    class ClientAuthenticationError(Exception):
        """Azure's: by its client, or with a status by its service."""

    nobody, denied = ClientAuthenticationError("none"), ClientAuthenticationError("no")
    denied.status_code = 403  # type: ignore[attr-defined]
    assert failures.reason_of(nobody).args[0] == "access denied: no credentials are found"
    assert failures.reason_of(denied).args[0] == "access denied: HTTP 403"
    assert failures.reason_of(Refused("no")).args[0] == "refused: HTTP 400"
    assert isinstance(failures.reason_of(Busy("no")), retries.Temporary)
    told = failures.reason_of(PermissionError("GET https://h/a?sig=geheim&sv=1 failed\nmore"))
    assert told.args[0] == "access denied: GET https://h/a failed"


def test_nothing_is_imported_before_it_is_needed() -> None:
    names = "s3fs requests fsspec ssl urllib3 huggingface_hub"
    code = "import sys, clipcli.files, clipcli.remote.addresses as a; "
    code += f"print([n for n in '{names}'.split() if n in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"
