"""Carry out the steps of a journal, or take them back: what `sort` and `tag` have in common."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from clipcli.errors import OutputError
from clipcli.files import sync_folder
from clipcli.output.filing.images import Left, reason_of
from clipcli.output.filing.journal import Journal
from clipcli.output.filing.placing import FULL


class Run(ABC):
    """The steps of a journal.

    Args:
        journal: where they are, and where what happens to them is written.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    @abstractmethod
    def path_of(self, number: int) -> str:
        """The file that a step is about."""

    @abstractmethod
    def do(self, number: int) -> None:
        """Do a step, or complete what a kill has left half done.

        Raises:
            OSError: it cannot be done.
            ValueError: a file does not hold what it should.
        """

    @abstractmethod
    def undo(self, number: int) -> None:
        """Undo a step, if it has been done at all.

        Raises:
            OSError: it cannot be undone, or something has changed since.
        """

    def end(self) -> None:  # noqa: B027 (not every run has something to do)
        """After all steps have been tried, before the journal says so."""

    def end_undo(self) -> None:  # noqa: B027
        """The same, for an undo."""

    def close(self) -> None:  # noqa: B027
        """Release what the steps have used, also if they have been interrupted."""

    def token(self, number: int) -> str:
        """What makes the names of incomplete files of a step unlike all others."""
        return f"{self.journal.header['id']}-{number}"

    def partial(self, number: int, beside: str) -> str:
        """What a file is called until it is complete."""
        return os.path.join(os.path.dirname(beside), f".clipcli-{self.token(number)}.partial")


def carry_out(run: Run) -> Iterator[Left | None]:
    """Do all steps that are not done yet; yields for each the file that had to be left, or None.

    Raises:
        OutputError: the disk is full, or the journal cannot be written.
    """
    with contextlib.closing(run):
        for number in range(len(run.journal.steps)):
            yield None if run.journal.has(number, "done") else _tried(run, number, run.do, "done")
        run.end()
        run.journal.finish()


def take_back(run: Run) -> Iterator[Left | None]:
    """Undo all steps, the last one first; yields for each the file that had to be left, or None.

    The journal of a run that could be undone as a whole is removed.

    Raises:
        OutputError: the disk is full, or the journal cannot be written.
    """
    run.journal.begin_undo()
    left = False
    for number in reversed(range(len(run.journal.steps))):
        result = None if run.journal.has(number, "undone") else _tried(run, number, run.undo, "undone")
        left = left or result is not None
        yield result
    run.end_undo()
    run.journal.end_undo()
    if not left:
        run.journal.path.unlink()


def _tried(run: Run, number: int, action: Callable[[int], None], mark: str) -> Left | None:
    try:
        action(number)
    except (OSError, ValueError) as error:
        path = str(getattr(error, "filename", None) or run.path_of(number))
        if isinstance(error, OSError) and error.errno in FULL:
            raise OutputError(f"cannot write {run.path_of(number)}: {error.strerror}") from error
        run.journal.mark(number, failed=reason_of(error))
        return Left(path, reason_of(error))
    run.journal.mark(number, **{mark: True})
    return None


def sync_folders(folders: Iterable[str]) -> None:
    """Let names in folders reach the disk, as far as their file systems can be asked for it."""
    for folder in folders:
        with contextlib.suppress(OSError):
            sync_folder(Path(folder))
