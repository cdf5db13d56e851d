"""`clipcli sort` in real processes that are killed at any moment, run again, and undone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filing_runs import Commands, Held, files_of, held, photos, predictions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")


class Job:
    """Photos and predictions of them, a folder to sort into, and the commands."""

    def __init__(self, folder: Path, into: Path, count: int, mode: str) -> None:
        self.photos = photos(folder / "photos", count)
        self.into, self.mode = into, mode
        images = sorted(self.photos.rglob("*.jpg"))
        self.table = predictions(
            folder / "predictions.csv", {path: f"label {number % 5}" for number, path in enumerate(images)}
        )
        self.before = held(self.photos)

    @property
    def sort(self) -> list[str]:
        return ["sort", str(self.table), "--into", str(self.into), self.mode, "--apply", "-q"]

    @property
    def undo(self) -> list[str]:
        return ["sort", "--undo", str(self.into / "clipcli-sort-1.jsonl"), "-q"]

    def contents(self) -> list[tuple[str, int, int]]:
        """What the sorted files hold, whatever they are called."""
        return sorted(one for name, one in held(self.into).items() if not name.endswith(b".jsonl"))

    def check_sorted(self) -> None:
        assert self.contents() == sorted(self.before.values())
        left = held(self.photos)
        assert left == ({} if self.mode == "--move" else self.before)

    def check_nothing_is_lost(self) -> None:
        """Every content is somewhere, under a name of an image."""
        everything: Held = {**held(self.photos), **held(self.into)}
        contents = {one for name, one in everything.items() if not name.endswith((b".partial", b".jsonl"))}
        assert set(self.before.values()) <= contents


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=shared))
    yield folder
    shutil.rmtree(folder)


def survives(commands: Commands, job: Job, seed: int, kills: int, lines: int) -> None:
    """Kill a run and its undo at random lines of code, until they are through."""
    chance, killed = random.Random(seed), 0
    while killed < kills and commands.killed_at(chance.randrange(1, lines), job.sort):
        killed += 1
        job.check_nothing_is_lost()
    assert killed > 1
    commands.run(job.sort)
    job.check_sorted()
    killed = 0
    while killed < kills and commands.killed_at(chance.randrange(1, lines), job.undo):
        killed += 1
        job.check_nothing_is_lost()
    assert killed > 1
    if (job.into / "clipcli-sort-1.jsonl").exists():
        commands.run(job.undo)
    assert held(job.photos) == job.before
    assert not job.contents()
    assert not list(job.into.parent.rglob("*.partial"))


def test_a_run_is_killed_at_any_line_and_goes_on(commands: Commands, tmp_path: Path) -> None:
    survives(commands, Job(tmp_path, tmp_path / "out", 12, "--move"), seed=6, kills=3, lines=1200)


def test_a_move_between_disks_is_killed_at_any_line_and_goes_on(
    commands: Commands, tmp_path: Path, other_disk: Path
) -> None:
    survives(commands, Job(tmp_path, other_disk / "out", 8, "--move"), seed=3, kills=3, lines=1200)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["--move", "--copy", "--hardlink", "--link"])
@pytest.mark.parametrize("across", [False, True])
def test_runs_are_killed_at_many_lines(
    commands: Commands, mode: str, seed: int, across: bool, tmp_path: Path, other_disk: Path
) -> None:
    if mode in ("--link", "--hardlink") and across:
        pytest.skip("links to another disk have no other steps")
    job = Job(tmp_path, (other_disk if across else tmp_path) / "out", 8, mode)
    if mode == "--link":
        job.contents = job.check_sorted = lambda: None  # type: ignore[method-assign, assignment, return-value]
    survives(commands, job, seed, kills=20, lines=900)


# --- At random moments ---------------------------------------------------------------------------


def killed_at_random_moments(
    commands: Commands, job: Job, words: list[str], count: int, steps: int, chance: random.Random
) -> int:
    """Start a command again and again, and kill it when its journal has grown by a random number of marks."""
    journal, killed = job.into / "clipcli-sort-1.jsonl", 0
    for _ in range(count):
        until = _marks(journal) + chance.randrange(0, steps // count)
        process = commands.start(words)
        with contextlib.suppress(ProcessLookupError):  # on a busy machine it would be done before it is seen
            os.setpriority(os.PRIO_PROCESS, process, 19)
        while _marks(journal) <= until and not _has_ended(process):
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        killed += commands.wait() == -signal.SIGKILL
        job.check_nothing_is_lost()
    return killed


def _marks(journal: Path) -> int:
    try:
        return journal.read_bytes().count(b'"mark"')
    except FileNotFoundError:
        return 0


def _has_ended(process: int) -> bool:
    return (
        not Path(f"/proc/{process}/fd").exists()
        or Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    )


def killed_and_undone(commands: Commands, job: Job, kills: int, count: int) -> None:
    chance = random.Random(1)
    assert killed_at_random_moments(commands, job, job.sort, kills, count, chance) >= kills - 1
    commands.run(job.sort)
    job.check_sorted()
    killed_at_random_moments(commands, job, job.undo, 2, count // 2, chance)
    if job.into.exists():
        commands.run(job.undo)
    assert held(job.photos) == job.before
    assert not job.into.exists()


def test_300_files_are_moved_by_runs_that_are_killed_and_all_come_back(
    commands: Commands, tmp_path: Path
) -> None:
    killed_and_undone(commands, Job(tmp_path, tmp_path / "out", 300, "--move"), kills=5, count=300)


@pytest.mark.long
def test_10000_files_are_moved_by_runs_that_are_killed_ten_times_and_all_come_back(
    commands: Commands, tmp_path: Path
) -> None:
    job = Job(tmp_path, tmp_path / "out", 10_000, "--move")
    killed_and_undone(commands, job, kills=10, count=10_000)
    assert len(files_of(tmp_path)) == 10_001
