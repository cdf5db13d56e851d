"""What a terminal shows of a run while it lasts."""

from __future__ import annotations

import io

import pytest

from clipcli.cli import console
from clipcli.cli.progress import TrainingProgress


def test_a_terminal_shows_how_far_reading_and_training_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from clipcli.train.data import ReadReport
    from clipcli.train.loop import StepReport

    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "stderr", lambda: terminal)
    with TrainingProgress() as progress:
        progress(ReadReport(700, 1000))
        progress._bar.refresh()
        assert "reading images" in shown.getvalue()
        assert "700/1000" in shown.getvalue()
        shown.truncate(0)
        progress(StepReport(30, 90, 1, 0.51234, 77.7))
        progress._bar.refresh()
    lines = shown.getvalue().splitlines()
    assert any("training" in line and "30/90 loss 0.512, 77.7 images/s" in line for line in lines)
    assert not any("30/90" in line and "reading" in line for line in lines)
