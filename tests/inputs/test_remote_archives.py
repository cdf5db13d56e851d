"""Archives in buckets: listed and read in parts, their members known again by the archive's version."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from archive_files import archive, png
from gate import BUCKET
from s3_server import S3Server

from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named, read_named
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure


def sample(number: int, text: str) -> list[tuple[str, bytes]]:
    """An image of a shard, with its class and its caption."""
    files = {"png": png(number), "cls": str(number).encode(), "txt": text.encode()}
    return [(f"{number:04}.{suffix}", content) for suffix, content in files.items()]


def put(s3: S3Server, path: Path, key: str) -> str:
    s3.put(key, path.read_bytes())
    return f"s3://{BUCKET}/{key}"


def read(url: str, reading: Reading | None = None) -> list[tuple[str, object]]:
    found = Inputs((url,), reading=reading or Reading())
    return [
        (one.image, one.reason) if isinstance(one, ImageFailure) else (one.name, one.read()) for one in found
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.zst"])
def test_members_are_read_as_from_a_local_archive(s3: S3Server, tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / name, [("x.png", png(1)), ("sub/y.png", png(2)), ("notes.txt", b"x")])
    url = put(s3, path, name)
    assert read(url) == [(f"{url}!/x.png", png(1)), (f"{url}!/sub/y.png", png(2))]
    assert read_named(f"{url}!/sub/y.png") == png(2)


def test_columns_of_shards_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    for number in range(2):
        path = archive(tmp_path / f"{number}.tar", sample(number, "cat"))
        put(s3, path, f"shard-{number}.tar")
    found = Inputs((f"s3://{BUCKET}/shard-{{0..1}}.tar",))
    assert found.columns == {"cls": int, "txt": str}
    assert [one.columns["cls"] for one in found] == [0, 1]


def test_archives_in_folders_of_a_bucket_are_read_when_asked(s3: S3Server, tmp_path: Path) -> None:
    url = put(s3, archive(tmp_path / "a.zip", [("x.png", png(1))]), "folder/a.zip")
    assert read(f"s3://{BUCKET}/folder/", Reading(archives=True)) == [(f"{url}!/x.png", png(1))]


def test_a_member_has_the_version_of_its_archive(s3: S3Server, tmp_path: Path) -> None:
    url = put(s3, archive(tmp_path / "a.zip", [("x.png", png(1))]), "b.zip")
    first, again = (item_named(f"{url}!/x.png").version() for _ in range(2))  # type: ignore[union-attr]
    assert first is not None and first == again
    put(s3, archive(tmp_path / "b.zip", [("x.png", png(2))]), "b.zip")
    assert item_named(f"{url}!/x.png").version() != first  # type: ignore[union-attr]


def test_an_item_travels_to_another_process(s3: S3Server, tmp_path: Path) -> None:
    url = put(s3, archive(tmp_path / "a.tar", [("x.png", png(1))]), "c.tar")
    (item,) = Inputs((url,))
    assert pickle.loads(pickle.dumps(item)).read() == png(1)


def test_an_archive_that_is_missing_is_a_row(s3: S3Server) -> None:
    url = f"s3://{BUCKET}/none.tar"
    assert read(url) == [(url, "no such object")]


def test_an_archive_on_a_web_server_is_refused() -> None:
    url = "http://127.0.0.1:9/a.tar"
    assert read(url) == [(url, "an archive on a web server: download it first")]
