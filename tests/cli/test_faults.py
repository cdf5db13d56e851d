"""What is left when a run is stopped, killed, or has no room: real processes, real signals, real limits."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from conftest import Result

from clipcli.cache import FeatureCache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

Cli = Callable[..., Result]
ARGUMENTS = ["--labels", "cat,fish,sun,house,bicycle", "--model", "nano", "--precision", "fp32"]
ARGUMENTS += ["--device", "cpu"]
COUNT = 200


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def many(folder: Path, picture: Path, count: int) -> Path:
    """A folder of pictures, each of a content of its own, older than the moment they are read."""
    folder.mkdir()
    data = picture.read_bytes()
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        path.write_bytes(data + number.to_bytes(4, "little"))
        os.utime(path, (1_500_000_000, 1_500_000_000))
    return folder


@pytest.fixture
def folder(pictures: Path, tmp_path: Path) -> Path:
    return many(tmp_path / "many", pictures / "00.jpg", COUNT)


def started(*arguments: object, **options: Any) -> Command:
    return Command("classify", *arguments, *ARGUMENTS, stderr=subprocess.PIPE, text=True, **options)


def hear_signals() -> None:
    """A background shell ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # not yet there, or made and removed to see whether it can be
        return 0


# --- Signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_a_signal_lets_the_batch_finish_and_says_how_to_go_on(
    number: signal.Signals, word: str, code: int, run_cli: Cli, folder: Path, tmp_path: Path
) -> None:
    output, partial = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    output.write_text("before")
    process = started(folder, "-b", 4, "-o", output, preexec_fn=hear_signals)
    while process.poll() is None and size_of(partial) < 2000:
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    rows = rows_of(partial.read_text())
    images = len(rows) // 5
    assert errors.splitlines() == [
        "finishing this batch; once more to stop at once",
        f"{word}: {images} images are in {partial}; run it again to go on",
    ]
    assert 0 < images < COUNT
    assert images % 4 == 0, "whole batches"
    assert output.read_text() == "before"

    assert run_cli("classify", folder, *ARGUMENTS, "-b", 4, "-o", output).code == 0
    assert not partial.exists()
    assert rows_of(output.read_text())[: len(rows)] == rows
    assert len(rows_of(output.read_text())) == 5 * COUNT


def test_a_second_signal_ends_the_run_at_once(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "list").open("w") as pipe_list:
        pipe_list.writelines(f"{path}\n" for path in sorted(folder.iterdir()))
    list_pipe = tmp_path / "pipe"
    os.mkfifo(list_pipe)  # the rest of the list never comes: the batch can only be given up
    process = started("-f", list_pipe, "-b", 8, "-o", tmp_path / "out.csv", preexec_fn=hear_signals)
    with list_pipe.open("w") as pipe:
        pipe.write((tmp_path / "list").read_text())
        pipe.flush()
        while process.poll() is None and size_of(tmp_path / "out.csv.partial") < 2000:
            time.sleep(0.005)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("finishing this batch")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "out.csv").exists()


def test_a_signal_that_is_ignored_stays_ignored(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    process = started(folder, "-b", 4, "-o", output, preexec_fn=ignore)
    while process.poll() is None and not size_of(tmp_path / "out.csv.partial"):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert len(rows_of(output.read_text())) == 5 * COUNT


KILL_AGAIN_AND_AGAIN = """
import os, random, signal, sys, time
import pandas, clipcli.models.encoder, clipcli.cli.app  # once: what is killed begins with the run itself

log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
encode = clipcli.models.encoder.OpenClipEncoder.encode_images

def counting(self, pixels):
    os.write(log, f"{len(pixels)}\\n".encode())
    return encode(self, pixels)

clipcli.models.encoder.OpenClipEncoder.encode_images = counting
moments = random.Random(7)
for kill in range(20):
    child = os.fork()
    if child == 0:
        sys.argv = ["clipcli", *sys.argv[2:]]
        clipcli.cli.app.main()
    if kill % 4:  # while it encodes: some batches later, or a little more
        wanted = os.fstat(log).st_size + 3 * moments.randrange(1, 5)
        while os.fstat(log).st_size < wanted and not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(0.001)
    time.sleep(moments.uniform(0, 0.05 if kill % 4 else 1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "ended")
"""


@pytest.mark.long
def test_killed_at_twenty_random_moments(
    pictures: Path, tmp_path: Path, run_cli: Cli, own_cache: Path
) -> None:
    folder = many(tmp_path / "many", pictures / "00.jpg", 1200)
    whole, output, log = tmp_path / "whole.csv", tmp_path / "out.csv", tmp_path / "log"
    arguments = ["classify", str(folder), *ARGUMENTS, "-b", "16", "-q"]
    assert run_cli(*arguments, "--no-cache", "-o", whole).code == 0
    script = [sys.executable, "-c", KILL_AGAIN_AND_AGAIN, str(log), *arguments, "-o", str(output)]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True)
    encoded = sum(map(int, log.read_text().split()))
    kills = done.stdout.split().count("killed")
    assert kills == 20, "none ended by itself"
    assert not output.exists()
    assert encoded > 300, "much was encoded before it was killed"

    kept = stored_images(own_cache)
    assert encoded - kept <= 2 * 16 * kills, "with each kill, two batches may be lost"
    assert run_cli(*arguments, "-o", output).code == 0
    assert output.read_bytes() == whole.read_bytes()


def stored_images(folder: Path) -> int:
    with contextlib.closing(FeatureCache(folder)) as cache:
        return sum(count for encoder, count in cache.info().features.items() if "-pixels" in encoder)


# --- No room -------------------------------------------------------------------------------------


def files_of_at_most(size: int) -> Callable[[], None]:
    """A limit that the kernel holds every file of a process to, as a full disk would."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.fixture
def without_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would leave half of a module's bytecode under such a limit, for the tests that follow."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.mark.usefixtures("without_bytecode")
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_full_disk_leaves_the_old_file_and_says_so(suffix: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / f"out.{suffix}"
    output.write_text("before")
    limit = 4096 if suffix in ("parquet", "xlsx") else 65536
    process = started(folder, "--no-cache", "-q", "-o", output, preexec_fn=files_of_at_most(limit))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert errors.startswith(f"error: cannot write {output}: File too large")
    assert "Traceback" not in errors
    assert output.read_text() == "before"


@pytest.mark.usefixtures("without_bytecode")
def test_a_cache_on_a_full_disk_is_a_warning(folder: Path) -> None:
    process = started(folder, "-k", 1, "-q", stdout=subprocess.PIPE, preexec_fn=files_of_at_most(65536))
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(rows_of(out)) == COUNT
    (warning,) = errors.splitlines()
    assert warning.startswith("warning: the cache ")
    assert warning.endswith("; going on without it")
