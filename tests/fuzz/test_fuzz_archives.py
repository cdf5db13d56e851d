"""Whatever an archive holds: images and failures, nothing else; what has a checksum is right or refused."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_files import png, tar_bytes, zip_bytes
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated

from clipcli.errors import ImageError
from clipcli.inputs.archives.zstd import CompressionParameter, compress
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named
from clipcli.records import ImageFailure

MEMBERS = [
    *((f"folder/{number}.png", png(number)) for number in range(5)),
    ("folder/4.json", b'{"a": 1}'),
    ("a" * 150 + ".png", png(9)),
]
CONTENTS = {data for _, data in MEMBERS}
TAR = tar_bytes(MEMBERS)
SEEDS = {
    "deflated.zip": zip_bytes(MEMBERS),
    "stored.zip": zip_bytes(MEMBERS, 0),
    "bzip2.zip": zip_bytes(MEMBERS, 12),
    "lzma.zip": zip_bytes(MEMBERS, 14),
    "a.tar": TAR,
    "a.tar.gz": gzip.compress(TAR, mtime=0),
    "a.tar.zst": compress(TAR, options={CompressionParameter.checksum_flag: 1}),
}
_MOST_ROWS = 50


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], str]:
    folder = tmp_path_factory.mktemp("fuzz")

    def write(name: str, content: bytes) -> str:
        path = folder / name
        path.write_bytes(content)
        return str(path)

    return write


def check(path: str) -> None:
    """Every member is an image, or a failure that says why."""
    inputs = Inputs((path,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of `zipfile`, on names
        listed = list(inputs)
    assert len(listed) < _MOST_ROWS
    for one in listed:
        assert set(one.columns) <= set(inputs.columns)
        if isinstance(one, ImageFailure):
            assert one.reason
            continue
        try:
            content = one.read()
        except ImageError as error:
            assert error.message
        else:
            assert isinstance(content, bytes)
            assert content in CONTENTS | {b""} or not path.endswith(".zip")
        named = item_named(one.name)
        assert not isinstance(named, ImageFailure)
        assert named.version() == one.version()


@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
def test_damaged_archives(store: Any, name: str, seed: int) -> None:
    check(store(name, mutated(SEEDS[name], str(seed))))


@given(name=st.sampled_from(["a.tar.gz", "a.tar.zst"]), seed=st.integers(0, 2**32))
def test_damaged_archives_that_are_compressed_well(store: Any, name: str, seed: int) -> None:
    damaged = mutated(TAR, str(seed))
    check(store(name, gzip.compress(damaged) if name == "a.tar.gz" else compress(damaged)))


@given(name=st.sampled_from(sorted(SEEDS)), cut=st.floats(0, 1))
def test_truncated_archives(store: Any, name: str, cut: float) -> None:
    whole = SEEDS[name]
    check(store(name, whole[: int(cut * len(whole))]))


@given(name=st.sampled_from(["a.zip", "a.tar", "a.tar.gz"]), content=st.binary(max_size=600))
def test_bytes_of_any_kind(store: Any, name: str, content: bytes) -> None:
    check(store(name, content))
    check(store(name, b"PK\x03\x04" + content))
    check(store(name, b"\x1f\x8b\x08\x00" + content))


def test_the_checks_can_fail(store: Any, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check(store("a.zip", zip_bytes([("a.png", b"another content")])))
