"""What the tests of `sort` and `tag` share: images, predictions, what a folder holds, a kill at any line."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Held: TypeAlias = dict[bytes, tuple[str, int, int]]

_FORKS = """
import contextlib, io, json, os, signal, sys

import filelock
from clipcli.cli.app import main
import clipcli.cli.progress, clipcli.cli.tables, clipcli.inputs.predictions
import clipcli.output.filing.runs, clipcli.output.filing.sorting, clipcli.output.filing.tagging

sys.argv = ["clipcli", "sort", "no-such-table"]
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    main()  # imports the rest

def killing(remaining):
    def count(frame, event, argument):
        nonlocal remaining
        if "/output/filing/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            remaining -= 1
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return count
    return count

def run(line, words):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["clipcli", *words]
    if line:
        sys.settrace(killing(line))
    try:
        main()
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code or 0)
    finally:
        os._exit(99)

for request in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*json.loads(request))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Runs commands in processes of their own, forked from one that has imported clipcli already."""

    def __enter__(self) -> Commands:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def start(self, words: Iterable[object], line: int = 0) -> int:
        """Start a command, killed at a line of the package `filing` that it runs; returns its number."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([line, [str(word) for word in words]]) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit code of the command that was started last; -9 if it was killed."""
        return self._answer()

    def killed_at(self, line: int, words: Iterable[object]) -> bool:
        """Run a command that is killed at a line; whether it got so far."""
        self.start(words, line)
        code = self.wait()
        assert code in (0, -signal.SIGKILL), code
        return code != 0

    def run(self, words: Iterable[object]) -> None:
        """Run a command to its end."""
        assert not self.killed_at(0, words)

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def held(folder: Path) -> Held:
    """Every file and link below a folder: its content or aim, modification time and mode."""
    found: Held = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if path.is_symlink():
            content = f"-> {path.readlink()}"
        elif stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            continue
        found[os.fsencode(path.relative_to(folder))] = content, status.st_mtime_ns, status.st_mode
    return found


def files_of(folder: Path) -> set[str]:
    """The paths of all files below a folder but journals, from it."""
    return {os.fsdecode(name) for name in held(folder) if not name.endswith(b".jsonl")}


def photos(folder: Path, count: int, folders: int = 3) -> Path:
    """Small files of random content with times of their own, in some folders, with names that repeat."""
    chance = random.Random(0)
    for number in range(count):
        path = folder / f"{number % folders}" / f"img{number // folders:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(1, 300)))
        mtime = 1_500_000_000_000_000_000 + chance.randrange(10**15)
        os.utime(path, ns=(mtime, mtime))
    return folder


def predictions(
    path: Path, labels: Mapping[Path | str, str] | Iterable[tuple[Path | str, str]], **columns: Any
) -> Path:
    """A table as `classify` writes it, with these labels; a label may have its score after a colon."""
    rows = labels.items() if isinstance(labels, Mapping) else labels
    with path.open("w", newline="", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["image", "rank", "label", "score", "cosine", "error", *columns])
        for image, label in rows:
            name, _, score = label.partition(":")
            error = "cannot be read" if name == "!" else ""
            cells = ["", "", "", ""] if error else [1, name, score or 0.9, 0.3]
            table.writerow([image, *cells, error, *columns.values()])
    return path
