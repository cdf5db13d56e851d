"""Streams that are closed or full, readers that leave, locales without UTF-8, users without a home."""

from __future__ import annotations

import csv
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import PROCESS, clipcli
from conftest import EXAMPLES
from terminal import on_terminal

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="streams and users of POSIX"),
    pytest.mark.usefixtures("shared_cache"),
]

ARGUMENTS = ["-l", "cat,dog", "-m", "nano", "--device", "cpu", "--precision", "fp32"]
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII = {"PYTHONIOENCODING": "ascii"}
CP1252 = {"PYTHONIOENCODING": "cp1252"}


def shell(
    command: str, *words: object, program: Sequence[str] = PROCESS, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What bash runs as `command`, in which clipcli and "$@" stand for the program and the words."""
    script = f'set -o pipefail; clipcli() {{ {shlex.join(program)} "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *map(os.fspath, map(str, words))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def fast(command: str) -> Sequence[str]:
    """The program, forked if it would have to import open_clip for this command."""
    return clipcli() if "-m nano" in command or "models list" in command else PROCESS


def is_told_plainly(errors: str) -> bool:
    return "is a bug" not in errors and "Traceback" not in errors and "Exception ignored" not in errors


# --- Closed and full streams ---------------------------------------------------------------------

PRINTS = ["clipcli --help", "clipcli --version", "clipcli models list", "clipcli prompts -l a --dry-run"]


@pytest.mark.parametrize("command", PRINTS)
@pytest.mark.parametrize(
    ("place", "reason"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
def test_output_that_cannot_be_written_is_an_error(command: str, place: str, reason: str) -> None:
    done = shell(f"{command} {place}", program=fast(command))
    assert done.returncode == 1
    assert done.stderr == f"error: cannot write standard output: {reason}\n"


def test_closed_streams_are_no_bug(tmp_path: Path) -> None:
    image, output = EXAMPLES / "cat-1.jpg", tmp_path / "out.csv"
    classify = 'clipcli classify "$1" "${@:3}"'
    for place, code in {
        ">&-": 1,
        '-o "$2" >&-': 0,
        "2>&-": 0,
        '-o "$2" 2>&-': 0,
        "<&-": 0,
        '-o "$2" <&- >&- 2>&-': 0,
        "<&- >&- 2>&-": 1,
    }.items():
        output.unlink(missing_ok=True)
        done = shell(f"{classify} {place}", image, output, *ARGUMENTS, program=clipcli())
        assert done.returncode == code, (place, done.stderr)
        assert is_told_plainly(done.stderr), (place, done.stderr)
        text = output.read_text() if "-o" in place else done.stdout
        assert len(text.splitlines()) == (3 if code == 0 else 0), place


def test_a_closed_input_is_an_empty_list() -> None:
    done = shell('clipcli classify - "$@" <&-', *ARGUMENTS)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no images found in -\n")


def test_a_closed_stderr_hides_no_exit_code(tmp_path: Path) -> None:
    assert shell('clipcli classify "$@" 2>&-', tmp_path / "gone", *ARGUMENTS).returncode == 2


# --- Readers that leave --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        'clipcli classify "$@" -c imagenet -t "a {}" -k 1000 -m nano -q',
        'clipcli classify "$@" -l cat,dog -m nano -q --table',
        "clipcli prompts -c imagenet -t imagenet80 --dry-run",
        "clipcli models list",
        "clipcli classes show imagenet",
        "clipcli train --help",
    ],
)
def test_a_reader_that_leaves_ends_the_run_with_0(command: str) -> None:
    for reader in ("head -n 1", "true"):
        done = shell(f"{command} | {reader}", EXAMPLES, program=fast(command))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_nobody_needs_to_read_the_messages(tmp_path: Path) -> None:
    """The run goes on, and what it writes to stdout reaches its reader."""
    (tmp_path / "broken.jpg").write_bytes(b"")
    kept, output = tmp_path / "kept", tmp_path / "out.csv"
    done = shell(
        '(clipcli classify "$1" "$2" "${@:5}" -o "$3" -o - 2>&1 >"$4"; echo $? >&2) | true',
        *(tmp_path / "broken.jpg", EXAMPLES, output, kept),
        *ARGUMENTS,
        program=clipcli(),
    )
    assert done.stderr == "3\n", "the exit code of the run"
    assert kept.read_text() == output.read_text()
    assert len(output.read_text().splitlines()) == 2 + 2 * 58


# --- Locales -------------------------------------------------------------------------------------


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    """An image whose name no code page of Europe can write."""
    image = tmp_path / "猫.jpg"
    image.write_bytes((EXAMPLES / "cat-1.jpg").read_bytes())
    return image


@pytest.mark.parametrize("environment", [PLAIN, ASCII, CP1252], ids=["C", "ascii", "cp1252"])
def test_data_is_utf8_in_any_locale(cat: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    classify = 'clipcli classify "$1" -l 犬,dog -m nano'
    expected = [[str(cat), label] for label in ("dog", "犬")]
    for command in (classify, f'{classify} -o "$2" && cat "$2"'):
        done = shell(command, cat, tmp_path / "出.csv", **environment)
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert sorted([row["image"], row["label"]] for row in rows) == sorted(expected)
    table = shell(f"{classify} --table", cat, **environment)
    assert str(cat) in table.stdout
    assert "犬 0." in table.stdout
    prompts = shell("clipcli prompts -l 犬 -t '一只{}' --concept 猫 --dry-run", **environment)
    assert '犬,"一只犬, 猫"' in prompts.stdout
    missing = shell('clipcli classify "$1" -l a', tmp_path / "無", **environment)
    assert missing.returncode == 2
    assert is_told_plainly(missing.stderr), missing.stderr


@pytest.mark.parametrize("environment", [PLAIN, ASCII, CP1252], ids=["C", "ascii", "cp1252"])
def test_a_terminal_gets_what_it_can_show(cat: Path, environment: dict[str, str]) -> None:
    shown = on_terminal(
        "classify", cat, "-l", "犬,dog", "-m", "nano", columns=200, program=PROCESS, **environment
    )
    assert shown.code == 0, shown.text
    assert "\\u732b.jpg  " in shown.text
    assert "  dog 0." in shown.text
    assert "  \\u72ac 0." in shown.text
    page = on_terminal("classify", "--help", program=PROCESS, **environment)
    assert page.code == 0
    assert "--labels" in page.text


# --- No home -------------------------------------------------------------------------------------

UNKNOWN_USER = """
import os, pwd, sys

def unknown(user):
    raise KeyError(f"getpwuid(): uid not found: {user}")

pwd.getpwuid = unknown
from clipcli.__main__ import main
main()
"""


def as_unknown_user(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user of whom the system knows nothing, as in a container with `--user 12345`."""
    removed = ("HOME", "CLIPCLI_CACHE", "XDG_CACHE_HOME", "HF_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in removed}
    command = [sys.executable, "-c", UNKNOWN_USER, *map(str, arguments)]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_user_without_a_home_has_a_temporary_cache_and_one_warning(tmp_path: Path) -> None:
    command = ("classify", EXAMPLES / "cat-1.jpg", *ARGUMENTS, "-q")
    for _ in range(2):
        done = as_unknown_user(*command, TMPDIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
        (warning,) = done.stderr.splitlines()
        assert warning.startswith("warning: this user has no home folder: the cache and downloaded models")
    (home,) = tmp_path.glob("clipcli-*")
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / ".cache" / "clipcli" / "features.sqlite").is_file()
    elsewhere = as_unknown_user(*command, "--cache", tmp_path / "mine", TMPDIR=str(tmp_path))
    assert elsewhere.stderr == "", "nothing is kept in the home"


def test_a_home_that_somebody_else_has_made_is_not_used(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    planted = tmp_path / f"clipcli-{os.getuid()}"
    planted.mkdir()
    os.chown(planted, 12345, 12345)
    done = as_unknown_user("--version", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    code = "from clipcli.cli import startup\nstartup.find_home()\nprint(os.environ['HOME'])\n"
    script = UNKNOWN_USER.partition("from clipcli")[0] + code
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment["TMPDIR"] = str(tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == "/\n"


def test_without_a_home_a_model_that_must_be_downloaded_is_no_bug(tmp_path: Path) -> None:
    command = ("classify", EXAMPLES / "cat-1.jpg", "-l", "cat,dog", "-m", "fast", "--offline", "--no-cache")
    done = as_unknown_user(*command, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("warning: this user has no home folder") == 1
    assert "error: no weights for fast" in done.stderr
    assert is_told_plainly(done.stderr)
