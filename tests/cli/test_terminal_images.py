"""Thumbnails beside what a search found, on terminals that can show them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import on_terminal

from clipcli.cli import terminal_images

Run = Callable[..., Any]
SEARCH = ("search", "a cat", "examples/drawings", "-m", "nano", "-k", "2")
SIXEL = "\x1bP"
QUESTIONS = {b"\x1b[c": b"\x1b[?62;4c", b"\x1b[16t": b"\x1b[6;20;10t"}
"""What a terminal with Sixel graphics answers: its features, and the size of a character."""


def test_a_terminal_with_graphics_shows_the_images() -> None:
    pytest.importorskip("textual_image", reason="textual-image is not installed")
    for _ in range(3):  # the library waits for an answer no longer than a tenth of a second
        shown = on_terminal(*SEARCH, answers=QUESTIONS, columns=100)
        if SIXEL in shown.raw:
            break
    assert shown.code == 0
    assert shown.raw.count(SIXEL) == 2
    assert shown.text.count("cat-") == 2


def test_a_terminal_without_graphics_shows_the_table_alone() -> None:
    shown = on_terminal(*SEARCH, answers={b"\x1b[c": b"\x1b[?62c"}, columns=100)
    assert shown.code == 0
    assert SIXEL not in shown.raw
    assert "rank" in shown.text


def test_no_images_where_no_terminal_is() -> None:
    assert terminal_images.renderable() is None


def test_no_images_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(terminal_images, "find_spec", lambda name: None)
    assert terminal_images.renderable() is None


def test_an_image_that_is_gone_leaves_its_place_empty(capsys: Any, tmp_path: Path) -> None:
    drawn: list[Any] = []

    def draw(image: Any, **_: Any) -> str:
        drawn.append(image)
        return "IMAGE"

    names = [str(next(Path("examples/drawings").glob("cat-*"))), str(tmp_path / "gone.png")]
    terminal_images.print_with_images(draw, ["rank", "image"], [["1", "cat"], ["2", "gone"]], names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["rank", "image"], ["IMAGE", "1", "cat"], ["2", "gone"]]
    assert max(drawn[0].size) <= 120
