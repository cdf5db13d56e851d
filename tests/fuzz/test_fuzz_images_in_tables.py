"""Damaged Parquet and Arrow files with images: an error or other images, and the process lives on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.records import ImageFailure

FILES = Path(__file__).parent.parent / "files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(seed=st.integers(0, 2**32), suffix=st.sampled_from(["parquet", "arrow"]))
@example(seed=62, suffix="arrow")  # offsets that lead out of the file
def test_some_bytes_are_others(folder: Path, seed: int, suffix: str) -> None:
    chance = random.Random(seed)
    content = bytearray((FILES / f"hugging_face.{suffix}").read_bytes())
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        first = 0 if chance.random() < 0.5 else max(0, len(content) - 3000)
        content[chance.randrange(first, len(content))] = chance.randrange(256)
    path = folder / f"a.{suffix}"
    path.write_bytes(content)
    try:
        for one in Inputs((str(path),)):
            if not isinstance(one, ImageFailure):
                assert read(one)
    except UsageError as error:
        assert error.message.startswith(str(path))


def read(item: object) -> bytes | str:
    try:
        return item.read() or b"empty"  # type: ignore[attr-defined, no-any-return]
    except ImageError as error:
        return error.message
