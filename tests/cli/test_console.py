"""What reaches the terminal of names and labels that mean harm, or are only odd."""

from __future__ import annotations

import os

import pytest

from clipcli.cli import console


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ünï 奶酪 👩\N{ZERO WIDTH JOINER}🚀", "ünï 奶酪 👩\N{ZERO WIDTH JOINER}🚀"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\r\tc", r"a\x0ab\x0d\x09c"),
        ("\x9b31m", r"\x9b31m"),
        ("cat\u202egpj.exe", r"cat\u202egpj.exe"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
    ],
)
def test_names_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert console.visible(text) == shown


@pytest.mark.parametrize("tell", [console.note, console.warn])
def test_markup_and_control_characters_reach_stderr_as_text(
    tell: object, capfd: pytest.CaptureFixture[str]
) -> None:
    console.stderr.cache_clear()
    assert callable(tell)
    tell("[red]x[/red] [link=file:///etc]y[/link] \x1b[31mz <b>b</b>")
    console.stderr.cache_clear()
    assert "[red]x[/red] [link=file:///etc]y[/link] \\x1b[31mz <b>b</b>\n" in capfd.readouterr().err
