"""What is a table, and what is a list of paths, by its name and its first bytes."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import Workbook
from PIL import Image

from clipcli.errors import UsageError
from clipcli.inputs.tables.recognise import check_plain_list, looks_like_table, table_format
from clipcli.inputs.tables.table import Table


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("a.csv", "csv"),
        ("shop/a.TSV", "tsv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.parquet", "parquet"),
        ("a.xlsx", "xlsx"),
        ("a.txt", None),
        ("csv", None),
        ("/dev/fd/63", None),
    ],
)
def test_suffixes(path: str, known: str | None) -> None:
    assert table_format(path) == known


def binary(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.table({"path": ["a.png"]}), stream)
    else:
        Workbook().save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("head", "asked", "known"),
    [
        (binary("parquet"), None, "parquet"),
        pytest.param(binary("xlsx"), None, "xlsx", id="a workbook, which holds the time"),
        (b'{"path": "a.png"}\n', None, "jsonl"),
        (b'\xef\xbb\xbf\n{"path": "a.png"}\n', None, "jsonl"),
        (b'{"path": "a.png", "x": "' + b"y" * 70_000, None, "jsonl"),
        (b'{"path": \n', None, None),
        (b'{"path": \n', "path", "jsonl"),
        (b"sku,path,title\n", None, "csv"),
        (b"sku;Image;title\r\n", None, "csv"),
        (b"sku\tfile name\tFilename", None, "tsv"),
        ("\ufeffsku,path\n".encode("utf-16-le"), None, "csv"),
        (b"sku,photo\n", None, None),
        (b"sku,photo\n", "photo", "csv"),
        (b"sku\tphoto, new\n", "sku", "tsv"),
        (b"photo\na.png\n", "photo", "csv"),
        (b"path\na.png\n", None, None),
        (b"path,image\n", None, None),
        (b"path,a.png\n", None, None),
        (b"in/path,x\n", None, None),
        (b"PAR1/a.png\n", None, None),
        (b"PAR1\n", None, None),
        (b"a.png\0path,sku\0", None, None),
        (b"", None, None),
        (b"\n\n", None, None),
    ],
)
def test_first_bytes(head: bytes, asked: str | None, known: str | None) -> None:
    assert looks_like_table(head, asked) == known


def test_a_file_that_exists_begins_a_list() -> None:
    head = b"path,2024\npath,2025\n"
    assert looks_like_table(head) == "csv"
    Path("path,2024").touch()
    assert looks_like_table(head) is None
    check_plain_list(head, "list.txt")
    assert looks_like_table(head, "path") == "csv", "as the user says"


def test_a_table_without_a_suffix_is_recognised() -> None:
    Path("list").write_text("sku,path\n1,a.png\n")
    Path("json").write_text('{"path": "a.png", "n": 1}\n')
    assert Table("list").columns == {"sku": str}
    assert Table("json").columns == {"n": int}


FOLDERS = st.sampled_from(["", "in/", "/data/", "./", "../x, y/", "C:\\in\\", "été/", "a\tb/"])
STEMS = st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="/\x85\u2028\u2029")
)
PATHS = st.builds(
    lambda folder, stem, suffix: folder + stem + suffix,
    FOLDERS,
    STEMS,
    st.sampled_from([".png", ".JPG", ".webp", ".tif"]),
)


@given(
    paths=st.lists(PATHS, min_size=1), newline=st.sampled_from(["\n", "\r\n", "\0"]), cut=st.integers(0, 99)
)
@example(paths=["a,b.png", "c,d.png", "e,f.png"], newline="\n", cut=0)
@example(paths=["path,x.png", "image\tx.png"], newline="\n", cut=0)
@example(paths=['{"path".png', "[1].png"], newline="\n", cut=0)
@example(paths=["x", "y"], newline="\0", cut=0)
def test_a_list_of_paths_is_no_table(paths: list[str], newline: str, cut: int) -> None:
    head = newline.join(paths).encode()[: -cut or None]
    assert looks_like_table(head) is None
    check_plain_list(head, "list.txt")


def test_lists_that_are_none_but_look_wild() -> None:
    for head in (b"", b"\n", b"caf\xe9.png\n", b"\xef\xbb\xbfa.png\n", b"a, b\n", b"photo\na.png\n"):
        check_plain_list(head, "list.txt")
    Path("shop").mkdir()
    Path("shop/\x01\x02.png").touch()
    check_plain_list(b"\x01\x02.png\n", "shop/list.txt")


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (50, 50)).save(stream, "PNG")
    return stream.getvalue()


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def lines(first: str) -> str:
    return f"list.txt begins with lines that are no paths, such as {first}: not a list of images"


TABLE = "list.txt is a table, not a list of images"
BYTES = "list.txt is a binary file: not a list of images"
WIDE = "list.txt is UTF-16 text, not a list of images"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"sku,photo\n1,shop/a.png\n2,shop/b.jpg\n", TABLE),
        (b"sku;photo;title\r\n1;a.png;A\r\n2;b.jpg;B\r\n", TABLE),
        (b'photo\tsku\na.png\t"1"\n', TABLE),
        (b"sku,path\n1,noext\n", TABLE),
        (b"sku,path\n", TABLE),
        (json.dumps({"path": "a.png"}).encode() + b"\n", TABLE),
        ("a.png\nb.png\n".encode("utf-16-le"), WIDE),
        ("a.png\nb.png\n".encode("utf-16-be"), WIDE),
        ("a.png\nb.png\n".encode("utf-16"), WIDE),
        (b"#!/bin/sh\nls\n", "list.txt is a script: not a list of images"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41\0\0\0\x08free", BYTES),
        (png(), BYTES),
        (encoded("TIFF"), BYTES),
        (encoded("BMP"), BYTES),
        (encoded("WEBP"), BYTES),
        (encoded("ICO"), BYTES),
        (encoded("JPEG2000"), BYTES),
        (gzip.compress(bytes(range(256)) * 99, mtime=0), BYTES),
        (zlib.compress(bytes(range(256)) * 99), BYTES),
        (np.random.default_rng(0).bytes(5000), BYTES),
        ("a folder with a long name/with images/猫.png\nb.png\n".encode("utf-16-le"), WIDE),
        ("猫/狗.png\n鳥.png\n".encode("utf-16-le"), WIDE),
        ("猫/狗.png\n鳥.png\n".encode("utf-16-be"), WIDE),
        ("a.png\nb.png\n".encode("utf-32"), WIDE),
        ("a.png".encode("utf-16-le"), WIDE),
        (b"id,price\n1,2\n2,3\n", lines("'id,price'")),
        (b"a, b\nc, d\n", lines("'a, b'")),
        (b"\xef\xbb\xbfid,price\r\n1,2\r\n", lines("'id,price'")),
        (b"1;Berlin\n2;Paris\n", lines("'1;Berlin'")),
        (b"set -e\ncd /data\nfor f in *.png; do\n  echo $f\ndone\n", lines("'set -e'")),
        (b"import os\n\nx = 1\nprint(os.listdir('photos/x'))\n", lines("'import os'")),
        (b"# Photos\n\nThe photos of 2024, by day and place.\n", lines("'# Photos'")),
        (b"cat\ndog\nbird\n", lines("'cat'")),
        (b"<html>\n<body>\n</body>\n", lines("'<html>'")),
        (b'[\n  "a.png",\n  "b.png"\n]\n', lines("'['")),
        (b'"C:\\in\\a.png"\n"C:\\in\\b.png"\n', lines("""'"C:\\\\in\\\\a.png"'""")),
        (binary("parquet"), BYTES),
    ],
)
def test_what_is_no_list_is_refused(head: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_plain_list(head, "list.txt")
    assert caught.value.message == message
    assert caught.value.hint
    assert ("`image_column`" in caught.value.hint) == (message == TABLE)


def test_a_table_without_a_header_is_known_by_an_image_that_is_there() -> None:
    head = b"cat,shop/a.png\ndog,shop/b.png\n"
    check_plain_list(head, "list.txt")  # paths with commas
    Path("shop").mkdir()
    Path("shop/b.png").touch()
    with pytest.raises(UsageError, match=TABLE):
        check_plain_list(head, "list.txt")


@pytest.mark.parametrize(
    "head",
    [
        b"missing\n",
        b"here\nmissing\n0001\n",
        b"./0001\n./0002\n",
        b"/data/my photos/0001\n/data/my photos/0002\n",
        b"C:\\my photos\\1\nC:\\my photos\\2\n",
        b"day/0001\nday/0002\nday\n",
        b"s3://bucket/0001\ns3://bucket/0002\n",
        b"set -e\n1.png\n2.png\n",
        b"p\0q\0r\0s\0",
        b"a.png\0b.png\0c.png\0",
        b"one name\0another\0",
    ],
)
def test_lists_of_paths_that_are_missing_have_their_rows(head: bytes) -> None:
    for name in ("here", "p", "q", "r", "s"):
        Path(name).touch()
    check_plain_list(head, "list.txt")


def test_of_a_pipe_only_certain_signs_count() -> None:
    for head in (b"cat\ndog\nbird\n", b"\x01\n", b"a\0b\0c\0d\0e", b"x\0.\0", b"id,price\n1,2\n", b"%PDF\n"):
        check_plain_list(head, "standard input", is_file=False)
    wide = "/a/folder/whose/name/is/long/and/without/a/dot/猫.png\n"
    for head in (
        png(),
        b"#!/bin/sh\n",
        b"sku,path\n",
        *("a.png\n".encode(f"utf-16-{end}") for end in ("le", "be")),
        *(wide.encode(f"utf-16-{end}") for end in ("le", "be")),
    ):
        with pytest.raises(UsageError, match=r"^standard input "):
            check_plain_list(head, "standard input", is_file=False)


def test_an_image_in_place_of_a_list_is_told_as_such() -> None:
    with pytest.raises(UsageError) as caught:
        check_plain_list(png(), "in/a.PNG")
    assert caught.value.hint == "To classify this image, leave `from_file` out."
