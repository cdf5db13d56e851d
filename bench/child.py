"""A candidate as a process of its own, told "go" in turn: the line protocol of the benchmark.

    child:  ready {"start": SECONDS, "with": VERSIONS}      or: absent REASON
    parent: run
    child:  {"seconds": SECONDS, "top1": [CLASS, ...]}      once for each "run"; the end of input ends it

Each candidate has its own environment, so that peers need not agree on their dependencies. This file
and `peers.py` run in the peers' environment and know nothing of clipcli.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Run = Callable[[], list[int]]
"""One pass over the images; returns the index of the best class of each."""


class AbsentError(Exception):
    """This candidate cannot run here, and why."""


class Job(NamedTuple):
    """What a candidate has to do."""

    model: str  # a folder in open_clip's local format
    paths: list[str]
    labels: list[str]
    template: str
    folder: str  # scratch
    threads: int
    batch: int = 32


# --- In the child --------------------------------------------------------------------------------


def serve(candidates: dict[str, Callable[[Job], tuple[Run, str]]]) -> None:
    """Load the candidate that the first argument names, and run it whenever told to."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no part of the protocol
    start = time.perf_counter()
    job = Job(**json.loads(Path(sys.argv[2]).read_text()))
    try:
        run, versions = candidates[sys.argv[1]](job)
    except (AbsentError, ImportError) as error:
        out.write(f"absent {error}\n")
        return
    out.write(f"ready {json.dumps({'start': time.perf_counter() - start, 'with': versions})}\n")
    for _ in sys.stdin:
        start = time.perf_counter()
        top1 = run()
        out.write(json.dumps({"seconds": time.perf_counter() - start, "top1": top1}) + "\n")


# --- In the parent -------------------------------------------------------------------------------


class Candidate:
    """A child that has loaded its model.

    Args:
        title: what the report calls it.
        command: the Python that runs it, the file and the candidate's name in it.
        job: what it has to do.

    Raises:
        AbsentError: it cannot run here.
    """

    def __init__(self, title: str, command: tuple[str, str, str], job: Job) -> None:
        self.title, self.amount = title, len(job.paths)
        self.seconds: list[float] = []
        self.top1: list[int] = []
        self._log = Path(job.folder, f"{command[2]}.log")
        path = Path(job.folder, f"{command[2]}-{self.amount}.json")
        path.write_text(json.dumps(job._asdict()))
        environment = os.environ | {"OMP_NUM_THREADS": str(job.threads), "HF_HUB_OFFLINE": "1"}
        start = time.perf_counter()
        try:
            with self._log.open("w") as errors:
                self._process = subprocess.Popen(
                    [*command, str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
        except FileNotFoundError:
            raise AbsentError(f"no {command[0]}; `make bench` builds it") from None
        word, _, rest = self._line().partition(" ")
        if word != "ready":
            raise AbsentError(rest.strip() or _last_line(self._log))
        self.start = time.perf_counter() - start
        self.versions: str = json.loads(rest)["with"]

    def run(self, counted: bool) -> None:
        """One pass, told and waited for."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line() or "{}")
        if not answer:
            raise SystemExit(f"{self.title} died: {_last_line(self._log)}")
        self.top1 = answer["top1"]
        if counted:
            self.seconds.append(answer["seconds"])

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it died without a word")
