"""Commands on images in buckets of every service, and outputs there, end to end."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_files import archive
from commands import PROCESS
from conftest import EXAMPLES, Result
from gate import BUCKET, BucketServer

from clipcli.remote import buckets

Cli = Callable[..., Result]
CLASSIFY = ("classify", "--device", "cpu", "--precision", "fp32", "--labels", "cat,dog,fish", "-k", 1)
CAT, FISH = ((EXAMPLES / name).read_bytes() for name in ("cat-1.jpg", "fish-5.png"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: str) -> None:
    """A small model: these are tests of how images come."""
    monkeypatch.setenv("CLIPCLI_MODEL", tiny_model)
    monkeypatch.chdir(tmp_path)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def images(result: Result) -> list[str]:
    return [row["image"] for row in rows(result.out)]


def filled(service: BucketServer) -> str:
    """The address of a folder of images and other things."""
    for key in ("1.jpg", "b/2.jpg", "b/.hidden.jpg", "c/3.jpg", "c/notes.txt"):
        service.put(f"all/{key}", CAT)
    return f"{service.scheme}://{BUCKET}/all"


def test_objects_folders_and_globs(run_cli: Cli, service: BucketServer) -> None:
    folder = filled(service)
    local = rows(run_cli(*CLASSIFY, EXAMPLES / "cat-1.jpg").out)[0]
    for path, expected in (
        ("/1.jpg", ["1.jpg"]),
        ("", ["1.jpg", "b/2.jpg", "c/3.jpg"]),
        ("/", ["1.jpg", "b/2.jpg", "c/3.jpg"]),
        ("/*/*.jpg", ["b/2.jpg", "c/3.jpg"]),
        ("/**/2*", ["b/2.jpg"]),
        ("/*/3.jpg", ["c/3.jpg"]),
        ("/{1,2}.jpg", None),
    ):
        result = run_cli(*CLASSIFY, f"{folder}{path}")
        if expected is None:
            assert (result.code, f"nothing is at {folder}/2.jpg" in result.err) == (2, True), result.err
            continue
        assert result.code == 0, result.err
        assert images(result) == [f"{folder}/{name}" for name in expected]
        assert all({**row, "image": ""} == {**local, "image": ""} for row in rows(result.out))


def test_nothing_at_an_address(run_cli: Cli, service: BucketServer) -> None:
    for path, told in ((f"{BUCKET}/no/such", "nothing is at"), ("no-such-bucket/a/", "no such bucket")):
        result = run_cli(*CLASSIFY, f"{service.scheme}://{path}")
        assert result.code == 2
        assert told in result.err


def test_an_archive_in_a_bucket(run_cli: Cli, service: BucketServer, tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar"):
        members = [("x.jpg", CAT), ("sub/y.png", FISH), ("notes.txt", b"x")]
        service.put(f"archives/{name}", archive(tmp_path / name, members).read_bytes())
        address = f"{service.scheme}://{BUCKET}/archives/{name}"
        result = run_cli(*CLASSIFY, address)
        assert result.code == 0, result.err
        assert images(result) == [f"{address}!/x.jpg", f"{address}!/sub/y.png"]


def test_a_missing_object_has_a_row(run_cli: Cli, service: BucketServer) -> None:
    service.put("there.jpg", CAT)
    names = [f"{service.scheme}://{BUCKET}/{name}" for name in ("there.jpg", "gone.jpg")]
    Path("list.txt").write_text("".join(f"{name}\n" for name in names))
    result = run_cli(*CLASSIFY, "--from-file", "list.txt")
    assert result.code == 3
    assert [(row["image"], row["error"]) for row in rows(result.out)] == [
        (names[0], ""),
        (names[1], "no such object"),
    ]


def test_a_second_run_reads_nothing_but_what_has_changed(run_cli: Cli, service: BucketServer) -> None:
    folder = filled(service)
    first = run_cli(*CLASSIFY, folder)
    service.gate.seen.clear()
    again = run_cli(*CLASSIFY, folder)
    assert again.out == first.out
    assert service.gate.bodies() == 0
    service.put("all/b/2.jpg", FISH)
    changed = run_cli(*CLASSIFY, folder)
    assert [request.key for request in service.gate.seen if request.is_body] == ["all/b/2.jpg"]
    same = [old == new for old, new in zip(rows(first.out), rows(changed.out), strict=True)]
    assert same == [True, False, True]


def test_outputs_in_a_bucket(run_cli: Cli, service: BucketServer) -> None:
    place = f"{service.scheme}://{BUCKET}/out"
    outputs = [option for suffix in ("csv", "parquet", "html") for option in ("-o", f"{place}/all.{suffix}")]
    for _ in range(2):  # the second time in the place of what is there
        result = run_cli(*CLASSIFY, EXAMPLES, *outputs, "--provenance")
        assert result.code == 0, result.err
    assert buckets.fetch(f"{place}/all.csv").decode() == run_cli(*CLASSIFY, EXAMPLES).out
    about = json.loads(buckets.fetch(f"{place}/all.csv.meta.json"))
    assert about["output"]["bytes"] == len(buckets.fetch(f"{place}/all.csv"))
    names = [entry.url.removeprefix(f"{place}/") for entry in buckets.below(f"{place}/", lambda _: True)]
    assert names == sorted(f"all.{s}{end}" for s in ("csv", "parquet", "html") for end in ("", ".meta.json"))
    refused = run_cli(*CLASSIFY, EXAMPLES, "-o", f"{service.scheme}://no-such-bucket/out.csv")
    assert refused.code == 1
    assert f"cannot write {service.scheme}://no-such-bucket/out.csv: no such bucket" in refused.err


def test_a_process_says_nothing_of_its_libraries(service: BucketServer) -> None:
    folder = filled(service)
    command = [*PROCESS, *map(str, CLASSIFY), "-t", "{}", "-q", folder, "-o"]
    place = f"{service.scheme}://{BUCKET}/out/all.csv"
    ran = subprocess.run([*command, place], capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    place = f"{service.scheme}://no-such-bucket/all.csv"
    ran = subprocess.run([*command, place], capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1), ran.stderr
