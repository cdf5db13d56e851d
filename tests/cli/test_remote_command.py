"""Commands on images at addresses, and outputs in buckets, end to end."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, Result
from gate import BUCKET
from PIL import Image
from s3_server import S3Server
from web_server import WebServer

from clipcli.remote import buckets, clients, retries

Cli = Callable[..., Result]
FP32 = ("--device", "cpu", "--precision", "fp32")
CLASSIFY = ("classify", *FP32, "--labels", "cat,dog,fish", "-k", 1)
Checked: TypeAlias = tuple[list[dict[str, str]], dict[str, bytes], set[str]]
CAT = (EXAMPLES / "cat-1.jpg").read_bytes()

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: str) -> None:
    """Short waits, and a small model: these are tests of how images come, many of them."""
    monkeypatch.setenv("CLIPCLI_MODEL", tiny_model)
    monkeypatch.setenv(retries.TIMEOUT, "3")
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.02)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def images(count: int) -> dict[str, bytes]:
    """Small images, each of its own, by their names."""
    generator = np.random.default_rng(0)
    made = {}
    for number in range(count):
        packed = io.BytesIO()
        pixels = generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(packed, "PNG")
        made[f"{number:05}.png"] = packed.getvalue()
    return made


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def faults(names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """2 % that are missing, 10 % that are busy at first, and 2 % that stall once."""
    return names[7::50], names[3::10], names[11::50]


def check_outcomes(found: list[dict[str, str]], files: dict[str, bytes], missing: set[str]) -> None:
    """Every image has one outcome, in order; those that are missing a reason, and no others."""
    assert [Path(row["image"]).name for row in found] == list(files)
    assert {Path(row["image"]).name: row["error"] for row in found if row["status"] != "ok"} == dict.fromkeys(
        missing, "no such object"
    )


def check_scores(
    run_cli: Cli, found: list[dict[str, str]], files: dict[str, bytes], missing: set[str]
) -> None:
    """The scores are those of local files."""
    Path("local").mkdir()
    for name, content in files.items():
        Path("local", name).write_bytes(content)
    local = rows(run_cli(*CLASSIFY, "local", "--no-cache").out)
    for row, expected in zip(found, local, strict=True):
        if Path(row["image"]).name not in missing:
            assert {**row, "image": ""} == {**expected, "image": ""}


def test_addresses_in_a_table_with_faults(run_cli: Cli, web: WebServer) -> None:
    found, files, missing = check_web(run_cli, web, 100)
    check_scores(run_cli, found, files, missing)


@pytest.mark.long
def test_very_many_addresses_in_a_table_with_faults(run_cli: Cli, web: WebServer) -> None:
    check_web(run_cli, web, 5000)


def check_web(run_cli: Cli, web: WebServer, count: int) -> Checked:
    """Two runs over addresses: the rows of the first, all images, and those that are missing."""
    files = images(count)
    missing, busy, stalling = faults(list(files))
    web.site.files |= {name: files[name] for name in files if name not in missing}
    web.site.busy |= dict.fromkeys(busy, 2)
    web.site.latency = 0.02
    web.site.stalls.update(dict.fromkeys(stalling, 1))
    lines = [f"{web.url}{name},{number}" for number, name in enumerate(files)]
    Path("list.csv").write_text("image,number\n" + "\n".join(lines) + "\n")
    first = run_cli(*CLASSIFY, "--from-file", "list.csv")
    assert first.code == 3
    assert f"{len(missing)} no such object" in first.err
    found = rows(first.out)
    assert [row.pop("number") for row in found] == [str(number) for number in range(count)]
    check_outcomes(found, files, set(missing))
    assert web.site.most_at_once > 8
    web.site.bodies.clear()
    second = run_cli(*CLASSIFY, "--from-file", "list.csv")
    assert second.out == first.out
    assert +web.site.bodies == Counter(missing), "of the others nothing is read"
    return found, files, set(missing)


def test_a_bucket_with_faults(run_cli: Cli, s3: S3Server) -> None:
    found, files, missing = check_s3(run_cli, s3, "some", 100)
    check_scores(run_cli, found, files, missing)


@pytest.mark.long
def test_a_bucket_of_very_many_objects_with_faults(run_cli: Cli, s3: S3Server) -> None:
    check_s3(run_cli, s3, "many", 5000)


def check_s3(run_cli: Cli, s3: S3Server, folder: str, count: int) -> Checked:
    """Two runs over a folder in a bucket, and one over a list of its objects; as in `check_web`."""
    files = images(count)
    for name, content in files.items():
        s3.put(f"{folder}/{name}", content)
    missing, busy, stalling = ([f"{folder}/{name}" for name in names] for names in faults(list(files)))
    s3.gate.statuses.update(dict.fromkeys(missing, 404))
    s3.gate.busy.update(dict.fromkeys(busy, 2))
    s3.gate.stalls.update(dict.fromkeys(stalling, 1))
    address = f"s3://{BUCKET}/{folder}/"
    first = run_cli(*CLASSIFY, address)
    assert first.code == 3
    found = rows(first.out)
    assert [row["image"] for row in found] == [f"{address}{name}" for name in files]
    gone = {Path(name).name for name in missing}
    check_outcomes(found, files, gone)
    s3.gate.seen.clear()
    second = run_cli(*CLASSIFY, address)
    assert second.out == first.out
    assert s3.gate.bodies() == len(missing)
    listed = Path("list.txt")
    listed.write_text("".join(f"{row['image']}\n" for row in found))
    s3.gate.seen.clear()
    third = run_cli(*CLASSIFY, "--from-file", listed)
    assert third.out == first.out
    assert s3.gate.bodies() == 0, "not even of the missing ones, whose absence is told without a body"
    return found, files, gone


def test_an_object_that_changes_is_read_again(run_cli: Cli, web: WebServer) -> None:
    web.site.files["a.jpg"] = CAT
    before = run_cli(*CLASSIFY, f"{web.url}a.jpg").out
    web.site.files["a.jpg"] = (EXAMPLES / "fish-5.png").read_bytes()
    assert run_cli(*CLASSIFY, f"{web.url}a.jpg").out != before
    assert web.site.bodies["a.jpg"] == 2


def test_each_reason_is_one_in_the_summary(run_cli: Cli, web: WebServer) -> None:
    web.site.files |= {"page.jpg": b"<html>log in</html>", "text.jpg": b"no image"}
    web.site.headers["page.jpg"] = {"Content-Type": "text/html"}
    web.site.statuses |= {"denied.jpg": 403, "busy.jpg": 503}
    names = ("page.jpg", "text.jpg", "denied.jpg", "busy.jpg", "none.jpg")
    Path("list.txt").write_text("".join(f"{web.url}{name}\n" for name in names))
    result = run_cli(*CLASSIFY, "--from-file", "list.txt")
    assert [row["error"] for row in rows(result.out)] == [
        "no image but a page, perhaps to log in with: text/html",
        "not an image file, or a format that is not supported",
        "access denied: HTTP 403",
        "server busy: HTTP 503",
        "no such object",
    ]
    assert "1 access denied" in result.err
    assert "1 server busy" in result.err


def test_addresses_are_listed_without_being_read(run_cli: Cli, web: WebServer) -> None:
    web.site.files |= images(40)
    web.site.latency = 0.05
    addresses = [f"{web.url}{name}" for name in [*web.site.files, "none.png"]]
    Path("list.txt").write_text("".join(f"{address}\n" for address in addresses))
    result = run_cli("inputs", "--from-file", "list.txt")
    found = rows(result.out)
    assert [row["image"] for row in found] == addresses
    assert {row["kind"] for row in found} == {"remote object"}
    assert [bool(row["version"]) for row in found] == [True] * 40 + [False]
    assert not web.site.bodies
    assert web.site.most_at_once > 8


def test_offline_refuses_addresses(run_cli: Cli, web: WebServer) -> None:
    result = run_cli(*CLASSIFY, "--offline", f"{web.url}a.jpg")
    assert result.code == 2
    assert "offline: nothing is read from the network" in result.err
    assert not web.site.seen
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_service_whose_library_is_missing(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)
    result = run_cli(*CLASSIFY, "gs://bucket/photos/")
    assert result.code == 2
    assert "gs:// needs gcsfs" in result.err
    assert "pip install 'clipcli[gcs]'" in result.err


def test_secrets_are_nowhere(run_cli: Cli, web: WebServer) -> None:
    web.site.files["a.jpg"] = CAT
    signed = f"{web.url.replace('//', '//me:geheim@')}a.jpg?X-Amz-Signature=geheim&token=geheim&w=1"
    bad = f"{web.url}none.jpg?X-Amz-Signature=geheim"
    outputs = [option for suffix in ("csv", "jsonl", "xlsx", "html") for option in ("-o", f"out.{suffix}")]
    result = run_cli(
        *CLASSIFY, signed, bad, f"{web.url}a.jpg?token=geheim", *outputs, "--provenance", "--log", "log", "-v"
    )
    assert result.code == 3, result.err
    assert "geheim" not in result.err + result.out
    assert f"{web.url}a.jpg?token=***&w=1" in Path("out.csv").read_text()
    for path in Path().iterdir():
        if path.is_file():
            assert b"geheim" not in path.read_bytes(), path
    with zipfile.ZipFile("out.xlsx") as workbook:
        assert not [name for name in workbook.namelist() if b"geheim" in workbook.read(name)]
    refused = run_cli(*CLASSIFY, signed.replace("127.0.0.1", "127.0.0.1x"))
    assert "geheim" not in refused.err + refused.out


def test_search_by_addresses(run_cli: Cli, web: WebServer) -> None:
    web.site.files |= {"cat.jpg": CAT, "fish.png": (EXAMPLES / "fish-5.png").read_bytes()}
    here = run_cli(
        "search", *FP32, "--like", EXAMPLES / "cat-1.jpg", "--minus", EXAMPLES / "fish-5.png", EXAMPLES
    )
    there = run_cli("search", *FP32, "--like", f"{web.url}cat.jpg", "--minus", f"{web.url}fish.png", EXAMPLES)
    assert there.code == here.code == 0, there.err
    kept = ("rank", "image", "score", "relative")
    assert [[row[name] for name in kept] for row in rows(there.out)] == [
        [row[name] for name in kept] for row in rows(here.out)
    ]
    assert rows(there.out)[0]["query"] == f"{web.url}cat.jpg - {web.url}fish.png"
    missing = run_cli("search", *FP32, "--like", f"{web.url}none.jpg", EXAMPLES)
    assert missing.code == 2
    assert f"{web.url}none.jpg cannot be searched for: no such object" in missing.err


def test_a_report_shows_remote_images(run_cli: Cli, web: WebServer) -> None:
    web.site.files["a b.jpg"] = CAT
    outputs = ("-o", "out.html", "-o", "out.xlsx", "--thumbnails")
    assert run_cli(*CLASSIFY, f"{web.url}a b.jpg", *outputs).code == 0
    page = Path("out.html").read_text()
    assert f"{web.url}a%20b.jpg" in page
    with zipfile.ZipFile("out.xlsx") as workbook:
        assert [name for name in workbook.namelist() if "media/" in name]
    assert web.site.bodies["a b.jpg"] == 3


# --- Outputs ---------------------------------------------------------------------------------------


def written(name: str) -> bytes:
    return buckets.fetch(f"s3://{BUCKET}/{name}")


def test_outputs_in_a_bucket(run_cli: Cli, s3: S3Server) -> None:
    suffixes = ("csv", "tsv", "jsonl", "parquet", "xlsx", "html")
    places = [option for suffix in suffixes for option in ("-o", f"s3://{BUCKET}/out/all.{suffix}")]
    result = run_cli(*CLASSIFY, EXAMPLES, *places, "--provenance")
    assert result.code == 0, result.err
    assert f"s3://{BUCKET}/out/all.csv" in result.err
    assert written("out/all.csv").decode() == run_cli(*CLASSIFY, EXAMPLES).out
    found = pq.read_table(io.BytesIO(written("out/all.parquet"))).to_pylist()
    assert [row["image"] for row in found] == [row["image"] for row in rows(written("out/all.csv").decode())]
    about = json.loads(written("out/all.csv.meta.json"))
    assert about["output"]["bytes"] == len(written("out/all.csv"))
    assert b"cat-1.jpg" in written("out/all.html")
    names = [entry.url.rpartition("/")[2] for entry in buckets.below(f"s3://{BUCKET}/out/", lambda _: True)]
    assert names == sorted([f"all.{s}" for s in suffixes] + [f"all.{s}.meta.json" for s in suffixes])
    assert not list(Path().iterdir()), "nothing lies here"


def test_features_in_a_bucket(run_cli: Cli, s3: S3Server) -> None:
    assert run_cli("embed", EXAMPLES, *FP32, "-o", f"s3://{BUCKET}/features.npy").code == 0
    assert run_cli("embed", EXAMPLES, *FP32, "-o", "features.npy").code == 0
    for suffix in ("npy", "csv", "json"):
        assert written(f"features.{suffix}") == Path(f"features.{suffix}").read_bytes()
    s3.put("mine.csv", b"my,own\n")
    refused = run_cli("embed", EXAMPLES, *FP32, "-o", f"s3://{BUCKET}/mine.npy")
    assert refused.code == 2
    assert "seems to be a file of yours" in refused.err


def test_places_that_cannot_be_written_are_told_at_the_start(
    run_cli: Cli, s3: S3Server, web: WebServer
) -> None:
    web.site.files["a.jpg"] = CAT
    for place, told in (
        ("s3://no-such-bucket/out.csv", "cannot write s3://no-such-bucket/out.csv: no such bucket"),
        (f"{web.url}out.csv", "http has no way to write"),
    ):
        result = run_cli(*CLASSIFY, f"{web.url}a.jpg", "-o", place)
        assert result.code == 1
        assert told in result.err
    assert not web.site.bodies


def test_an_output_appears_complete_or_not_at_all(run_cli: Cli, s3: S3Server) -> None:
    s3.put("before/out.csv", b"as it was")
    place = f"s3://{BUCKET}/before/out.csv"

    def refused(file: str, url: str) -> None:
        raise buckets.RemoteError("access denied: no more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "upload", refused)
        result = run_cli(*CLASSIFY, EXAMPLES, "-o", place)
    assert result.code == 1
    assert f"cannot write {place}: access denied: no more" in result.err
    assert "58 images are in " in result.err
    kept = Path(result.err.partition("images are in ")[2].split()[0].rstrip("."))
    assert len(rows(kept.read_text())) == 58
    assert written("before/out.csv") == b"as it was"


# --- Lists and tables ------------------------------------------------------------------------------


def test_a_table_in_a_bucket(run_cli: Cli, s3: S3Server) -> None:
    s3.put("lists/photos/cat.jpg", CAT)
    s3.put("lists/all.csv", b"image,sku\nphotos/cat.jpg,17\nphotos/none.jpg,18\n")
    place = f"s3://{BUCKET}/lists"
    for _ in range(2):
        result = run_cli(
            *CLASSIFY, "--from-file", f"{place}/all.csv", "-o", f"{place}/out.csv", "--provenance"
        )
        assert result.code == 3, result.err
        found = rows(written("lists/out.csv").decode())
        assert [(row["image"], row["sku"], row["error"]) for row in found] == [
            (f"{place}/photos/cat.jpg", "17", ""),
            (f"{place}/photos/none.jpg", "18", "no such object"),
        ]
    bodies = Counter(request.key for request in s3.gate.seen if request.is_body)
    assert bodies["lists/photos/cat.jpg"] == 1, "the second run has it from the cache"


def test_a_list_on_a_web_server_whose_address_is_signed(run_cli: Cli, web: WebServer) -> None:
    web.site.files |= {"lists/all.txt": b"../cat.jpg\nnone.jpg\n", "cat.jpg": CAT, "empty.txt": b""}
    signed = f"{web.url.replace('//', '//me:geheim@')}lists/all.txt?X-Amz-Signature=geheim&token=geheim"
    outputs = [option for suffix in ("csv", "html", "xlsx") for option in ("-o", f"out.{suffix}")]
    result = run_cli(*CLASSIFY, "-f", signed, *outputs, "--provenance", "--log", "log", "-v")
    assert result.code == 3, result.err
    assert [row["image"] for row in rows(Path("out.csv").read_text())] == [
        f"{web.url}cat.jpg",
        f"{web.url}lists/none.jpg",
    ]
    told = result.err + result.out
    for address in (f"{web.url}empty.txt?token=geheim", f"{web.url}none.csv?token=geheim"):
        refused = run_cli(*CLASSIFY, "-f", address)
        assert refused.code == 2
        told += refused.err + refused.out
    assert f"no images found in {web.url}empty.txt?token=***" in told
    assert f"{web.url}none.csv?token=*** cannot be read: no such object" in told
    assert "geheim" not in told
    for path in Path().iterdir():
        assert b"geheim" not in path.read_bytes(), path
    with zipfile.ZipFile("out.xlsx") as workbook:
        assert not [name for name in workbook.namelist() if b"geheim" in workbook.read(name)]


def test_a_table_at_an_address_that_is_no_image(run_cli: Cli, s3: S3Server) -> None:
    s3.put("some.csv", b"image,x\na.png,1\n")
    result = run_cli(*CLASSIFY, f"s3://{BUCKET}/some.csv")
    assert result.code == 2
    assert f"s3://{BUCKET}/some.csv is a table, not an image" in result.err
    assert f"Use --from-file s3://{BUCKET}/some.csv" in " ".join(result.err.split())
    for command in ("inputs", "embed"):
        options = () if command == "inputs" else ("-o", "features.npy")
        result = run_cli(command, "--from-file", f"s3://{BUCKET}/some.csv", *options)
        assert f"s3://{BUCKET}/a.png" in result.out + result.err
