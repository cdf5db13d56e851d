"""Addresses, and what is never shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipcli.remote.addresses import (
    address_of,
    is_bucket,
    is_remote,
    scheme_of,
    shown,
    unsigned_digest,
    without_secrets,
)

AMAZON = (
    "https://b.s3.amazonaws.com/a.jpg?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=geheim"
)


@pytest.mark.parametrize(
    "name", ["http://a/b", "HTTPS://a/b", "s3://b", "gs://b/c", "az://b/c", "hf://datasets/a"]
)
def test_addresses(name: str) -> None:
    assert is_remote(name)
    assert is_bucket(name) == (not name.lower().startswith("http"))
    assert scheme_of(name) == name.partition(":")[0].lower()


@pytest.mark.parametrize(
    "name", ["a.jpg", "/a/s3:/b", "s3:/b", "file:///a", "ftp://a/b", "s3://", "C:/a", "2:a car"]
)
def test_other_names(name: str) -> None:
    assert not is_remote(name)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a.jpg?w=10&h=20#part", "https://h/a.jpg?w=10&h=20#part"),
        ("https://me:geheim@h:81/a.jpg", "https://h:81/a.jpg"),
        ("https://h/a.jpg?id=7&token=geheim", "https://h/a.jpg?id=7&token=***"),
        ("https://h/a.jpg?API_KEY=geheim&w=1", "https://h/a.jpg?API_KEY=***&w=1"),
        ("https://h/a.jpg?%74oken=geheim", "https://h/a.jpg?%74oken=***"),
        (AMAZON, "https://b.s3.amazonaws.com/a.jpg"),
        (f"{AMAZON}&versionId=3", "https://b.s3.amazonaws.com/a.jpg?versionId=3"),
        ("https://x.blob.core.windows.net/c/a.jpg?sv=2024&se=2027&sr=b&sp=r&sig=geheim", "https://x.blob.core.windows.net/c/a.jpg"),
        ("https://d.cloudfront.net/a.jpg?Expires=1&Signature=geheim&Key-Pair-Id=K", "https://d.cloudfront.net/a.jpg"),
        ("https://h/a.jpg?expires=soon&sr=2", "https://h/a.jpg?expires=soon&sr=2"),
        ("s3://bucket/a b?c#d.jpg", "s3://bucket/a b?c#d.jpg"),
        ("https://[half", "***"),
    ],
)  # fmt: skip
def test_what_is_shown(url: str, name: str) -> None:
    assert shown(url) == name
    assert "geheim" not in without_secrets(f"no: {url}, or '{url}'")


def test_what_is_shown_alike_is_told_apart_but_for_signatures() -> None:
    assert unsigned_digest("https://h/a.jpg") == ""
    assert unsigned_digest(AMAZON) == ""
    assert len({unsigned_digest(f"https://h/a?token={number}") for number in range(3)}) == 3


def test_the_address_that_a_path_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address_of(Path("s3://bucket/a/b.csv")) == "s3://bucket/a/b.csv"
    assert address_of(Path("S3://bucket/b.csv").with_suffix(".json")) == "s3://bucket/b.json"
    assert address_of("https://h/b.csv") == "https://h/b.csv"
    assert address_of(Path("a/s3:/b.csv")) is None
    assert address_of(Path("/s3/b.csv")) is None
    Path("s3:").mkdir()
    assert address_of(Path("s3://bucket/b.csv")) is None, "a folder of this machine"
