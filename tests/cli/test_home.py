"""Paths below `~` that no shell has expanded: in quotes, after a `=`, in variables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXAMPLES, Result

from clipcli.models.registry import ASSETS

Cli = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "photos").mkdir(parents=True)
    shutil.copy(EXAMPLES / "cat-1.jpg", home / "photos")
    shutil.copytree(ASSETS / "nano", home / "mine")
    (home / "classes.txt").write_text("cat\ndog\n")
    (home / "templates.txt").write_text("a photo of a {}\n")
    (home / "list.txt").write_text(f"{home}/photos/cat-1.jpg\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CLIPCLI_CACHE", "~/kept")
    monkeypatch.chdir(tmp_path)
    return home


@pytest.mark.parametrize(
    "arguments",
    [
        ("~/photos", "-m", "~/mine"),
        ("--from-file=~/list.txt", "-m", "local-dir:~/mine"),
        ("~/photos/*.jpg", "--model=~/mine", "-t", "~/templates.txt"),
    ],
)
def test_a_tilde_is_the_home_folder(arguments: tuple[str, ...], home: Path, run_cli: Cli) -> None:
    result = run_cli("classify", *arguments, "-c", "~/classes.txt", "--output=~/out.csv")
    assert result.code == 0, result.err
    assert "cat-1.jpg" in (home / "out.csv").read_text()
    assert [path.name for path in (home / "kept").iterdir()] == ["features.sqlite"]


def test_a_file_that_is_called_so_is_meant(home: Path, run_cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(home / "photos", tmp_path / "~" / "photos")
    (home / "photos" / "cat-1.jpg").unlink()
    result = run_cli("classify", "~/photos", "-l", "cat,dog", "-m", "nano", "--format", "csv")
    assert result.out.splitlines()[1].startswith("~/photos/cat-1.jpg,1,")


def test_a_label_is_no_path(home: Path, run_cli: Cli) -> None:
    result = run_cli(
        "classify", home / "photos", "--label", "~", "--label", "cat", "-m", "nano", "--format", "csv"
    )
    assert ",~," in result.out
