"""The true labels of images: the folders that they lie in, a table of labels, a column of their own table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from clipcli.errors import UsageError
from clipcli.inputs.dataset_folders import has_split_folders, subfolders
from clipcli.inputs.formats import member_of
from clipcli.inputs.item import changed
from clipcli.inputs.tables.table import Table
from clipcli.records import ImageFailure, Item, Value

TRUTH_COLUMNS = ("label", "labels", "class", "truth")
"""Columns that hold the true labels of a table, in lower case; the first one there is taken."""

Known = TypeVar("Known")

Truth: TypeAlias = Callable[[Item], str | None]
"""Finds the true label of an image, or None."""


@dataclass(frozen=True)
class Labelled:
    """Images with their true labels, as often as the images can be read.

    Args:
        items: the images.
        truth: finds the label of each.
    """

    items: Iterable[Item | ImageFailure]
    truth: Truth

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        for item in self.items:
            yield item if isinstance(item, ImageFailure) else with_truth(item, self.truth(item))


def with_truth(item: Item | ImageFailure, truth: str | None) -> Item | ImageFailure:
    """An image with a true label; what cannot be listed stays as it is."""
    return item if isinstance(item, ImageFailure) else changed(item, truth=truth)


class FolderTruth:
    """The name of the folder that stands for an image's class.

    Of an input with subfolders it is the subfolder, however deep the image lies below it, and images beside
    the subfolders have no class. If all subfolders are named as the splits of a dataset (`train`, `test`), it
    is the folder below. Of any other image it is the folder that it lies in, which may be one in an archive;
    images that lie in none there have no class.

    Args:
        inputs: files, folders and globs, as the user named them.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._roots = {_trimmed(path) for path in inputs if os.path.isdir(path)}
        self._of_folder = lru_cache(maxsize=1024)(self._class_of)

    def __call__(self, item: Item) -> str | None:
        """The class of an image, or None."""
        return self._of_folder(os.path.dirname(item.name))

    def _class_of(self, folder: str) -> str | None:
        if (within := member_of(f"{folder}/image")) is not None:
            return self._class_within(*within)
        found = self._input_of(folder)
        if found is None:
            return _name(folder)
        if found.below:
            return found.class_name()
        return None if _has_folders(found.root) else _name(found.root)

    def _class_within(self, archive: str, member: str) -> str | None:
        """The subfolder of an input that an archive lies in, or else the folder in the archive."""
        found = self._input_of(os.path.dirname(archive))
        return (found and found.class_name()) or _text(os.path.basename(os.path.dirname(member))) or None

    def _input_of(self, folder: str) -> _Place | None:
        """Where below an input a folder lies."""
        root, below, deeper = folder, "", ""
        while root not in self._roots:
            parent, name = os.path.split(root)
            if parent in ("", root):
                return None
            root, below, deeper = parent, name, below
        return _Place(root, below, deeper)


class _Place(NamedTuple):
    """An input, the subfolder in it that a folder lies in, and the one in that, or empty texts."""

    root: str
    below: str
    deeper: str

    def class_name(self) -> str | None:
        """The class of images there; of the splits of a dataset, it is the folder below."""
        name = self.deeper if self.below and has_split_folders(self.root) else self.below
        return _text(name) or None


class ByPath(Generic[Known]):
    """What a table knows of images, by their paths: as they are, or as they go on below one of the inputs.

    Args:
        inputs: files, folders and globs, as the user named them.
    """

    def __init__(self, inputs: Sequence[str] = ()) -> None:
        self._starts = tuple({os.path.join(_trimmed(one), "") for one in inputs if os.path.isdir(one)})
        self._known: dict[str, Known] = {}

    def setdefault(self, path: str, value: Known) -> Known:
        """What is known of a path of the table; from now on the value, where that is nothing."""
        return self._known.setdefault(os.path.abspath(path), value)

    def get(self, path: str) -> Known | None:
        """What is known of an image's path, whose odd bytes some of our tables write as escapes, or None."""
        found = self._get(path)
        return found if found is not None or path.isascii() else self._get(_text(path))

    def _get(self, path: str) -> Known | None:
        below = (path[len(start) :] for start in self._starts if path.startswith(start))
        found = (self._known.get(os.path.abspath(one)) for one in (path, *below))
        return next((value for value in found if value is not None), None)


class TableTruth:
    """The labels that a table has for the paths of images.

    Args:
        path: a .csv, .tsv, .jsonl, .parquet or .xlsx table with a column of images and one of labels. Paths
            start at the table's folder, at the working directory or at one of the inputs.
        column: that of the labels; None takes the first that is named `label`, `labels`, `class` or `truth`.
        inputs: files, folders and globs, as the user named them.

    Raises:
        UsageError: the table cannot be read, a column is missing, or an image has two labels.
    """

    def __init__(self, path: str, column: str | None = None, inputs: Sequence[str] = ()) -> None:
        self.column = truth_column_of(path, column)
        self._labels = ByPath[str](inputs)
        for row in Table(path, keep=(self.column,)):
            if isinstance(row, ImageFailure):
                raise UsageError(f"{path}: {row.reason}")
            label = _cell(row.columns[self.column])
            if label is not None and (known := self._labels.setdefault(row.name, label)) != label:
                labels = f"{known!r} and {label!r}"
                raise UsageError(f"{path}: {row.name} has two labels, {labels}", "Leave one of them out.")

    def __call__(self, item: Item) -> str | None:
        """The label of an image, or None."""
        return self._labels.get(item.name)


@dataclass(frozen=True)
class ColumnTruth:
    """A cell that images bring along: of the table that names them, or of the source that holds them.

    Args:
        column: that holds the label.
    """

    column: str

    def __call__(self, item: Item) -> str | None:
        """The label of an image, or None where the cell is empty."""
        return _cell(item.columns.get(self.column))


def truth_column_of(path: str, asked: str | None = None) -> str:
    """The column of a table that holds the true labels.

    Args:
        path: the table.
        asked: its name, or None to find it.

    Raises:
        UsageError: there is none, or the table cannot be read.
    """
    if asked is not None:
        return asked
    columns = {name.strip().lower(): name for name in Table(path).columns}
    found = next((columns[name] for name in TRUTH_COLUMNS if name in columns), None)
    if found is None:
        hint = f"Name it with `truth_column`. The columns are {', '.join(columns.values())}."
        raise UsageError(f"{path}: no column of labels", hint)
    return found


def _cell(value: Value) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _trimmed(path: str) -> str:
    """A folder as `os.path.dirname` names it."""
    return path.rstrip("/") or path[:1]


def _has_folders(path: str) -> bool:
    return bool(subfolders(path))


def _name(folder: str) -> str:
    return _text(os.path.basename(os.path.abspath(folder or ".")))


def _text(name: str) -> str:
    """A folder's name, whose bytes may be no text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
