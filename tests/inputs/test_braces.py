"""Names with braces."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipcli.errors import UsageError
from clipcli.inputs.braces import braced


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.png", ["a.png"]),
        ("s-{08..11}.tar", ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{test,train}-{0..1}", ["test-0", "test-1", "train-0", "train-1"]),
        ("a{,b}", ["a", "ab"]),
        ("{a}", ["{a}"]),
        ("a{b", ["a{b"]),
        ("{}", ["{}"]),
    ],
)
def test_what_braces_stand_for(path: str, names: list[str]) -> None:
    assert list(braced(path)) == names


def test_a_file_with_braces_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a{1,2}.png"
    path.touch()
    assert list(braced(str(path))) == [str(path)]


def test_an_endless_range_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 1,000,000 names"):
        list(braced("{0..99999999999999999999}"))
