"""What reaches the terminal of names and labels that mean harm, or are only odd."""

from __future__ import annotations

import io
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


def test_a_terminal_shows_how_far_reading_and_training_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from clipcli.train.data import ReadReport
    from clipcli.train.loop import StepReport

    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "stderr", lambda: terminal)
    with console.TrainingProgress(quiet=False) as progress:
        progress(ReadReport(700, 1000))
        progress._bar.refresh()
        assert "reading pictures" in shown.getvalue()
        assert "700/1000" in shown.getvalue()
        shown.truncate(0)
        progress(StepReport(30, 90, 1, 0.51234, 77.7))
        progress._bar.refresh()
    lines = shown.getvalue().splitlines()
    assert any("training" in line and "30/90 loss 0.512, 77.7 images/s" in line for line in lines)
    assert not any("30/90" in line and "reading" in line for line in lines)
