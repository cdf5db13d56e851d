"""Lists and tables at addresses: which images they name, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gate import BUCKET, BucketServer
from openpyxl import Workbook
from s3_server import S3Server
from web_server import WebServer

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.records import ImageFailure
from clipcli.remote.addresses import beside

PLACE = f"s3://{BUCKET}"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(found: Inputs) -> list[str]:
    return [one.image if isinstance(one, ImageFailure) else one.name for one in found]


def parquet(**columns: list[Any]) -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("a.png", "s3://b/lists/l.txt", "s3://b/lists/a.png"),
        ("x/a.png", "s3://b/l.txt", "s3://b/x/a.png"),
        ("../x/./a.png", "s3://b/lists/l.txt", "s3://b/x/a.png"),
        ("../../../a.png", "s3://b/lists/l.txt", "s3://b/a.png"),
        ("/x/a.png", "s3://b/lists/l.txt", "s3://b/x/a.png"),
        ("x//a #?%.png", "gs://b/odd #?/l.txt", "gs://b/odd #?/x//a #?%.png"),
        ("az://c/a.png", "s3://b/lists/l.txt", "az://c/a.png"),
        ("a.png", "https://me:pw@h:8/lists/l.csv?sig=1/2#x/y", "https://me:pw@h:8/lists/a.png"),
        ("a.png?w=1", "https://h/l", "https://h/a.png?w=1"),
        ("a.png", "https://h?list=1", "https://h/a.png"),
        ("/etc/passwd", "https://h/x/l", "https://h/etc/passwd"),
    ],
)
def test_what_a_name_beside_a_list_means(name: str, url: str, expected: str) -> None:
    assert beside(name, url) == expected


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_list_in_a_bucket(service: BucketServer, separator: str) -> None:
    place = f"{service.scheme}://{BUCKET}"
    named = ["a.png", "sub/b #1.png", "../c.png", "/d.png", f"{place}/other/e.png", "scans.zip!/f.png"]
    service.put("lists/all.txt", separator.join(named).encode())
    service.put("lists/sub/b%20%231.png", b"content")
    found = Inputs(from_file=f"{place}/lists/all.txt")
    assert not found.is_read_once
    expected = [
        f"{place}/{key}"
        for key in (
            "lists/a.png",
            "lists/sub/b #1.png",
            "c.png",
            "d.png",
            "other/e.png",
            "lists/scans.zip!/f.png",
        )
    ]
    assert names(found) == names(found) == expected
    _, item, *_ = found
    assert not isinstance(item, ImageFailure)
    assert item.read() == b"content"


def test_it_is_fetched_once(s3: S3Server) -> None:
    s3.put("lists/all.csv", b"image,kind\na.png,x\nb.png,y\n")
    found = Inputs(from_file=f"{PLACE}/lists/all.csv")
    assert list(found.columns) == ["kind"]
    assert names(found) == names(found) == [f"{PLACE}/lists/a.png", f"{PLACE}/lists/b.png"]
    assert s3.gate.bodies() == 1


def workbook() -> bytes:
    packed = io.BytesIO()
    book = Workbook()
    for row in (["image", "number"], ["a.png", 1], ["sub/b.png", 2]):
        book.active.append(row)
    book.save(packed)
    return packed.getvalue()


TABLES = {
    "t.csv": b"image,number\na.png,1\nsub/b.png,2\n",
    "t.tsv": b"image\tnumber\na.png\t1\nsub/b.png\t2\n",
    "t.jsonl": b'{"image": "a.png", "number": 1}\n{"image": "sub/b.png", "number": 2}\n',
    "t.parquet": parquet(image=["a.png", "sub/b.png"], number=[1, 2]),
    "t.xlsx": workbook(),
    "export": b"image,number\na.png,1\nsub/b.png,2\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_a_table_travel(s3: S3Server, web: WebServer, name: str) -> None:
    s3.put(f"tables/{name}", TABLES[name])
    web.site.files[f"tables/{name}"] = TABLES[name]
    web.site.headers[f"tables/{name}"] = {"Content-Type": "application/json"}  # it may be
    for start, query in ((f"{PLACE}/tables/", ""), (f"{web.url}tables/", "?version=3.0")):
        found = Inputs(from_file=f"{start}{name}{query}")
        assert list(found.columns) == ["number"]
        assert names(found) == [f"{start}a.png", f"{start}sub/b.png"]
        assert [str(one.columns["number"]) for one in found] == ["1", "2"]
    kept = Inputs(from_file=f"{PLACE}/tables/{name}", image_column="image", keep=("number", "image"))
    assert [list(one.columns) for one in kept] == [["number", "image"]] * 2


def test_the_suffix_counts_before_the_query(web: WebServer) -> None:
    web.site.files["t.csv"] = b"image\na.png\n"
    found = Inputs(from_file=f"{web.url}t.csv?X-Amz-Signature=x/y.txt")
    assert names(found) == [f"{web.url}a.png"], "a table of one column, and no list"


def test_what_lies_elsewhere_names_no_files_of_this_machine(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    uri = (tmp_path / "mine.png").as_uri()
    s3.put("mine.txt", f"{tmp_path}/mine.png\nmine.png\n".encode())
    s3.put("mine.csv", f"image,x\n{tmp_path}/mine.png,1\nmine.png,2\n{uri},3\n".encode())
    for name in ("mine.txt", "mine.csv"):
        for item in Inputs(from_file=f"{PLACE}/{name}"):
            if isinstance(item, ImageFailure):
                assert (item.image, item.reason) == (uri, "on another computer: that of its table")
                continue
            with pytest.raises(ImageError, match="no such object"):
                item.read()


def test_it_can_be_sent_to_another_process(s3: S3Server) -> None:
    s3.put("sent.csv", b"image,x\na.png,1\n")
    found = pickle.loads(pickle.dumps(Inputs(from_file=f"{PLACE}/sent.csv")))
    assert names(found) == [f"{PLACE}/a.png"]


def test_its_file_goes_with_the_inputs(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    s3.put("gone.csv", b"image,x\na.png,1\n")
    found = Inputs(from_file=f"{PLACE}/gone.csv")
    assert len(list(tmp_path.iterdir())) == 1
    assert names(found) == [f"{PLACE}/a.png"]
    del found
    assert list(tmp_path.iterdir()) == []


def told(address: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as raised:
        list(Inputs(from_file=address, **options))
    return raised.value.message, raised.value.hint or ""


def test_what_cannot_be_read_is_told_at_once(
    s3: S3Server, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.site.files |= {"page": b"<html>log in</html>", "photo": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9}
    web.site.headers["page"] = {"Content-Type": "text/html"}
    web.site.statuses["denied.csv"] = 403
    s3.put("no-images.csv", b"a,b\n1,2\n")
    signed = "?X-Amz-Signature=geheim&token=geheim"
    for address, reason in (
        (f"{PLACE}/none.csv", f"{PLACE}/none.csv cannot be read: no such object"),
        (f"{PLACE}/folder/", f"{PLACE}/folder/ cannot be read: no such object"),
        (f"{PLACE}/no-images.csv", f"{PLACE}/no-images.csv: no image column"),
        (f"{web.url}none.csv{signed}", f"{web.url}none.csv?token=*** cannot be read: no such object"),
        (
            f"{web.url}denied.csv{signed}",
            f"{web.url}denied.csv?token=*** cannot be read: access denied: HTTP 403",
        ),
        (f"{web.url}page{signed}", "cannot be read: no list but a page, perhaps to log in with: text/html"),
        (f"{web.url}photo{signed}", f"{web.url}photo?token=*** is a binary file"),
    ):
        message, hint = told(address)
        assert reason in message
        assert "geheim" not in message + hint
    assert told("s3://no-such-bucket/list.txt")[0].endswith("cannot be read: no such bucket")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert told(f"{PLACE}/none.csv")[0].endswith("cannot be read: offline: nothing is read from the network")


def test_a_table_with_the_images_inside_is_to_be_downloaded(s3: S3Server) -> None:
    s3.put("inside.parquet", parquet(image=[b"\x89PNG\r\n\x1a\n"], label=["cat"]))
    message, hint = told(f"{PLACE}/inside.parquet", image_column="image")
    assert message == f"{PLACE}/inside.parquet holds images, not their paths"
    assert hint == "Download it, and name the file that you have."


def test_a_table_that_is_named_as_an_image(s3: S3Server) -> None:
    s3.put("table.csv", b"image,x\na.png,1\n")
    with pytest.raises(UsageError, match=r"table\.csv is a table, not an image") as raised:
        Inputs((f"{PLACE}/table.csv",))
    assert raised.value.hint == f"Use `from_file` {PLACE}/table.csv."


def test_damaged_rows_have_the_shown_name(web: WebServer) -> None:
    web.site.files["t.jsonl"] = json.dumps({"image": {"nested": 1}}).encode() + b"\n{broken\n"
    rows = list(Inputs(from_file=f"{web.url}t.jsonl?token=geheim", image_column="image"))
    assert all(isinstance(row, ImageFailure) for row in rows)
    assert rows and not any("geheim" in repr(row) for row in rows)
