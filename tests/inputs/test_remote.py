"""Images at addresses, as items: what is found in buckets, and what lists and tables name."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gate import BUCKET
from hub_server import Hub
from s3_server import S3Server
from web_server import WebServer

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named
from clipcli.inputs.remote import RemoteItem, remote_item
from clipcli.inputs.streams import opened
from clipcli.records import ImageFailure
from clipcli.remote import clients

KEYS = (
    "a/1.jpg",
    "a/2.PNG",
    "a/notes.txt",
    "a/.hidden.png",
    "a/b/3.jpg",
    "a/b/4.zip",
    "a/drafts/5.jpg",
    "a/folder/",
    "c/6.jpg",
    "docs/readme.txt",
    "odd/[x].jpg",
    "top.png",
)


@pytest.fixture(scope="module")
def s3_of_module(s3_of_module: S3Server) -> S3Server:
    for key in KEYS:
        s3_of_module.put(key, key.encode())
    return s3_of_module


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with WebServer() as running:
        running.site.files["a.png"] = b"content"
        yield running


def keys(found: Inputs) -> list[str]:
    """What is found, by keys in the bucket."""
    return [one.name.removeprefix(f"s3://{BUCKET}/") for one in found if not isinstance(one, ImageFailure)]


def below(*paths: str, **options: Any) -> list[str]:
    return keys(Inputs(tuple(f"s3://{BUCKET}{path}" for path in paths), **options))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a", ["a/1.jpg", "a/2.PNG", "a/b/3.jpg", "a/drafts/5.jpg"]),
        ("/a/", ["a/1.jpg", "a/2.PNG", "a/b/3.jpg", "a/drafts/5.jpg"]),
        ("", ["a/1.jpg", "a/2.PNG", "a/b/3.jpg", "a/drafts/5.jpg", "c/6.jpg", "odd/[x].jpg", "top.png"]),
        ("/a/notes.txt", ["a/notes.txt"]),
        ("/odd/[x].jpg", ["odd/[x].jpg"]),
        ("/a/*", ["a/1.jpg", "a/2.PNG", "a/b/3.jpg", "a/drafts/5.jpg", "a/notes.txt"]),
        ("/*/*.jpg", ["a/1.jpg", "c/6.jpg", "odd/[x].jpg"]),
        ("/?/b", ["a/b/3.jpg"]),
        ("/*/b/*.jpg", ["a/b/3.jpg"]),
        ("/**/*.jpg", ["a/1.jpg", "a/b/3.jpg", "a/drafts/5.jpg", "c/6.jpg", "odd/[x].jpg"]),
        ("/a/**", ["a/1.jpg", "a/2.PNG", "a/b/3.jpg", "a/drafts/5.jpg"]),
        ("/a/*/3.jpg", ["a/b/3.jpg"]),
    ],
)
def test_objects_folders_and_globs(s3: S3Server, path: str, expected: list[str]) -> None:
    assert sorted(below(path)) == expected
    assert not s3.gate.bodies()


def test_the_same_is_found_as_in_a_folder(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for key in KEYS[:-1]:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if key.endswith("/") else path.touch()
    for options in ({}, {"include": ("*.png",)}, {"exclude": ("drafts", "/b/")}):
        for path in ("a", "*", "a/*", "*/b", "**/*.jpg", "a/**"):
            remote, local = Inputs((f"s3://{BUCKET}/{path}",), **options), Inputs((path,), **options)
            expected = sorted(one.name for one in local if "top.png" not in one.name)
            assert sorted(key for key in keys(remote) if key != "top.png") == expected, (path, options)
        remote, local = Inputs((f"s3://{BUCKET}/a",), **options), Inputs(("a",), **options)
        list(remote), list(local)
        for counts in ("kinds", "suffixes", "reasons", "folders"):
            assert getattr(remote.left_out, counts) == getattr(local.left_out, counts)


def test_two_runs_see_the_same_order(s3: S3Server) -> None:
    assert below("/a", "") == below("/a", "")


def test_an_item_of_a_listing_is_that_of_its_name(s3: S3Server) -> None:
    (listed,) = Inputs((f"s3://{BUCKET}/c",))
    named = item_named(listed.name)
    assert not isinstance(named, ImageFailure)
    asked = len(s3.gate.seen)
    assert listed.version() is not None
    assert len(s3.gate.seen) == asked, "the listing has told"
    assert named.version() == listed.version()
    assert named.read() == listed.read() == b"c/6.jpg"
    assert pickle.loads(pickle.dumps(listed)).read() == b"c/6.jpg"
    with opened(listed) as stream:
        assert stream.read(3) == b"c/6"


def test_a_folder_without_images_is_there_all_the_same(s3: S3Server) -> None:
    found = Inputs((f"s3://{BUCKET}/docs",))
    assert keys(found) == []
    assert found.left_out.suffixes == {".txt": 1}


def test_nothing_at_an_address(s3: S3Server) -> None:
    for path in ("nothing", "a/*.gif", "a/x/", "**/*.gif"):
        with pytest.raises(UsageError, match=f"nothing is at s3://{BUCKET}/"):
            Inputs((f"s3://{BUCKET}/{path}",))
    with pytest.raises(UsageError, match="no such bucket"):
        Inputs(("s3://no-such-bucket/a",))


def test_a_listing_that_breaks_off_is_a_row(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Inputs((f"s3://{BUCKET}/a/",))
    s3.gate.statuses[f"/{BUCKET}"] = s3.gate.statuses[""] = 403
    (failure,) = found
    assert isinstance(failure, ImageFailure)
    assert failure.reason.startswith("cannot be listed: access denied")


def test_a_library_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gs:// needs gcsfs") as raised:
        Inputs(("gs://bucket/a.png",))
    assert raised.value.hint == "pip install 'clipcli[gcs]'"
    item = item_named("gs://bucket/a.png")
    assert not isinstance(item, ImageFailure)
    assert item.version() is None
    with pytest.raises(ImageError, match=r"gs:// needs gcsfs: pip install 'clipcli\[gcs\]'"):
        item.read()


def test_offline_is_told_at_once(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for address in (f"{web.url}a.png?token=geheim", "s3://bucket/a"):
        with pytest.raises(UsageError, match="offline: nothing is read from the network") as raised:
            Inputs((address,))
        assert "geheim" not in raised.value.message
    (item,) = Inputs(from_file=write("list.txt", f"{web.url}a.png\n"))
    with pytest.raises(ImageError, match="offline"):
        item.read()
    assert not web.site.seen


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "named",
    [
        lambda url: Inputs((url,)),
        lambda url: Inputs(from_file=write("list.txt", f"{url}\n")),
        lambda url: Inputs(from_file=write("list.csv", f"image,colour\n{url},red\n")),
    ],
)
def test_addresses_in_arguments_lists_and_tables(web: WebServer, named: Callable[[str], Inputs]) -> None:
    (item,) = named(f"{web.url}a.png?token=geheim&w=1")
    assert isinstance(item, RemoteItem)
    assert item.name == f"{web.url}a.png?token=***&w=1"
    assert item.read() == b"content"
    assert "token=geheim" in web.site.seen[-1]["path"]
    assert "geheim" not in repr(item)
    with opened(item) as stream:
        stream.seek(3)
        assert stream.read() == b"tent"


def test_columns_travel_with_addresses(web: WebServer) -> None:
    (item,) = Inputs(from_file=write("list.csv", f"image,colour\n{web.url}a.png,red\n"))
    assert item.columns == {"colour": "red"}


def test_the_version_of_an_address_that_is_signed_anew_stays(web: WebServer) -> None:
    first, again = (
        remote_item(f"{web.url}a.png?X-Amz-Date={date}&X-Amz-Signature={date}x") for date in (1, 2)
    )
    assert first.version() == again.version() is not None
    token, other = (remote_item(f"{web.url}a.png?token={token}") for token in (1, 2))
    assert token.version() != other.version(), "it may say which image is meant"


def test_what_is_not_there_has_no_version(web: WebServer) -> None:
    item = remote_item(f"{web.url}b.png")
    assert item.version() is None
    with pytest.raises(ImageError, match="no such object"):
        item.read()


def test_a_stream_of_what_is_not_there(web: WebServer) -> None:
    with pytest.raises(ImageError, match="no such object"):
        opened(remote_item(f"{web.url}b.png"))


_READS = """
import sys
from clipcli.inputs.inputs import Inputs

for address in sys.argv[1:]:
    for one in Inputs((address,)):
        print(one.name, one.version().token, one.read().decode())
"""


def test_images_in_a_repository_of_the_hub(tmp_path: Path) -> None:
    """In a process of its own, for the hub's client reads its address when it is imported."""
    start = "hf://datasets/o/n/photos"
    with Hub({"o/n": {"photos/a.png": b"one", "photos/b.png": b"two", "data/x.parquet": b"x"}}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}
        command = [sys.executable, "-c", _READS, f"{start}/a.png", f"{start}/*.png"]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0].removeprefix(start) for line in printed.splitlines()] == [
        "/a.png",
        "/a.png",
        "/b.png",
    ]
    first, again, other = (line.split()[1:] for line in printed.splitlines())
    assert first == again
    assert (first[-1], other[-1]) == ("one", "two")
