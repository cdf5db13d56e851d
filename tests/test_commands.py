"""A forked command is as good as a process that Python has started; tests rely on it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import CAN_FORK, PROCESS, Command, clipcli
from conftest import EXAMPLES

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="commands start as usual here")

WAITING = ("classify", "-", "-l", "cat,dog", "-m", "nano")  # for the names of images


def run(program: Sequence[str], script: str) -> tuple[int, str, str]:
    """What bash says of a script in which `clipcli` stands for the program."""
    words = ["bash", "-c", f'clipcli() {{ "$@" {script}; }}; clipcli "$@"', "bash", *program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.replace("python -m clipcli", "clipcli")


@pytest.mark.parametrize(
    "script",
    [
        "templates list",
        "classify --no-such-option",
        "classify no-such-image.jpg -l cat,dog",
        "classes show >&-",
        "templates list >&-",
        "templates list >/dev/full",
        "classify - -l cat <&-",
        "templates list 2>&- <&-",
    ],
)
def test_it_says_and_returns_what_a_process_does(script: str) -> None:
    assert run(clipcli(), script) == run(PROCESS, script)


def test_it_has_the_folder_the_environment_and_the_umask_of_who_starts_it(
    tmp_path: Path, own_cache: Path
) -> None:
    words = ["classify", str(EXAMPLES / "cat-1.jpg"), "-l", "cat,dog", "-m", "nano", "-o", "out.csv"]
    done = subprocess.run(
        [*clipcli(), *words], cwd=tmp_path, umask=0o077, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert (own_cache / "features.sqlite").exists()


def test_what_was_read_at_the_start_cannot_be_another() -> None:
    words = [*clipcli(), "--version"]
    for name in ("HF_HOME", "LC_ALL", "OMP_NUM_THREADS"):
        done = subprocess.run(
            words, env=os.environ | {name: "7"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr == f"a command that is forked cannot have its own {name}\n"


def test_what_libraries_set_while_they_are_imported_may_be_another() -> None:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": "7", "KMP_INIT_AT_FORK": "7"}
    done = subprocess.run([*clipcli(), "--version"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_signals_reach_the_command() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with Command(*WAITING, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.send_signal(number)
            assert process.wait() == -number
            assert not is_running(process.command)


def test_it_does_not_outlive_its_client() -> None:
    with Command(*WAITING, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert is_running(process.command)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 60
        while is_running(process.command) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_running(process.command)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
