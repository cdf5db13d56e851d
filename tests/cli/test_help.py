"""Help is instant: no heavy import on the way."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from conftest import Result

import clipcli

COMMANDS = [
    [],
    ["classify"],
    ["eval"],
    ["report"],
    ["search"],
    ["embed"],
    ["prompts"],
    ["probe"],
    ["review-next"],
    ["train"],
    ["sort"],
    ["tag"],
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
heavy |= {{"scipy", "sklearn"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: clipcli" in done.stdout


def commands_of(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group below a group, by its words, the group itself first."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_of(command, (*path, name))


def test_every_command_has_an_example_and_options_in_sentences(run_cli: Callable[..., Result]) -> None:
    from clipcli.cli.app import app

    commands = list(commands_of(typer.main.get_command(app)))
    assert len(commands) > 12
    for words in commands:
        shown = run_cli(*words, "--help").out
        example = " ".join(("clipcli", *words))
        assert f"Example: {example}" in shown or f"$ {example}" in shown, f"{example} --help has no example"


def test_threads_of_torch_sleep_when_they_have_nothing_to_do() -> None:
    """Spinning they take the cores from decoding; whoever sets the policy knows better."""
    code = "import os; from clipcli.cli.app import main\ntry: main()\nfinally: "
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | given
        command = [sys.executable, "-c", code, "--version"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        assert done.stdout.splitlines()[-1] == expected


BARE = """
import typer
app = typer.Typer(rich_markup_mode="markdown")
app.command()(lambda: None)
app.command("other")(lambda: None)
app()
"""


def test_help_answers_within_300_milliseconds() -> None:
    """Where Typer alone takes about as long, on a slow or busy machine, at most a half more than Typer."""
    commands = {"clipcli": ["-m", "clipcli", "--help"], "typer": ["-c", BARE, "--help"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times[name].append(time.perf_counter() - start)
    ours, typers = (statistics.median(times[name]) for name in commands)
    assert ours < max(0.3, 1.5 * typers), times


def test_version(run_cli: object) -> None:
    result: Result = run_cli("--version")  # type: ignore[operator]
    assert result.out == f"clipcli {clipcli.__version__}\n"
