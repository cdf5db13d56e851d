"""Places for images below a folder: which names are free there, and what earlier runs have put there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from clipcli.choices import SortMode
from clipcli.output.filing.actions import Step
from clipcli.output.filing.journal import Journal
from clipcli.output.filing.names import FAILED, UNKNOWN, FolderNames, key, numbered
from clipcli.output.filing.placing import Status, status
from clipcli.prompts.nested import LEVELS


class Named(NamedTuple):
    """The folder that a label has got, in the folder of its group, if there is one: `living thing|animal` is
    the folder of `animal` in that of `living thing`.
    """

    group: str
    label: str
    folder: str

    @property
    def is_renamed(self) -> bool:
        """Whether the folder is called otherwise than the label."""
        return self.folder != self.label


class Places:
    """Gives out folders and names in a folder, none of them twice and none that is taken.

    Args:
        into: the folder, which may not exist yet.
        names: folders that labels had in earlier runs.
    """

    def __init__(self, into: str, names: Iterable[Named] = ()) -> None:
        self.into = into
        self.new_folders: list[str] = []
        """Those that do not exist yet, each after the one that it lies in."""
        self._groups: dict[str, FolderNames] = {}
        self._taken: dict[str, set[str]] = {}
        for one in names:
            self._labels_of(one.group).keep(one.label, one.folder)

    def folder_of(self, group: str, label: str) -> str:
        """The folder of a label; UNKNOWN and FAILED, without a group, are called so."""
        if not group and label in (UNKNOWN, FAILED):
            return label
        return os.path.join(self._group_folder(group), self._labels_of(group)(label))

    @property
    def names(self) -> list[Named]:
        """The folders of all labels, in order; a group is the label of its folder."""
        return [
            Named(group, label, folder)
            for group, folders in sorted(self._groups.items())
            for label, folder in sorted(folders.names.items())
        ]

    def free_name(self, folder: str, name: str) -> str:
        """A name in a folder that nothing has: this one or, if it is taken, a numbered one."""
        taken = self._taken_in(folder)
        free = next(one for one in numbered(*os.path.splitext(name)) if key(one) not in taken)
        taken.add(key(free))
        return free

    def _labels_of(self, group: str) -> FolderNames:
        if group not in self._groups:
            folder = os.path.join(self.into, self._group_folder(group))
            self._groups[group] = FolderNames(name for name, is_folder in _entries(folder) if not is_folder)
        return self._groups[group]

    def _group_folder(self, group: str) -> str:
        if not group:
            return ""
        outer, _, name = group.rpartition(LEVELS)
        return os.path.join(self._group_folder(outer), self._labels_of(outer)(name))

    def _taken_in(self, folder: str) -> set[str]:
        if folder not in self._taken:
            self._taken[folder] = {key(name) for name, _ in _entries(os.path.join(self.into, folder))}
            self._plan_folder(folder)
        return self._taken[folder]

    def _plan_folder(self, folder: str) -> None:
        if folder and folder not in self.new_folders and status(os.path.join(self.into, folder)) is None:
            self._plan_folder(os.path.dirname(folder))
            self.new_folders.append(folder)


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """Names in a folder, if there is one that can be read, and whether they are folders."""
    try:
        with os.scandir(folder) as entries:
            yield from ((entry.name, entry.is_dir()) for entry in entries)
    except OSError:  # names that are taken are met when the image is to get one
        return


class EarlierRuns:
    """What earlier runs have put into a folder and nobody has taken away since.

    Args:
        journals: of these runs, the oldest first.
    """

    def __init__(self, journals: Sequence[Journal]) -> None:
        self.names = [Named(*one) for journal in journals for one in journal.header["labels"]]
        self.bases = [base for journal in journals if (base := journal.header["base"])]
        self._moves: list[dict[str, str]] = []
        self._others: dict[str, list[_Placed]] = {}
        for journal in journals:
            self._add(journal)

    def _add(self, journal: Journal) -> None:
        mode, moves = journal.header["asked"]["mode"], dict[str, str]()
        for step, target in placed(journal):
            if mode == "move":
                moves[step.source] = target
            else:
                others = self._others.setdefault(os.path.realpath(step.source), [])
                others.append(_Placed(step, target, mode))
        self._moves.append(moves)

    def moved_to(self, path: str) -> str:
        """Where a file is that may have been moved, even several times."""
        for moves in self._moves:
            if path in moves and status(path) is None and status(moves[path]) is not None:
                path = moves[path]
        return path

    def folders_of(self, path: str) -> dict[str, SortMode]:
        """The folders in which an image has a link or an up-to-date copy, and which of them it is."""
        now = status(path)
        others = self._others.get(os.path.realpath(path), ())
        return {os.path.dirname(one.target): one.mode for one in others if one.is_valid(now)}


class _Placed(NamedTuple):
    """An image of an earlier run that was not moved."""

    step: Step
    target: str
    mode: SortMode

    def is_valid(self, now: Status | None) -> bool:
        """Whether it is there, and of the present content of the image."""
        is_current = now is not None and (now.size, now.mtime) == (self.step.size, self.step.mtime)
        return status(self.target) is not None and (self.mode == "link" or is_current)


def placed(journal: Journal) -> Iterator[tuple[Step, str]]:
    """The steps of a run that were done and are not undone, with the paths of their targets."""
    for number, record in enumerate(journal.steps):
        mark = journal.marks.get(number, {})
        if mark.get("done") and not mark.get("undone"):
            yield Step.of(record), os.path.join(journal.folder, mark.get("to") or record["target"])
