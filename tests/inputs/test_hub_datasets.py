"""Datasets on the hub: the real client against a hub of our own on 127.0.0.1, in processes of their own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub

from clipcli.errors import UsageError
from clipcli.inputs.hub_datasets import address_of

TABLE = (Path(__file__).parent.parent / "files" / "hugging_face.parquet").read_bytes()
NAME = "hf://datasets/test/birds"
SCRIPT = """
import json, sys
from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named

def listed(name, **options):
    try:
        return [(one.name, one.kind, one.columns.get("label")) for one in Inputs((name,), **options)]
    except UsageError as error:
        return error.message

found = [listed(name, **options) for name, options in json.loads(sys.argv[1])]
print(json.dumps([found, [len(item_named(name).read()) for name in json.loads(sys.argv[2])]]))
"""
FILES = [f"{NAME}/data/{split}-00000-of-00001.parquet" for split in ("test", "train")]
LABELS = ["cat", "sea bird", "dog", None, "cat"]
V1 = f"{NAME}@v1/data"
ONLY_TEST = {"include": ["test-*"]}
REFUSED = {
    "hf://datasets/test/none": "the hub has no such dataset, or it is private",
    "hf://datasets/test/birds@v9": "the dataset has no such revision",
    "hf://datasets/test/gated": "the dataset is gated",
    "hf://datasets/test/texts": "no tables of images in hf://datasets/test/texts/",
    "hf://datasets/test/birds/none/*.parquet": "no tables of images",
    "hf://datasets/test/mixed": "has other columns than a/train-00000-of-00001.parquet",
    "hf://datasets/birds": "not a dataset of the hub: hf://datasets/birds",
}


def numbers() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": [TABLE[:10]], "x": [1]}), stream)
    return stream.getvalue()


def written_again() -> bytes:
    """The same images in another file: the client downloads equal ones once."""
    stream = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(TABLE)), stream, compression="zstd")
    return stream.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    birds = {
        "README.md": b"# Birds",
        "data/test-00000-of-00001.parquet": TABLE,
        "data/train-00000-of-00001.parquet": written_again(),
        "extra/notes.parquet": numbers(),
    }
    mixed = {"a/train-00000-of-00001.parquet": TABLE, "b/train-00000-of-00001.parquet": numbers()}
    repositories = {"test/birds": birds, "test/mixed": mixed, "test/texts": {"README.md": b"# Texts"}}
    with Hub({**repositories, "test/gated": {"train.parquet": TABLE}}, {"test/gated"}) as hub:
        yield hub


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    hub.reset()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_HOME": str(tmp_path / "huggingface"), "HF_ENDPOINT": hub.url}


def run(environment: dict[str, str], asked: list[tuple[str, Any]], read: Sequence[str] = ()) -> Any:
    """What is found at each address, or the error; and how many bytes the images of these names have."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(asked), json.dumps(read)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(path: str) -> list[list[str | None]]:
    return [[f"{path}#{number}", "table row", label] for number, label in enumerate(LABELS, 1)]


def test_datasets_are_read_and_found_again_without_a_network(hub: Hub, environment: dict[str, str]) -> None:
    asked: list[tuple[str, Any]] = [(NAME, {}), (NAME, ONLY_TEST), (f"{FILES[1]}#2", {})]
    read = [f"{FILES[0]}#1", f"{FILES[1]}#5"]
    one = [[f"{FILES[1]}#2", "table row", None]]  # its columns are those of a table that is named
    expected = [[[*rows(FILES[0]), *rows(FILES[1])], rows(FILES[0]), one], [815, 919]]
    assert run(environment, asked, read) == expected
    downloads = [one.path for one in hub.requests if one.method == "GET" and "resolve" in one.path]
    assert len(downloads) == len(set(downloads)) == 2, "each table once, and no other file"
    hub.reset()
    assert run(environment | {"HF_HUB_OFFLINE": "1"}, asked, read) == expected
    assert hub.requests == []


def test_revisions_files_globs_and_what_cannot_be_read(hub: Hub, environment: dict[str, str]) -> None:
    places = [V1, f"{V1}/test-00000-of-00001.parquet", f"{V1}/t*.parquet"]
    asked = [(place, ONLY_TEST) for place in places]
    found, _ = run(environment, [*asked, *((name, {}) for name in REFUSED)])
    assert found[:3] == [rows(f"{V1}/test-00000-of-00001.parquet")] * 3
    for message, (name, expected) in zip(found[3:], REFUSED.items(), strict=True):
        assert expected in message, name


def test_a_hub_that_fails_is_told(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.status = 403
    assert "the hub answered with status 403" in run(environment, [(NAME, {})])[0][0]
    offline = run(environment | {"HF_HUB_OFFLINE": "1"}, [(NAME, {})])[0][0]
    assert "offline mode forbids the network" in offline


def test_addresses() -> None:
    address = address_of("hf://datasets/a/b@refs/convert/parquet/default/train/*.parquet")
    assert address is not None
    assert (address.repository, address.revision) == ("a/b", "refs/convert/parquet")
    assert address.path == "default/train/*.parquet"
    assert address.start == "hf://datasets/a/b@refs/convert/parquet/"
    assert address_of("hf://models/a/b") is None
    with pytest.raises(UsageError):
        address_of("hf://datasets/")
