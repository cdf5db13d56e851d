"""Sort images into folders, by the steps of a journal, and undo it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError
from clipcli.files import write_errors
from clipcli.output.filing import journal as journals
from clipcli.output.filing import placing
from clipcli.output.filing.actions import ACTIONS, Step, Task
from clipcli.output.filing.journal import Journal, Record
from clipcli.output.filing.names import numbered
from clipcli.output.filing.places import placed
from clipcli.output.filing.placing import status
from clipcli.output.filing.runs import Run, sync_folders
from clipcli.output.filing.sort_plan import SortPlan

COMMAND = "sort"


def make_folder(into: Path) -> int:
    """Make the folder to sort into; returns how many folders that took.

    Raises:
        OutputError: it cannot be made.
    """
    missing = [folder for folder in (into, *into.parents) if not os.path.exists(folder)]
    with write_errors(into):
        into.mkdir(parents=True, exist_ok=True)
    return len(missing)


def remove_empty(folder: Path, levels: int) -> None:
    """Remove a folder and those above it, so many in all, as long as they are empty."""
    for made in (folder, *folder.parents)[:levels]:
        with contextlib.suppress(OSError):
            made.rmdir()


def begin(into: Path, asked: Record, plan: SortPlan, made: int) -> Journal:
    """Write the journal of a new run, see `journal.create`.

    Args:
        into: the folder.
        asked: the options.
        plan: what is going to happen.
        made: what `make_folder` returned.
    """
    steps = [step.as_record() for step in plan.steps]
    return journals.create(into, COMMAND, asked, {**plan.about(), "made": made}, steps)


def check_undo(journal: Journal) -> None:
    """See that no later run has moved the images of this one again.

    Raises:
        UsageError: one has.
    """
    targets = {target for _, target in placed(journal)}
    for later in journals.journals(journal.path.parent, COMMAND):
        if later.path != journal.path and any(step.source in targets for step, _ in placed(later)):
            raise UsageError(f"a later run has moved images again: {later.path}", "Undo that one first.")


class Sorting(Run):
    """Images that are linked, copied or moved into the folder of the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.action = ACTIONS[journal.header["asked"]["mode"]]

    def path_of(self, number: int) -> str:
        """The image."""
        return str(self.journal.steps[number]["source"])

    def do(self, number: int) -> None:
        """Give the image its place; if something has that name by now, the next free one."""
        while not self.action.is_done(task := self._task(number)):
            os.makedirs(os.path.dirname(task.target), exist_ok=True)
            try:
                self.action.do(task)
                return
            except FileExistsError:
                if status(task.target) is None:
                    raise
                self._rename(number, task.step)

    def _rename(self, number: int, step: Step) -> None:
        folder, name = os.path.split(step.target)
        paths = (os.path.join(folder, one) for one in numbered(*os.path.splitext(name)))
        free = next(path for path in paths if status(os.path.join(self.journal.folder, path)) is None)
        self.journal.mark(number, sync=True, to=free)

    def undo(self, number: int) -> None:
        """Take the image back from its place."""
        task = self._task(number)
        for place in (task.target, task.step.source):
            placing.remove(task.partial(place))
        if self.journal.has(number, "done") or self.action.is_done(task):
            self.action.undo(task)

    def _task(self, number: int) -> Task:
        step, mark = Step.of(self.journal.steps[number]), self.journal.marks.setdefault(number, {})

        def note(**fields: Any) -> None:
            self.journal.mark(number, sync=True, **fields)

        target = os.path.join(self.journal.folder, mark.get("to", step.target))
        return Task(step, target, self.token(number), mark, note)

    def end(self) -> None:
        """Let the new names reach the disk."""
        tasks = [self._task(number) for number in range(len(self.journal.steps))]
        paths = [path for task in tasks for path in (task.target, task.step.source)]
        sync_folders({os.path.dirname(path) for path in paths})

    def end_undo(self) -> None:
        """Remove the folders that the run made, unless something is in them."""
        self.end()
        for folder in reversed(self.journal.header["folders"]):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(self.journal.folder, folder))
