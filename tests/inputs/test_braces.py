"""Braces and globs of archives that no shell has expanded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from archive_files import archive, items, png

from clipcli.errors import UsageError
from clipcli.inputs.braces import names_of
from clipcli.inputs.inputs import Inputs


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("a-{8..11}.tar", ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("{a,b{1..2}}.tar", ["a.tar", "b1.tar", "b2.tar"]),
        ("{a,}b", ["ab", "b"]),
        ("{a}", ["{a}"]),
        ("{}", ["{}"]),
        ("{a..c}", ["{a..c}"]),
        ("a{,b", ["a{,b"]),
    ],
)
def test_braces_are_expanded_in_order(path: str, expected: list[str]) -> None:
    assert names_of(path) == expected


def test_bash_expands_the_same(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    for path in (
        "a-{000..012}.tar",
        "{9..12}",
        "{3..-2}",
        "{x,y}{1..3}",
        "{a,b{1..2}c,d}",
        "{a}{b,c}",
        "{}{a,b}",
    ):
        told = subprocess.run([bash, "-c", f"echo {path}"], capture_output=True, text=True, check=True)
        assert names_of(path) == told.stdout.split(), path


def test_a_file_of_that_very_name_is_itself(tmp_path: Path) -> None:
    (tmp_path / "{a,b}.png").touch()
    assert names_of("{a,b}.png") == ["{a,b}.png"]


def test_far_too_many_names_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 100000 names"):
        names_of("a-{0..999999999999}.tar")


def test_shards_are_read_in_the_order_of_the_braces_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        archive(tmp_path / f"s-{number:03}.tar", [("a.png", png(number)), ("a.cls", b"%d" % number)])
    names = [f"s-{number:03}.tar!/a.png" for number in range(3)]
    for spelled in ("s-{000..002}.tar", "s-*.tar", "s-{*}.tar"):
        inputs = [spelled] if spelled != "s-{*}.tar" else [f"s-00{number}.tar" for number in range(3)]
        assert [one.name for one in items(*inputs)] == names
        assert Inputs(tuple(inputs)).columns == {"cls": int}
        assert [one.columns for one in items(*inputs)] == [{"cls": 0}, {"cls": 1}, {"cls": 2}]
    with pytest.raises(UsageError, match=r"no such file or folder: s-003\.tar"):
        Inputs(("s-{000..003}.tar",))
