"""What `sort` does with an image: link, hard link, copy or move it; complete what is half done; undo it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from clipcli.choices import SortMode
from clipcli.output.filing import placing
from clipcli.output.filing.journal import Record
from clipcli.output.filing.placing import Changed, Status, status


class Step(NamedTuple):
    """What is to happen to an image.

    Args:
        source: its absolute path.
        target: its new path, from the folder of the journal.
        size: of the file, when the run was planned.
        mtime: when it had been modified, in nanoseconds.
        text: where a link is to lead.
        was: where the image leads, if it is a link that is moved.
    """

    source: str
    target: str
    size: int
    mtime: int
    text: str = ""
    was: str = ""

    def as_record(self) -> Record:
        """As it is written to the journal."""
        return self._asdict()

    @classmethod
    def of(cls, record: Record) -> Step:
        """As it is read from the journal."""
        return cls(**{name: record[name] for name in cls._fields})


@dataclass(frozen=True)
class Task:
    """A step under way.

    Args:
        step: what is to happen.
        target: the absolute path, which may differ from the planned one if something has that name by now.
        token: what makes the names of its incomplete files unlike all others.
        mark: what has happened so far.
        note: adds to the mark, on the disk.
    """

    step: Step
    target: str
    token: str
    mark: Record
    note: Callable[..., None]

    def partial(self, beside: str) -> str:
        """What a copy is called until it is complete."""
        return os.path.join(os.path.dirname(beside), f".clipcli-{self.token}.partial")

    def is_unchanged(self, found: Status | None) -> bool:
        """Whether this is the file of the step, as it was when the run was planned."""
        times = (self.step.mtime, self.mark.get("mtime"))  # disks differ in how exact their times are
        return found is not None and found.size == self.step.size and found.mtime in times

    def check_source(self) -> None:
        """See that the image is as it was when the run was planned.

        Raises:
            FileNotFoundError: it is gone.
            Changed: it has changed.
        """
        if not self.is_unchanged(placing.certain(self.step.source)):
            raise Changed(self.step.source)


class Action(ABC):
    """A way to file images."""

    @abstractmethod
    def is_done(self, task: Task) -> bool:
        """Whether a killed run has done it already; what it left half done is completed.

        Raises:
            OSError: that is not possible.
        """

    @abstractmethod
    def do(self, task: Task) -> None:
        """Do it.

        Raises:
            FileExistsError: something has the name of the target.
            OSError: it cannot be done.
        """

    @abstractmethod
    def undo(self, task: Task) -> None:
        """Undo what has been done; again, if a killed undo has done it already.

        Raises:
            Changed: something has changed since, so that everything is left as it is.
            OSError: it cannot be undone.
        """


class Link(Action):
    """Symbolic links."""

    def is_done(self, task: Task) -> bool:
        """Whether the link is there."""
        return _leads_to(task.target, task.step.text)

    def do(self, task: Task) -> None:
        """Make the link."""
        task.check_source()
        os.symlink(task.step.text, task.target)

    def undo(self, task: Task) -> None:
        """Remove the link."""
        if self.is_done(task):
            os.unlink(task.target)
        elif status(task.target) is not None:
            raise Changed(task.target)


class Hardlink(Action):
    """Hard links: further names of the same files."""

    def is_done(self, task: Task) -> bool:
        """Whether the file has this name too."""
        return _same_file(status(task.step.source), status(task.target))

    def do(self, task: Task) -> None:
        """Give the file another name."""
        task.check_source()
        os.link(task.step.source, task.target)

    def undo(self, task: Task) -> None:
        """Remove the other name, but never the last one."""
        if self.is_done(task):
            os.unlink(task.target)
        elif status(task.target) is not None:
            raise Changed(task.target, "it is no longer the same file as its original")


class Copy(Action):
    """Copies."""

    def is_done(self, task: Task) -> bool:
        """Whether the copy has its name."""
        return _is_noted(status(task.target), task.mark.get("copy"))

    def do(self, task: Task) -> None:
        """Copy the file."""
        task.check_source()
        partial = task.partial(task.target)
        placing.copy(task.step.source, task.target, partial, lambda made: _note(task, copy=made))

    def undo(self, task: Task) -> None:
        """Remove the copy, if the original still holds the same."""
        if status(task.target) is None:
            return
        if status(task.step.source) is None:
            raise Changed(task.target, "its original is gone")
        if not placing.same_content(task.step.source, task.target):
            raise Changed(task.target, "it is no longer the same as its original")
        os.unlink(task.target)


class Move(Action):
    """Moves, within a file system and to another one."""

    def is_done(self, task: Task) -> bool:
        """Whether the file is in its new place, after removing the name or the original that a kill left."""
        source, target = task.step.source, task.target
        old, new = status(source), status(target)
        if task.step.was:
            return _link_moved(source, target, task.step.was, task.step.text)
        if new is None or old is None:
            return old is None and task.is_unchanged(new)
        if _same_file(old, new):
            os.unlink(source)
            return True
        if not _is_noted(new, task.mark.get("copy")):
            return False
        task.check_source()
        placing.remove_original(source, target, old)
        return True

    def do(self, task: Task) -> None:
        """Move the file."""
        task.check_source()
        step, partial = task.step, task.partial(task.target)
        if step.was:
            placing.move_link(step.source, task.target, step.text)
        else:
            placing.move(step.source, task.target, partial, lambda made: _note(task, copy=made))

    def undo(self, task: Task) -> None:
        """Move the file back."""
        step, target = task.step, task.target
        old, new = status(step.source), status(target)
        if new is None:
            if not (_leads_to(step.source, step.was) if step.was else task.is_unchanged(old)):
                raise Changed(target, "it is no longer there")
        elif old is not None:
            self._complete_undo(task, old, new)
        elif step.was and not _leads_to(target, step.text):
            raise Changed(target)
        elif step.was:
            _make_folder(step.source)
            placing.move_link(target, step.source, step.was)
        elif not task.is_unchanged(new):
            raise Changed(target)
        else:
            _make_folder(step.source)
            partial = task.partial(step.source)
            back = (target, step.source, partial)
            placing.move(*back, lambda made: _note(task, back=made), mtime=step.mtime)

    def _complete_undo(self, task: Task, old: Status, new: Status) -> None:
        """Both places are taken: by the same file after a kill, or by another one since."""
        source, target = task.step.source, task.target
        if _same_file(old, new):
            os.unlink(target)
        elif task.step.was and _link_moved(target, source, task.step.text, task.step.was):
            return
        elif _is_noted(old, task.mark.get("back")) and task.is_unchanged(new):
            placing.remove_original(target, source, new)
        else:
            raise Changed(source, "there is another file in its old place")


def _make_folder(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)


def _leads_to(path: str, text: str) -> bool:
    found = status(path)
    return found is not None and found.is_link and os.readlink(path) == text


def _link_moved(source: str, target: str, was: str, text: str) -> bool:
    """Whether a link is in its new place, after removing the one that a kill left in the old place."""
    if not _leads_to(target, text):
        return False
    if _leads_to(source, was):
        os.unlink(source)
    return True


def _same_file(one: Status | None, other: Status | None) -> bool:
    return one is not None and other is not None and one.inode == other.inode


def _note(task: Task, **made: Status) -> None:
    """Remember a copy that is about to get its name, so that nobody else's file is taken for it."""
    ((name, found),) = made.items()
    fields: dict[str, Any] = {name: [found.size, found.mtime, *found.inode]}
    task.note(**fields, **({"mtime": found.mtime} if name == "copy" else {}))


def _is_noted(found: Status | None, noted: list[int] | None) -> bool:
    return found is not None and [found.size, found.mtime, *found.inode] == noted


ACTIONS: dict[SortMode, Action] = {"link": Link(), "hardlink": Hardlink(), "copy": Copy(), "move": Move()}
