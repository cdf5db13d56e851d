"""Lists of any names, delivered in any pieces, and any globs."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fakes import names
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs


class Pipe(io.RawIOBase):
    """Delivers the pieces one by one, as a pipe may."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self.pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def listed(content: bytes, cuts: list[int]) -> list[str]:
    """The paths that a list on standard input names, cut into pieces at these places."""
    places = sorted({cut for cut in cuts if 0 < cut < len(content)})
    pieces = [content[start:end] for start, end in zip([0, *places], [*places, len(content)], strict=True)]
    stdin = mock.Mock(buffer=io.BufferedReader(Pipe([piece for piece in pieces if piece])))
    with mock.patch("sys.stdin", stdin):
        return names(Inputs(from_file="-"))  # type: ignore[arg-type]


def listed_or_refused(content: bytes, cuts: list[int]) -> list[str] | str:
    """The same, or why this is no list."""
    try:
        return listed(content, cuts)
    except UsageError as error:
        return str(error)


CUTS = st.lists(st.integers(0, 60), max_size=10)
BYTES = st.lists(
    st.sampled_from([b"a", b" ", b"\r", b"\n", b"\xff", b"\xc3\xa4", b"\xef\xbb\xbf", b"/", b"-", b"*", b"#"])
    | st.binary(min_size=1, max_size=3),
    min_size=1,
    max_size=6,
).map(b"".join)


def byte_names(without: bytes) -> SearchStrategy[list[bytes]]:
    name = BYTES.map(lambda text: bytes(byte for byte in text if byte not in without))
    return st.lists(name.filter(bool), min_size=2, max_size=6)


@given(
    paths=byte_names(without=b"\0\n\r"),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    mark=st.booleans(),
    cuts=CUTS,
)
def test_names_by_line(paths: list[bytes], newline: bytes, mark: bool, cuts: list[int]) -> None:
    paths = [b"x" + path for path in paths]  # neither blank nor a byte-order mark
    content = b"\xef\xbb\xbf" * mark + newline.join(paths)
    assert listed(content, cuts) == [os.fsdecode(path) for path in paths]
    assert listed(content + newline, cuts) == [os.fsdecode(path) for path in paths]


@given(paths=byte_names(without=b"\0"), cuts=CUTS)
def test_names_by_nul(paths: list[bytes], cuts: list[int]) -> None:
    first = paths[0].replace(b"\n", b"")  # until a NUL has come, a line end parts names
    paths = [b"x" + first, *paths[1:]]
    assert listed(b"\0".join(paths), cuts) == [os.fsdecode(path) for path in paths]
    assert listed(b"\0".join(paths) + b"\0", cuts) == [os.fsdecode(path) for path in paths]


@given(content=st.binary(max_size=60), cuts=CUTS)
def test_any_list_is_the_same_in_any_pieces(content: bytes, cuts: list[int]) -> None:
    first = content.partition(b"\0")[0]
    in_pieces = listed_or_refused(content, cuts)
    if b"\n" not in first or b"\0" not in content:
        assert in_pieces == listed_or_refused(content, [])
    assert all(in_pieces)


# --- Globs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("globs")
    for name in ("a.png", "b.PNG", "sub/a.png", "sub/deep/c[1].jpg", "sub/!d.jpg", "-e.gif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


GLOBS = st.lists(
    st.sampled_from(
        [*"a*?[]!^/\\-.{}#~$(|", "**", "*.png", "sub", "[a-c]", "[!a]", "\0", "\n", "\udcff", "ä"]
    ),
    max_size=6,
).map("".join)
INSIDE = GLOBS.filter(lambda glob: ".." not in glob)


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")  # of `re`, about sets such as [[a]
@given(include=st.lists(GLOBS, max_size=3), exclude=st.lists(GLOBS, max_size=3))
def test_any_globs_choose_some_in_order_or_are_refused(
    folder: Path, include: list[str], exclude: list[str]
) -> None:
    everything = names(Inputs((str(folder),)))
    try:
        chosen = names(Inputs((str(folder),), include=tuple(include), exclude=tuple(exclude)))
    except UsageError as error:
        assert error.message.startswith(("`include`: not a glob: ", "`exclude`: not a glob: "))
        return
    assert chosen == [path for path in everything if path in chosen]
    if not include:
        kept = names(Inputs((str(folder),), include=("*",), exclude=tuple(exclude)))
        assert kept == chosen


@given(pattern=INSIDE)
def test_any_input_names_something_or_is_refused(folder: Path, pattern: str) -> None:
    try:
        found = names(Inputs((f"{folder}/{pattern}",)))
    except UsageError as error:
        assert str(folder) in error.message
        return
    assert all(str(path).startswith(str(folder)) for path in found)
