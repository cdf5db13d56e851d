"""Help is instant: no heavy import on the way."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest
from conftest import Result

import clipcli

COMMANDS = [
    [],
    ["classify"],
    ["prompts"],
    ["train"],
    ["models"],
    ["models", "list"],
    ["templates"],
    ["classes", "show"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = f"""
import sys
from clipcli.cli.app import main
sys.argv = ["clipcli", *{command!r}, "--help"]
try:
    main()
except SystemExit as exit_:
    assert not exit_.code, exit_.code
heavy = {{"torch", "open_clip", "pandas", "numpy", "PIL", "pyarrow", "huggingface_hub", "transformers"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: clipcli" in done.stdout


def test_help_answers_within_300_milliseconds() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clipcli", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.3, times


def test_version(run_cli: object) -> None:
    result: Result = run_cli("--version")  # type: ignore[operator]
    assert result.out == f"clipcli {clipcli.__version__}\n"
