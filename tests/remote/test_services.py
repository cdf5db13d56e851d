"""What holds of objects in the buckets of every service, by servers of them and their real libraries."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import pytest
from gate import BUCKET, BucketServer, connected
from other_bucket_servers import AzureServer

from clipcli.errors import RemoteError
from clipcli.remote import buckets, clients, objects, retries

IMPATIENT = 0.5  # seconds, far less than what the libraries would wait or try again for


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retries.TIMEOUT, str(IMPATIENT))


def url(service: BucketServer, key: str) -> str:
    return f"{service.scheme}://{BUCKET}/{key}"


def reason(address: str) -> str:
    with pytest.raises(RemoteError) as raised:
        buckets.fetch(address)
    return raised.value.message


def enters(_: str) -> bool:
    return True


def names(service: BucketServer, folder: str) -> list[str]:
    return [
        entry.url.removeprefix(url(service, folder)) for entry in buckets.below(url(service, folder), enters)
    ]


def test_an_object_with_an_odd_name(service: BucketServer) -> None:
    service.put("odd/a%20b%23%3F%25%C3%A9.png", b"content")
    address = url(service, "odd/a b#?%é.png")
    assert buckets.fetch(address) == b"content"
    (entry,) = buckets.below(url(service, "odd/"), enters)
    assert entry.url == address
    assert entry.facts == buckets.facts(address), "a listing and a question tell the same"
    assert entry.facts.size == 7
    with buckets.opened(address) as stream:
        assert stream.read() == b"content"


def test_an_object_is_asked_for_in_one_request(service: BucketServer) -> None:
    service.put("single", b"content")
    facts = buckets.facts(url(service, "single"))
    assert len(service.gate.seen) == 1
    assert not service.gate.bodies()
    assert buckets.fetch(url(service, "single"), facts.size) == b"content"
    assert service.gate.bodies() == len(service.gate.seen) - 1 == 1


def test_an_empty_object(service: BucketServer) -> None:
    service.put("empty", b"")
    assert buckets.fetch(url(service, "empty")) == b""


def test_a_changed_object_has_another_version(service: BucketServer) -> None:
    service.put("changing/a", b"before")
    before = list(buckets.children(url(service, "changing/")))
    service.put("changing/a", b"behind")
    (after,) = buckets.children(url(service, "changing/"))
    assert after.facts.token == buckets.facts(after.url).token != before[0].facts.token
    assert after.facts.token is not None


def test_folders_and_what_is_in_them(service: BucketServer) -> None:
    for key in ("tree/a/1", "tree/a/b/2", "tree/a-b/4", "tree/c/b/5", "tree/c/6", "tree/7", "other/8"):
        service.put(key, b"content")
    assert names(service, "tree/") == sorted(("7", "a-b/4", "a/1", "a/b/2", "c/6", "c/b/5"))
    level = [
        (one.url.removeprefix(url(service, "tree/")), one.is_folder)
        for one in buckets.children(url(service, "tree/"))
    ]
    assert sorted(level) == [("7", False), ("a-b/", True), ("a/", True), ("c/", True)]
    assert all(
        "tree/a/b" not in one.url for one in buckets.below(url(service, "tree/"), lambda f: f != "a/b")
    )
    with pytest.raises(RemoteError, match="no such object"):
        buckets.facts(url(service, "tree/a"))


def test_an_object_that_is_called_like_a_folder(service: BucketServer) -> None:
    service.put("both/x", b"object")
    service.put("both/x/y", b"content")
    assert names(service, "both/") == ["x", "x/y"]
    assert buckets.fetch(url(service, "both/x")) == b"object"
    level = {one.url.removeprefix(url(service, "both/")) for one in buckets.children(url(service, "both/"))}
    assert level == {"x", "x/"}


def test_a_folder_that_is_an_object_too(service: BucketServer) -> None:
    """As the consoles of the services make it: an empty object whose name ends with a slash."""
    service.put("made/folder/", b"")
    service.put("made/folder/a.png", b"content")
    service.put("made/empty/", b"")
    assert names(service, "made/") == ["folder/a.png"]
    assert names(service, "made/folder/") == ["a.png"]


@pytest.mark.parametrize("name", ["hdi_isfolder", "Hdi_isfolder", "is_directory"])
def test_what_azure_keeps_of_a_folder_is_no_object(azure_of_module: AzureServer, name: str) -> None:
    """As in hierarchical namespaces: a blob for each folder, beside the blobs in it."""
    azure_of_module.put(f"{name}/folder", b"", {name: "true"})
    azure_of_module.put(f"{name}/folder/a.png", b"content", {"is_directory": "false"})
    with connected(azure_of_module) as service:
        assert names(service, f"{name}/") == ["folder/a.png"]
        (folder,) = buckets.children(url(service, f"{name}/"))
        assert (folder.url, folder.is_folder) == (url(service, f"{name}/folder/"), True)
        with pytest.raises(RemoteError, match="no such object"):
            buckets.facts(url(service, f"{name}/folder"))


def paged(service: BucketServer, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have listings come in pages of this size: Google's emulator has none, so that its answers are cut."""
    system = clients.file_system(url(service, ""))
    if service.scheme == "s3":
        monkeypatch.setattr(system, "call_s3", partial(system.call_s3, MaxKeys=size))
        return
    if service.scheme == "az":
        from azure.storage.blob.aio import ContainerClient

        for listing in ("list_blobs", "walk_blobs"):
            fewer = partialmethod(getattr(ContainerClient, listing), results_per_page=size)
            monkeypatch.setattr(ContainerClient, listing, fewer)
        return
    whole = system.call

    def cut(*request: Any, pageToken: str | None = None, **options: Any) -> Any:
        answer = whole(*request, **options)
        found = [*answer.get("items", ()), *answer.get("prefixes", ())]
        start = int(pageToken or 0)
        page = found[start : start + size]
        parts = {
            "items": [one for one in page if isinstance(one, dict)],
            "prefixes": [one for one in page if isinstance(one, str)],
        }
        following = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        return {name: part for name, part in parts.items() if part} | following

    monkeypatch.setattr(system, "call", cut)


@pytest.mark.parametrize("size", [1, 2])
def test_a_listing_comes_page_by_page(
    service: BucketServer, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["many/0.png", "many/1.png", "many/2/a.png", "many/3.png", "many/4/b.png"]
    for key in keys:
        service.put(key, b"content")
    paged(service, size, monkeypatch)
    address = url(service, "many/")
    listing = buckets.below(address, enters)
    assert next(listing).url == f"{address}0.png"
    assert len(service.gate.seen) == 1
    assert [one.url for one in listing] == [url(service, key) for key in keys[1:]]
    assert len(service.gate.seen) >= len(keys) / size
    level = [one.url.removeprefix(address) for one in buckets.children(address)]
    assert sorted(level) == ["0.png", "1.png", "2/", "3.png", "4/"]


def test_nothing_there(service: BucketServer) -> None:
    assert reason(url(service, "nothing")) == "no such object"
    assert list(buckets.children(url(service, "no/such/folder/"))) == []
    assert list(buckets.below(url(service, "no/such/folder/"), enters)) == []
    with pytest.raises(RemoteError, match="no such object"):
        objects.opened(url(service, "nothing"))
    with pytest.raises(RemoteError, match="no such bucket"):
        list(buckets.below(f"{service.scheme}://no-such-bucket/", enters))
    with pytest.raises(RemoteError, match="no such bucket"):
        list(buckets.children(f"{service.scheme}://no-such-bucket/a/"))


@pytest.mark.parametrize("status", [401, 403])
def test_no_access(service: BucketServer, status: int) -> None:
    service.put("secret", b"content")
    service.gate.statuses["secret"] = status
    assert reason(url(service, "secret")).startswith("access denied: ")
    assert len(service.gate.seen) == 1


def test_what_may_pass_is_tried_again_as_often_as_we_say(service: BucketServer) -> None:
    service.put("busy", b"content")
    service.gate.busy["busy"] = 4
    started = time.monotonic()
    assert buckets.fetch(url(service, "busy"), 7) == b"content"
    assert service.gate.bodies() == len(service.gate.seen) == 5, "nothing else is asked"
    service.gate.busy["busy"] = 9
    assert reason(url(service, "busy")) == "server busy: HTTP 503"
    assert service.gate.bodies() == 10
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_questions_are_tried_again_too(
    service: BucketServer, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(retries.ATTEMPTS, "3")
    service.gate.statuses["busy"] = status
    assert reason(url(service, "busy")) == f"server busy: HTTP {status}"
    assert len(service.gate.seen) == 3


def test_a_stall_is_a_timeout(service: BucketServer) -> None:
    service.put("stalled", b"content")
    service.gate.stalls["stalled"] = 1
    assert buckets.fetch(url(service, "stalled"), 7) == b"content"
    service.gate.stalls["stalled"] = 9
    started = time.monotonic()
    assert reason(url(service, "stalled")) == f"timeout: no data for {IMPATIENT} s"
    assert time.monotonic() - started < 10


def test_no_server(service: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value.replace(service.url, "http://127.0.0.1:9"))
    started = time.monotonic()
    assert reason(url(service, "a")) == "connection lost, or none to be had"
    assert time.monotonic() - started < 10


def test_too_large(service: BucketServer) -> None:
    service.put("large", b"content")
    with pytest.raises(RemoteError, match="too large"):
        buckets.fetch(url(service, "large"), limit=6)
    assert not service.gate.bodies()


def test_many_threads_share_one_file_system(service: BucketServer) -> None:
    service.put("shared", b"content")
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(buckets.fetch(url(service, "shared"), 7)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [b"content"] * 20


def test_a_stream_reads_what_is_needed(service: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retries.TIMEOUT, "10")
    content = bytes(range(256)) * 100_000
    service.put("long", content)
    with objects.opened(url(service, "long")) as stream:
        stream.seek(-100, io.SEEK_END)
        assert stream.read() == content[-100:]
        stream.seek(1000)
        assert stream.read(16) == content[1000:1016]


def test_parts_of_a_stream_are_tried_again(service: BucketServer) -> None:
    content = bytes(range(256)) * 40_000
    service.put("parts", content)
    with objects.opened(url(service, "parts")) as stream:
        service.gate.busy["parts"] = 4
        assert stream.read(16) == content[:16]
        stream.seek(9_000_000)
        service.gate.stalls["parts"] = 1
        assert stream.read(16) == content[9_000_000:][:16]
        service.gate.busy["parts"] = 99
        stream.seek(-16, io.SEEK_END)
        assert stream.read() == content[-16:], "it is there already"
    with (
        objects.opened(url(service, "parts")) as stream,
        pytest.raises(OSError, match="server busy: HTTP 503"),
    ):
        stream.read(16)


def test_a_stream_whose_object_goes_away(service: BucketServer) -> None:
    service.put("going", b"x" * 10_000_000)
    with objects.opened(url(service, "going")) as stream:
        service.remove("going")
        with pytest.raises(OSError, match="no such object"):
            stream.read(10)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # of aiohttp, about its caller
def test_an_upload_appears_whole(
    service: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(retries.TIMEOUT, "10")
    file = tmp_path / "out.csv"
    file.write_bytes(b"a,b\n" * 4_000_000)  # in several parts
    address = url(service, "out/out.csv")
    objects.check_writable(address)
    assert names(service, "out/") == [], "nothing is left of the check"
    for _ in range(2):  # the second time in the place of the first
        objects.upload(str(file), address)
        assert buckets.fetch(address) == file.read_bytes()
    assert names(service, "out/") == ["out.csv"]


def test_the_check_of_a_place_changes_nothing_there(service: BucketServer) -> None:
    service.put("place/old.csv", b"before")
    before = buckets.facts(url(service, "place/old.csv"))
    service.gate.seen.clear()
    for name in ("old.csv", "new.csv"):
        objects.check_writable(url(service, f"place/{name}"))
    if service.scheme != "s3":  # where ending an upload needs a right that whoever began it has
        assert not [request for request in service.gate.seen if request.method == "DELETE"]
        assert len(service.gate.seen) == 2
    assert buckets.facts(url(service, "place/old.csv")) == before
    assert buckets.fetch(url(service, "place/old.csv")) == b"before"
    assert names(service, "place/") == ["old.csv"]


def test_places_that_cannot_be_written(service: BucketServer, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="no such bucket"):
        objects.check_writable(f"{service.scheme}://no-such-bucket/out.csv")
    service.gate.statuses["denied.csv"] = 403
    with pytest.raises(RemoteError, match="access denied"):
        objects.check_writable(url(service, "denied.csv"))
    (tmp_path / "a").write_bytes(b"content")
    with pytest.raises(RemoteError, match="no such bucket"):
        objects.upload(str(tmp_path / "a"), f"{service.scheme}://no-such-bucket/out.csv")


_FORKS = """
import os, sys
from clipcli.remote import objects

def content():
    return objects.fetch(sys.argv[1]).decode()

before = content()
child = os.fork()
if not child:
    os._exit(0 if content() == before else 1)
print(before, os.waitpid(child, 0)[1], content() == before)
"""


def test_a_process_that_was_forked_has_its_own_connections(service: BucketServer) -> None:
    service.put("forked", b"content")
    command = [sys.executable, "-c", _FORKS, url(service, "forked")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "content 0 True\n"), ran.stderr


def test_azure_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs", reason="adlfs is not installed")
    for name in ("CONNECTION_STRING", "ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    with pytest.raises(RemoteError, match="no storage account is set up") as raised:
        buckets.fetch("az://photos/a.png")
    assert "AZURE_STORAGE_CONNECTION_STRING" in raised.value.hint
